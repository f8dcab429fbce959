//! The two copies of the hypervisor's image and the switch between them.
//!
//! Both copies hold the same bytes at the same virtual address; the L3 entry of the image's 1 GiB points to the L2
//! table of one of them. Every address space shares that L3 table, so one store and a TLB flush on each CPU makes the
//! whole machine run the other copy. Code and constants are sealed page by page, so that a damaged page is recognised
//! and taken from the other copy. Variables (`.data`, `.bss`) are derived state: a copy is *refreshed*, never kept.
//!
//! What only the first boot needs lies before all that, in copy A alone: its memory is given back at the end of boot.
#![expect(unsafe_code, reason = "copies and compares the image through the direct map")]

use ids::Maddr;

use crate::paging::{Access, Bits, MapError, PageSize, PageTables, TableMemory};
use crate::seal::Sum;
use crate::{control, direct, layout};

/// Bytes in a page of the image.
const PAGE: u64 = 0x1000;
/// Read-only pages a copy may have: as many seals fit into the seal area of [`SEAL_BYTES`].
pub const MAX_SEALED_PAGES: u64 = SEAL_BYTES / 8;
/// Bytes set aside for the seals: 4 MiB of code and constants.
pub const SEAL_BYTES: u64 = 2 * PAGE;

/// One of the two copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Copy {
    /// Where the boot loader put the image.
    A,
    /// The second place.
    B,
}

impl Copy {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

/// Where the sections lie, as byte offsets from the image's start; all multiples of 4 KiB, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sections {
    /// Start of the code that only the first boot runs; what is before (the boot section) is data by now.
    pub first: u64,
    /// End of that code, start of data that only the first boot uses.
    pub first_data: u64,
    /// Start of code that stays: from here on there are two copies.
    pub text: u64,
    /// End of code, start of constants.
    pub text_end: u64,
    /// What `.data` held at the start: the last part of the constants.
    pub pristine: u64,
    /// Start of variables.
    pub data: u64,
    /// End of initialised variables, start of zeroed ones.
    pub data_end: u64,
    /// End of the image.
    pub end: u64,
}

impl Sections {
    const fn data_len(&self) -> u64 {
        self.data_end - self.data
    }

    /// Bytes of code and constants in a copy.
    pub const fn sealed_bytes(&self) -> u64 {
        self.data - self.text
    }
}

/// The memory of a copy: two runs, the second from offset `split` of the image on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Where the code starts.
    pub code: Maddr,
    /// Offset in the image, at most that of the variables.
    pub split: u64,
    /// Where the bytes from `split` on are.
    pub rest: Maddr,
}

impl Place {
    /// One run, of an image that starts at `base`.
    const fn whole(base: Maddr, sections: &Sections) -> Self {
        Self {
            code: Maddr(base.0 + sections.text),
            split: sections.text,
            rest: Maddr(base.0 + sections.text),
        }
    }

    const fn at(&self, sections: &Sections, offset: u64) -> Maddr {
        if offset < self.split {
            Maddr(self.code.0 + (offset - sections.text))
        } else {
            Maddr(self.rest.0 + (offset - self.split))
        }
    }
}

/// A page that differs from its seal in both copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beyond {
    /// Byte offset of the page in the image.
    pub offset: u64,
}

/// The two copies, as boot made them. Plain data without pointers: part of the sealed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageCopies {
    sections: Sections,
    places: [Place; 2],
    l2: [Maddr; 2],
    l3: Maddr,
    seals: Maddr,
    sum: Sum,
}

/// Maps the image that the boot loader put at `load`, for tables that are not in use yet.
///
/// # Errors
/// There is no memory for tables, or something is mapped there.
pub fn map_loaded(
    tables: PageTables,
    memory: &mut impl TableMemory,
    sections: &Sections,
    load: Maddr,
) -> Result<(), MapError> {
    for (start, end, access) in [
        (0, sections.first, Access::Read),
        (sections.first, sections.first_data, Access::Execute),
        (sections.first_data, sections.text, Access::Write),
    ] {
        let (va, maddr) = (layout::IMAGE + start, Maddr(load.0 + start));
        tables.map(memory, va, maddr, end - start, access, PageSize::Small)?;
    }
    map_copy(tables, memory, layout::IMAGE, sections, &Place::whole(load, sections))
}

