//! The boot allocator, and what boot sets aside of the memory.
#![expect(unsafe_code, reason = "writes memory that it has just taken")]

use boot_info::{BootFacts, FreeRanges, Range};
use command_line::Options;
use ids::Maddr;
use machine::paging::{Access, PageSize, PageTables, TableMemory};
use machine::{direct, layout};

use crate::composition;
use crate::console::{self, log};
use crate::refusal::refuse;
use crate::sealed::{self, Sealed};

/// Bytes of a large page.
pub(crate) const LARGE_PAGE: u64 = 2 << 20;

/// The boot allocator: takes from the top of what is free.
pub(super) struct BootFrames<'a> {
    pub(super) free: &'a mut FreeRanges,
    pub(super) below: u64,
    /// Bytes of RAM, for the refusal.
    pub(super) total: u64,
    /// What is left of the memory that Dom0 may read anyway: behind the last entry of the machine-to-physical table.
    pub(super) shown: Range,
}

impl BootFrames<'_> {
    /// `len` bytes, rounded up to whole frames.
    pub(super) fn take(&mut self, len: u64, align: u64) -> Range {
        let len = len.next_multiple_of(ids::FRAME_SIZE);
        let start = self.free.take(len, align, self.below);
        Range::new(start.unwrap_or_else(|| self.too_little(len)), len)
    }

    /// The same for what never changes again and is no secret: where Dom0 may read, if there is room.
    pub(super) fn take_constant(&mut self, len: u64) -> Range {
        let len = len.next_multiple_of(ids::FRAME_SIZE);
        if self.shown.len() < len {
            return self.take(len, ids::FRAME_SIZE);
        }
        let taken = Range::new(Maddr(self.shown.start), len);
        self.shown.start = taken.end;
        taken
    }

    fn too_little(&self, len: u64) -> ! {
        let (total, left, need) = (self.total >> 20, self.free.bytes() >> 10, len.div_ceil(1024));
        refuse!(
            "memory: {need} KiB in one piece are needed, {left} KiB of the {total} MiB of RAM are left: \
             give the machine more memory, or a larger mem="
        )
    }

    /// Takes and maps the machine-to-physical table, of so many bytes, and the vault, of so many at least and at most: all
    /// entries invalid, all records zero. What the vault may not need is mapped in small pages, to be given back.
    ///
    /// The table has whole large pages, for tools map it in such pieces. What the last one has behind the page of the
    /// last entry Dom0 may read, too, and guests' kernels do not see: it becomes [`shown`](Self::shown).
    pub(super) fn m2p_and_vault(
        &mut self,
        tables: PageTables,
        m2p: u64,
        (least, most): (u64, u64),
    ) -> (Range, Range) {
        let entries = m2p.next_multiple_of(ids::FRAME_SIZE);
        let m2p = m2p.next_multiple_of(LARGE_PAGE);
        let both = self.take(m2p + most, LARGE_PAGE);
        let m2p = Range { start: both.start, end: both.start + m2p };
        let vault = Range { start: m2p.end, end: both.end };
        self.shown = Range { start: m2p.start + entries, end: m2p.end };
        for (range, fill) in [(m2p, 0xff), (vault, 0)] {
            // SAFETY: just taken, and in the direct map of the final tables.
            unsafe { direct::pointer::<u8>(Maddr(range.start)).write_bytes(fill, range.len() as usize) };
        }
        let at = composition::vault_address(vault);
        let sure = vault.start + least / ids::FRAME_SIZE * ids::FRAME_SIZE;
        for (start, end, va, access, largest) in [
            (m2p.start, m2p.start + entries, layout::M2P, Access::GuestRead, PageSize::Large),
            (vault.start, sure, at, Access::Write, PageSize::Large),
            (sure, vault.end, at + (sure - vault.start), Access::Write, PageSize::Small),
        ] {
            tables
                .map(self, va, Maddr(start), end - start, access, largest)
                .expect("nothing is mapped there");
        }
        (m2p, vault)
    }

    /// Sets the log's ring aside and moves the log there.
    pub(super) fn log_ring(&mut self, options: &Options, cpus: u32) -> Range {
        /// Most of the RAM that the log may have.
        const SHARE: u64 = 16;
        let asked = options.conring_size.map(|size| u32::try_from(size).unwrap_or(u32::MAX));
        let mut ring = ::console::ring::bytes_for(asked, cpus, options.loglvl.always as u8);
        if u64::from(ring) > self.total / SHARE {
            ring = ::console::ring::bytes_for(Some(1), cpus, 0);
            log!("conring_size= is more than 1/{SHARE} of the RAM: {} KiB are used", ring >> 10);
        }
        let bytes = console::memory_for(ring);
        let range = self.take(bytes, ids::FRAME_SIZE);
        // SAFETY: just taken.
        unsafe { direct::zero(Maddr(range.start), range.len() as usize) };
        // SAFETY: as above; recorded as the log's in the sealed record.
        unsafe { console::adopt(range) };
        range
    }

    /// A page with an ELF note about the image: name, description, padded to words (System V ABI, note section).
    pub(super) fn note(&mut self) -> Range {
        const NAME: &[u8; 16] = b"VMCOREINFO_XEN\0\0";
        const TEXT: &[u8; 28] = b"PAGESIZE=4096\nNAME=Revenant\n";
        let range = self.take(ids::FRAME_SIZE, ids::FRAME_SIZE);
        let mut note = [0_u8; 12 + NAME.len() + TEXT.len()];
        // The type is 0; the name's length counts one end.
        note[..4].copy_from_slice(&(NAME.len() as u32 - 1).to_le_bytes());
        note[4..8].copy_from_slice(&(TEXT.len() as u32).to_le_bytes());
        note[12..12 + NAME.len()].copy_from_slice(NAME);
        note[12 + NAME.len()..].copy_from_slice(TEXT);
        let to = direct::pointer::<u8>(Maddr(range.start));
        // SAFETY: just taken, a page.
        unsafe { to.write_bytes(0, ids::FRAME_SIZE as usize) };
        // SAFETY: as above.
        unsafe { to.copy_from_nonoverlapping(note.as_ptr(), note.len()) };
        range
    }

    /// Maps a copy of the facts read-only, for good. Copied bytewise: they are large for the stack.
    pub(super) fn seal_facts(&mut self, tables: PageTables, facts: &BootFacts) -> &'static BootFacts {
        let range = self.take_constant(size_of::<BootFacts>() as u64);
        let to = direct::pointer::<BootFacts>(Maddr(range.start));
        // SAFETY: just taken and large enough; the facts hold plain data, and nothing is dropped at either place.
        unsafe { to.copy_from_nonoverlapping(facts, 1) };
        self.map_sealed(tables, sealed::FACTS, range);
        // SAFETY: mapped there, for good, and never written again.
        unsafe { &*core::ptr::with_exposed_provenance(sealed::FACTS as usize) }
    }

    /// Puts the record where every later start finds it.
    pub(super) fn seal(&mut self, tables: PageTables, record: Sealed) {
        let range = self.take(size_of::<Sealed>() as u64, ids::FRAME_SIZE);
        // SAFETY: just taken, page aligned and large enough.
        unsafe { direct::pointer::<Sealed>(Maddr(range.start)).write(record) };
        self.map_sealed(tables, layout::SEALED, range);
        // SAFETY: it is, now.
        unsafe { sealed::mark_mapped() };
    }

    pub(super) fn map_sealed(&mut self, tables: PageTables, va: u64, range: Range) {
        tables
            .map(self, va, Maddr(range.start), range.len(), Access::Read, PageSize::Small)
            .expect("mapping the sealed record");
    }
}

impl TableMemory for BootFrames<'_> {
    fn read(&self, table: Maddr, index: usize) -> u64 {
        // SAFETY: tables are frames taken below, in the direct map.
        unsafe { direct::read_word(Maddr(table.0 + 8 * index as u64)) }
    }

    fn write(&mut self, table: Maddr, index: usize, entry: u64) {
        // SAFETY: as above; boot owns them.
        unsafe { direct::write_word(Maddr(table.0 + 8 * index as u64), entry) };
    }

    fn allocate(&mut self) -> Option<Maddr> {
        let Some(frame) = self.free.take(ids::FRAME_SIZE, ids::FRAME_SIZE, self.below) else {
            self.too_little(ids::FRAME_SIZE)
        };
        // SAFETY: just taken.
        unsafe { direct::zero(frame, ids::FRAME_SIZE as usize) };
        Some(frame)
    }
}
