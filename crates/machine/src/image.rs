//! The two copies of the hypervisor's image and the switch between them.
//!
//! Both copies hold the same bytes at the same virtual address; the L3 entry of the image's 1 GiB points to the L2
//! table of one of them. Every address space shares that L3 table, so one store and a TLB flush on each CPU makes the
//! whole machine run the other copy. Code and constants are sealed page by page, so that a damaged page is recognised
//! and taken from the other copy. Variables (`.data`, `.bss`) are derived state: a copy is *refreshed*, never kept.
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
    /// Start of code; what is before (the boot section) is data by now.
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
    base: [Maddr; 2],
    l2: [Maddr; 2],
    l3: Maddr,
    seals: Maddr,
    sum: Sum,
}

impl ImageCopies {
    /// Makes the second copy at `second` from the running one at `first` (variables as they were at the start), the
    /// L2 and L1 tables of both, and the seals at `seals`; selects copy A in `tables`.
    ///
    /// # Safety
    /// `first` is the running image; `second` (`sections.end` bytes) and `seals` ([`SEAL_BYTES`]) are the caller's and
    /// in the direct map.
    pub unsafe fn build(
        tables: PageTables,
        memory: &mut impl TableMemory,
        sections: Sections,
        [first, second]: [Maddr; 2],
        seals: Maddr,
    ) -> Result<Self, MapError> {
        assert!(sections.data / PAGE <= MAX_SEALED_PAGES, "image too large for its seal area");
        let l3 = tables.table(memory, layout::IMAGE, PageSize::Huge)?;
        let mut l2 = [Maddr(0); 2];
        for copy in [Copy::B, Copy::A] {
            memory.write(l3, layout::l3_index(layout::IMAGE), 0);
            let base = [first, second][copy.index()];
            map_copy(tables, memory, &sections, base)?;
            let entry = memory.read(l3, layout::l3_index(layout::IMAGE));
            l2[copy.index()] = Maddr(entry & crate::paging::ADDRESS_MASK);
        }
        let copies = Self { sections, base: [first, second], l2, l3, seals, sum: Sum::of_this_cpu() };
        // SAFETY: the caller owns both; variables are refreshed next.
        unsafe { direct::copy(first, second, sections.data as usize) };
        for page in 0..sections.data / PAGE {
            // SAFETY: the caller's promise.
            unsafe {
                direct::write_word(Maddr(seals.0 + page * 8), copies.sum.of(copies.page(Copy::A, page)))
            };
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
        self.sections.end
    }

    /// The machine address of `copy`.
    pub const fn base(&self, copy: Copy) -> Maddr {
        self.base[copy.index()]
    }

    /// Machine address and bytes of the seals.
    pub const fn seals(&self) -> (Maddr, u64) {
        (self.seals, SEAL_BYTES)
    }

    /// The machine address behind image address `va` in `copy`; `None` outside of the image.
    pub fn maddr(&self, copy: Copy, va: u64) -> Option<Maddr> {
        let offset = va.checked_sub(layout::IMAGE)?;
        (offset < self.sections.end).then(|| Maddr(self.base(copy).0 + offset))
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
        (0..self.sealed_pages()).find(|&page| !self.is_intact(copy, page)).map(|page| page * PAGE)
    }

    /// True if sealed page `page` (0 to [`Self::sealed_pages`] - 1) of `copy` is as boot left it: for an audit in small
    /// steps.
    pub fn is_intact(&self, copy: Copy, page: u64) -> bool {
        // SAFETY: within the seal area, which is RAM of ours.
        let expected = unsafe { direct::read_word(Maddr(self.seals.0 + page * 8)) };
        self.sum.of(self.page(copy, page)) == expected
    }

    /// Pages of code and constants in a copy.
    pub const fn sealed_pages(&self) -> u64 {
        self.sections.data / PAGE
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
        for page in 0..self.sealed_pages() {
            if self.is_intact(copy, page) {
                continue;
            }
            if !self.is_intact(copy.other(), page) {
                return Err(Beyond { offset: page * PAGE });
            }
            let [from, to] = [copy.other(), copy].map(|c| Maddr(self.base(c).0 + page * PAGE));
            // SAFETY: `to` is in a copy that does not run; the two places are distinct.
            unsafe { direct::copy(from, to, PAGE as usize) };
            repaired += 1;
        }
        // SAFETY: the caller's promise.
        unsafe { self.refresh_variables(copy) };
        Ok(repaired)
    }

    /// Where the variables of `copy` begin and end.
    pub const fn variables(&self, copy: Copy) -> (Maddr, Maddr) {
        let base = self.base(copy).0;
        (Maddr(base + self.sections.data), Maddr(base + self.sections.end))
    }

    /// Gives the variables of `copy` the values they had at the start.
    ///
    /// # Safety
    /// `copy` is not running.
    pub unsafe fn refresh_variables(&self, copy: Copy) {
        let at = |offset| Maddr(self.base(copy).0 + offset);
        let s = &self.sections;
        // SAFETY: nobody uses the variables of a copy that does not run.
        unsafe { direct::copy(at(s.pristine), at(s.data), s.data_len() as usize) };
        // SAFETY: as above.
        unsafe { direct::zero(at(s.data_end), (s.end - s.data_end) as usize) };
    }

    const fn entry(&self) -> Maddr {
        Maddr(self.l3.0 + 8 * layout::l3_index(layout::IMAGE) as u64)
    }

    fn page(&self, copy: Copy, page: u64) -> &[u8; PAGE as usize] {
        // SAFETY: code and constants: RAM of ours that is written only by `make_pristine`, of a copy that does not run.
        let bytes = unsafe { direct::bytes(Maddr(self.base(copy).0 + page * PAGE), PAGE as usize) };
        bytes.try_into().expect("a page")
    }
}

fn map_copy(
    tables: PageTables,
    memory: &mut impl TableMemory,
    sections: &Sections,
    base: Maddr,
) -> Result<(), MapError> {
    for (start, end, access) in [
        (0, sections.text, Access::Read),
        (sections.text, sections.text_end, Access::Execute),
        (sections.text_end, sections.data, Access::Read),
        (sections.data, sections.end, Access::Write),
    ] {
        let (va, maddr) = (layout::IMAGE + start, Maddr(base.0 + start));
        tables.map(memory, va, maddr, end - start, access, PageSize::Large)?;
    }
    Ok(())
}