impl ImageCopies {
    /// Makes the second copy at `second` from the running one, which the boot loader put at `load` (variables as they
    /// were at the start), its L2 and L1 tables, and the seals at `seals`.
    ///
    /// # Errors
    /// There is no memory for tables, or something is mapped in the GiB above the image.
    ///
    /// # Safety
    /// `tables` are in use and map the image by [`map_loaded`]; `second` and `seals` ([`SEAL_BYTES`]) are the caller's
    /// and in the direct map.
    pub unsafe fn build(
        tables: PageTables,
        memory: &mut impl TableMemory,
        sections: Sections,
        load: Maddr,
        second: Place,
        seals: Maddr,
    ) -> Result<Self, MapError> {
        assert!(sections.data / PAGE <= MAX_SEALED_PAGES, "image too large for its seal area");
        let l3 = tables.table(memory, layout::IMAGE, PageSize::Huge)?;
        // Tables of the second copy are made a GiB above, where they are the same.
        const BESIDE: u64 = layout::IMAGE + PageSize::Huge.bytes();
        map_copy(tables, memory, BESIDE, &sections, &second)?;
        let l2 = [layout::IMAGE, BESIDE]
            .map(|va| Maddr(memory.read(l3, layout::l3_index(va)) & crate::paging::ADDRESS_MASK));
        memory.write(l3, layout::l3_index(BESIDE), 0);
        let places = [Place::whole(load, &sections), second];
        let copies = Self { sections, places, l2, l3, seals, sum: Sum::of_this_cpu() };
        for page in copies.pages() {
            // SAFETY: the caller owns the second place.
            unsafe { copies.copy_page(Copy::A, page * PAGE, Copy::B, page * PAGE) };
            let sum = copies.sum.of(copies.page(Copy::A, page));
            // SAFETY: the caller's promise.
            unsafe { direct::write_word(Maddr(seals.0 + page * 8), sum) };
        }
        // SAFETY: copy B does not run.
        unsafe { copies.refresh_variables(Copy::B) };
        Ok(copies)
    }

    /// The copy in use.
    pub fn running(&self) -> Copy {
        // SAFETY: the L3 table is RAM of ours.
        let entry = unsafe { direct::read_word(self.entry()) };
        if entry & crate::paging::ADDRESS_MASK == self.l2[1].0 { Copy::B } else { Copy::A }
    }

    /// Bytes in a copy.
    pub const fn bytes(&self) -> u64 {
        self.sections.end - self.sections.text
    }

    /// The memory of `copy`: start and bytes of its two runs, of which the first may be empty.
    pub const fn runs(&self, copy: Copy) -> [(Maddr, u64); 2] {
        let (place, s) = (&self.places[copy.index()], &self.sections);
        [(place.code, place.split - s.text), (place.rest, s.end - place.split)]
    }

    /// Start and bytes of what only the first boot needed, in the image that the boot loader loaded.
    pub const fn first_boots(&self) -> (Maddr, u64) {
        let bytes = self.sections.text;
        (Maddr(self.places[0].code.0 - bytes), bytes)
    }

    /// Machine address and bytes of the seals.
    pub const fn seals(&self) -> (Maddr, u64) {
        (self.seals, SEAL_BYTES)
    }

    /// The machine address behind image address `va` in `copy`; `None` outside of what both have.
    pub fn maddr(&self, copy: Copy, va: u64) -> Option<Maddr> {
        let offset = va.checked_sub(layout::IMAGE)?;
        (self.sections.text..self.sections.end).contains(&offset).then(|| self.at(copy, offset))
    }

    /// Runs `copy` from the next instruction on: one store to the shared L3 table, then this CPU's TLB. Other CPUs
    /// must be stopped, and flush before they touch the image again.
    ///
    /// # Safety
    /// `copy` was [checked](Self::first_damaged); every `static` changes value here, so the caller holds no reference
    /// to one, runs on a per-CPU stack, and `self` is not in the image's variables.
    #[inline(never)]
    pub unsafe fn select(&self, copy: Copy) {
        let entry = self.l2[copy.index()].0 | (Bits::PRESENT | Bits::WRITABLE | Bits::ACCESSED).bits();
        // SAFETY: the L3 table is RAM of ours; both L2 tables map the same code here.
        unsafe { direct::write_word(self.entry(), entry) };
        control::flush_tlb();
    }

    /// Offset of the first page of code or constants in `copy` that differs from its seal.
    pub fn first_damaged(&self, copy: Copy) -> Option<u64> {
        self.pages().find(|&page| !self.is_intact(copy, page)).map(|page| page * PAGE)
    }

    /// True if page `page` of `copy`, counted from the image's start, is as boot left it.
    fn is_intact(&self, copy: Copy, page: u64) -> bool {
        // SAFETY: within the seal area, which is RAM of ours.
        let expected = unsafe { direct::read_word(Maddr(self.seals.0 + page * 8)) };
        self.sum.of(self.page(copy, page)) == expected
    }

    /// Pages of code and constants, counted from the image's start.
    const fn pages(&self) -> core::ops::Range<u64> {
        self.sections.text / PAGE..self.sections.data / PAGE
    }

    /// Makes `copy` as it was at the start: variables refreshed, damaged pages of code and constants taken from the
    /// other copy. Returns how many pages that were.
    ///
    /// # Errors
    /// [`Beyond`] names the first page that is damaged in both copies.
    ///
    /// # Safety
    /// `copy` is not running.
    pub unsafe fn make_pristine(&self, copy: Copy) -> Result<u64, Beyond> {
        let mut repaired = 0;
        for page in self.pages() {
            if self.is_intact(copy, page) {
                continue;
            }
            if !self.is_intact(copy.other(), page) {
                return Err(Beyond { offset: page * PAGE });
            }
            // SAFETY: `copy` does not run.
            unsafe { self.copy_page(copy.other(), page * PAGE, copy, page * PAGE) };
            repaired += 1;
        }
        // SAFETY: the caller's promise.
        unsafe { self.refresh_variables(copy) };
        Ok(repaired)
    }

    /// Where the variables of `copy` begin and end.
    pub const fn variables(&self, copy: Copy) -> (Maddr, Maddr) {
        let start = self.at(copy, self.sections.data);
        (start, Maddr(start.0 + (self.sections.end - self.sections.data)))
    }

    /// Gives the variables of `copy` the values they had at the start.
    ///
    /// # Safety
    /// `copy` is not running.
    pub unsafe fn refresh_variables(&self, copy: Copy) {
        let s = &self.sections;
        for done in (0..s.data_len()).step_by(PAGE as usize) {
            // SAFETY: nobody uses the variables of a copy that does not run.
            unsafe { self.copy_page(copy, s.pristine + done, copy, s.data + done) };
        }
        // SAFETY: as above.
        unsafe { direct::zero(self.at(copy, s.data_end), (s.end - s.data_end) as usize) };
    }

    const fn at(&self, copy: Copy, offset: u64) -> Maddr {
        self.places[copy.index()].at(&self.sections, offset)
    }

    /// # Safety
    /// The page at offset `to_offset` of `to` is another one, and nobody uses it.
    unsafe fn copy_page(&self, from: Copy, from_offset: u64, to: Copy, to_offset: u64) {
        let (from, to) = (self.at(from, from_offset), self.at(to, to_offset));
        // SAFETY: the caller's promise; both are RAM of ours.
        unsafe { direct::copy(from, to, PAGE as usize) };
    }

    const fn entry(&self) -> Maddr {
        Maddr(self.l3.0 + 8 * layout::l3_index(layout::IMAGE) as u64)
    }

    fn page(&self, copy: Copy, page: u64) -> &[u8; PAGE as usize] {
        // SAFETY: code and constants: RAM of ours that is written only by `make_pristine`, of a copy that does not run.
        let bytes = unsafe { direct::bytes(self.at(copy, page * PAGE), PAGE as usize) };
        bytes.try_into().expect("a page")
    }
}

/// Maps what a copy at `place` has, with the image's start at `va`.
fn map_copy(
    tables: PageTables,
    memory: &mut impl TableMemory,
    va: u64,
    sections: &Sections,
    place: &Place,
) -> Result<(), MapError> {
    for (start, end, access) in [
        (sections.text, sections.text_end, Access::Execute),
        (sections.text_end, sections.data, Access::Read),
        (sections.data, sections.end, Access::Write),
    ] {
        let split = place.split.clamp(start, end);
        for (start, end) in [(start, split), (split, end)] {
            tables.map(
                memory,
                va + start,
                place.at(sections, start),
                end - start,
                access,
                PageSize::Small,
            )?;
        }
    }
    Ok(())
}
