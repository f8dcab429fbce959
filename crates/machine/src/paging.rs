//! Building four-level page tables: pure logic over a [`TableMemory`], so that a test can run it on fake memory.
//!
//! Used for the hypervisor's own part of the address space (slots 256 to 271), which is fixed after boot except for
//! the per-CPU windows and the image's L3 entry. PV guests' tables are `pv-mmu`'s business.

use bitflags::bitflags;
use ids::Maddr;

use crate::layout;

bitflags! {
    /// Bits of a page-table entry (Intel SDM volume 3, 4.5).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Bits: u64 {
        /// The entry maps something.
        const PRESENT = 1 << 0;
        /// Writes are allowed.
        const WRITABLE = 1 << 1;
        /// Ring 3 may use it.
        const USER = 1 << 2;
        /// PAT index bit 0.
        const WRITE_THROUGH = 1 << 3;
        /// PAT index bit 1; with `WRITE_THROUGH`, index 3: uncached in Xen's PAT.
        const CACHE_DISABLE = 1 << 4;
        /// Set by the processor on use.
        const ACCESSED = 1 << 5;
        /// Set by the processor on a write.
        const DIRTY = 1 << 6;
        /// In an L2 or L3 entry: a 2 MiB or 1 GiB page.
        const LARGE = 1 << 7;
        /// Survives a CR3 load.
        const GLOBAL = 1 << 8;
        /// Instruction fetch faults.
        const NO_EXECUTE = 1 << 63;
    }
}

/// The machine address bits of an entry.
pub const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;

/// How a range may be used. Nothing of the hypervisor's can be both writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Instructions.
    Execute,
    /// Constant data.
    Read,
    /// Ordinary data.
    Write,
    /// Device registers: writable, uncached.
    Device,
    /// Constant data that guests may read too.
    GuestRead,
    /// The firmware's services, code and data in one: in page tables used for calling them alone.
    Firmware,
}

impl Access {
    /// The leaf entry bits for this use.
    pub const fn bits(self) -> Bits {
        let base = Bits::PRESENT.union(Bits::ACCESSED);
        match self {
            Self::Execute => base,
            Self::Read => base.union(Bits::NO_EXECUTE),
            Self::Write => base.union(Bits::NO_EXECUTE).union(Bits::WRITABLE).union(Bits::DIRTY),
            Self::Device => Self::Write.bits().union(Bits::WRITE_THROUGH).union(Bits::CACHE_DISABLE),
            Self::GuestRead => Self::Read.bits().union(Bits::USER),
            Self::Firmware => base.union(Bits::WRITABLE).union(Bits::DIRTY),
        }
    }
}

/// The largest page the builder may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageSize {
    /// 4 KiB, an L1 entry.
    Small,
    /// 2 MiB, an L2 entry.
    Large,
    /// 1 GiB, an L3 entry (where CPUID 0x80000001 EDX bit 26 allows it).
    Huge,
}

impl PageSize {
    /// Bytes in the page.
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }

    const fn shift(self) -> u32 {
        match self {
            Self::Small => 12,
            Self::Large => 21,
            Self::Huge => 30,
        }
    }
}

/// Why a range could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No frame for another table.
    OutOfMemory,
    /// Address or length not a multiple of 4 KiB, or the range wraps.
    Unaligned,
    /// Something is mapped there already.
    Occupied(u64),
}

/// The memory page tables live in.
pub trait TableMemory {
    /// Entry `index` (0 to 511) of the table at `table`.
    fn read(&self, table: Maddr, index: usize) -> u64;
    /// Sets entry `index` of the table at `table` by one store.
    fn write(&mut self, table: Maddr, index: usize, entry: u64);
    /// A zeroed frame for a new table.
    fn allocate(&mut self) -> Option<Maddr>;
}

/// A tree of tables, named by its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageTables {
    root: Maddr,
}

/// What an address translates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The machine address of that very byte.
    pub maddr: Maddr,
    /// The leaf entry.
    pub entry: u64,
    /// The page's size.
    pub size: PageSize,
}

impl PageTables {
    /// The tree whose L4 table is at `root`.
    pub const fn at(root: Maddr) -> Self {
        Self { root }
    }

    /// The L4 table's machine address: what CR3 takes.
    pub const fn root(self) -> Maddr {
        self.root
    }

    /// An empty tree.
    pub fn new(memory: &mut impl TableMemory) -> Result<Self, MapError> {
        memory.allocate().map(Self::at).ok_or(MapError::OutOfMemory)
    }

    /// Maps `len` bytes from `maddr` on at `va`, with pages no larger than `largest`. Refuses to change a mapping.
    pub fn map(
        self,
        memory: &mut impl TableMemory,
        va: u64,
        maddr: Maddr,
        len: u64,
        access: Access,
        largest: PageSize,
    ) -> Result<(), MapError> {
        if (va | maddr.0 | len) & 0xfff != 0
            || va.checked_add(len).is_none()
            || maddr.0.checked_add(len).is_none()
        {
            return Err(MapError::Unaligned);
        }
        let mut done = 0;
        while done < len {
            let size = best_size(va + done, maddr.0 + done, len - done, largest);
            self.map_page(memory, va + done, Maddr(maddr.0 + done), access, size)?;
            done += size.bytes();
        }
        Ok(())
    }

    fn map_page(
        self,
        memory: &mut impl TableMemory,
        va: u64,
        maddr: Maddr,
        access: Access,
        size: PageSize,
    ) -> Result<(), MapError> {
        let table = self.table(memory, va, size)?;
        let index = index_at(va, size.shift());
        if memory.read(table, index) & Bits::PRESENT.bits() != 0 {
            return Err(MapError::Occupied(va));
        }
        let large = if size == PageSize::Small { Bits::empty() } else { Bits::LARGE };
        memory.write(table, index, maddr.0 | access.bits().union(large).bits());
        Ok(())
    }

    /// The table whose entries map pages of `size` around `va`, made with all tables above it where missing.
    pub fn table(self, memory: &mut impl TableMemory, va: u64, size: PageSize) -> Result<Maddr, MapError> {
        let mut table = self.root;
        let mut shift = 39;
        while shift > size.shift() {
            let index = index_at(va, shift);
            let entry = memory.read(table, index);
            table = if entry & Bits::PRESENT.bits() == 0 {
                let fresh = memory.allocate().ok_or(MapError::OutOfMemory)?;
                memory.write(table, index, fresh.0 | directory_bits(va));
                fresh
            } else if entry & Bits::LARGE.bits() != 0 {
                return Err(MapError::Occupied(va));
            } else {
                Maddr(entry & ADDRESS_MASK)
            };
            shift -= 9;
        }
        Ok(table)
    }

    /// Removes the 4 KiB mapping at `va` and returns its entry; `None` if there was none.
    pub fn unmap_page(self, memory: &mut impl TableMemory, va: u64) -> Option<u64> {
        let table = self.existing_table(memory, va)?;
        let index = index_at(va, 12);
        let entry = memory.read(table, index);
        memory.write(table, index, 0);
        (entry & Bits::PRESENT.bits() != 0).then_some(entry)
    }

    /// The L1 table that covers `va`, if it exists.
    pub fn existing_table(self, memory: &impl TableMemory, va: u64) -> Option<Maddr> {
        let mut table = self.root;
        for shift in [39, 30, 21] {
            let entry = memory.read(table, index_at(va, shift));
            if entry & Bits::PRESENT.bits() == 0 || entry & Bits::LARGE.bits() != 0 {
                return None;
            }
            table = Maddr(entry & ADDRESS_MASK);
        }
        Some(table)
    }

    /// Walks the tree.
    pub fn translate(self, memory: &impl TableMemory, va: u64) -> Option<Translation> {
        let mut table = self.root;
        for (shift, size) in
            [(39, None), (30, Some(PageSize::Huge)), (21, Some(PageSize::Large)), (12, Some(PageSize::Small))]
        {
            let entry = memory.read(table, index_at(va, shift));
            if entry & Bits::PRESENT.bits() == 0 {
                return None;
            }
            if let Some(size) = size
                && (size == PageSize::Small || entry & Bits::LARGE.bits() != 0)
            {
                let within = size.bytes() - 1;
                return Some(Translation {
                    maddr: Maddr((entry & ADDRESS_MASK & !within) | (va & within)),
                    entry,
                    size,
                });
            }
            table = Maddr(entry & ADDRESS_MASK);
        }
        None
    }

    /// Points `slots` of this L4 at new empty L3 tables where they are empty: address spaces made later share them.
    pub fn populate_slots(
        self,
        memory: &mut impl TableMemory,
        slots: impl Iterator<Item = usize>,
    ) -> Result<(), MapError> {
        for slot in slots {
            let va = 0xffff_0000_0000_0000 | (to_u64(slot) << 39);
            self.table(memory, va, PageSize::Huge)?;
        }
        Ok(())
    }
}

fn to_u64(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}

const fn index_at(va: u64, shift: u32) -> usize {
    ((va >> shift) & 511) as usize
}

/// Directory entries allow everything; the leaf decides. Only the M2P slot lets ring 3 through.
fn directory_bits(va: u64) -> u64 {
    let user = if layout::l4_index(va) == layout::l4_index(layout::M2P) { Bits::USER } else { Bits::empty() };
    (Bits::PRESENT | Bits::WRITABLE | Bits::ACCESSED | user).bits()
}

fn best_size(va: u64, maddr: u64, len: u64, largest: PageSize) -> PageSize {
    for size in [PageSize::Huge, PageSize::Large] {
        if size <= largest && (va | maddr) & (size.bytes() - 1) == 0 && len >= size.bytes() {
            return size;
        }
    }
    PageSize::Small
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Fake {
        tables: BTreeMap<u64, [u64; 512]>,
        limit: usize,
    }

    impl TableMemory for Fake {
        fn read(&self, table: Maddr, index: usize) -> u64 {
            self.tables[&table.0][index]
        }
        fn write(&mut self, table: Maddr, index: usize, entry: u64) {
            self.tables.get_mut(&table.0).expect("a table")[index] = entry;
        }
        fn allocate(&mut self) -> Option<Maddr> {
            let maddr = 0x10_0000 + 0x1000 * self.tables.len() as u64;
            (self.tables.len() < self.limit).then(|| self.tables.insert(maddr, [0; 512]));
            self.tables.contains_key(&maddr).then_some(Maddr(maddr))
        }
    }

    fn fake() -> Fake {
        Fake { limit: 4096, ..Fake::default() }
    }

    #[test]
    fn every_byte_translates_with_the_largest_fitting_pages() {
        let mut memory = fake();
        let tables = PageTables::new(&mut memory).unwrap();
        let (maddr, len) = (Maddr(0x3fff_f000), 0x4020_2000);
        let va = layout::DIRECT_MAP + maddr.0;
        tables.map(&mut memory, va, maddr, len, Access::Write, PageSize::Huge).unwrap();
        for (offset, size) in [
            (0, PageSize::Small),
            (0x1000, PageSize::Huge),
            (0x4000_0fff, PageSize::Huge),
            (0x4000_1000, PageSize::Large),
            (0x4020_1fff, PageSize::Small),
        ] {
            let found = tables.translate(&memory, va + offset).unwrap();
            assert_eq!((found.maddr.0, found.size), (maddr.0 + offset, size), "{offset:#x}");
            assert_ne!(found.entry & Bits::NO_EXECUTE.bits(), 0);
        }
        assert_eq!(tables.translate(&memory, va - 1), None);
        assert_eq!(tables.translate(&memory, va + len), None);
    }

    #[test]
    fn nothing_is_writable_and_executable() {
        for access in [Access::Execute, Access::Read, Access::Write, Access::Device, Access::GuestRead] {
            let bits = access.bits();
            assert!(!bits.contains(Bits::WRITABLE) || bits.contains(Bits::NO_EXECUTE), "{access:?}");
        }
    }

    #[test]
    fn a_second_mapping_is_refused_and_a_removed_page_is_gone() {
        let mut memory = fake();
        let tables = PageTables::new(&mut memory).unwrap();
        let map = |memory: &mut Fake| {
            tables.map(memory, layout::MMIO, Maddr(0xfee0_0000), 0x1000, Access::Device, PageSize::Small)
        };
        assert_eq!(map(&mut memory), Ok(()));
        assert_eq!(map(&mut memory), Err(MapError::Occupied(layout::MMIO)));
        assert!(tables.unmap_page(&mut memory, layout::MMIO).is_some());
        assert_eq!(tables.unmap_page(&mut memory, layout::MMIO), None);
        assert_eq!(map(&mut memory), Ok(()));
    }

    #[test]
    fn running_out_of_tables_is_an_error() {
        let mut memory = Fake { limit: 2, ..Fake::default() };
        let tables = PageTables::new(&mut memory).unwrap();
        let result = tables.map(&mut memory, layout::VAULT, Maddr(0), 0x1000, Access::Read, PageSize::Small);
        assert_eq!(result, Err(MapError::OutOfMemory));
        let result =
            tables.map(&mut memory, layout::VAULT, Maddr(0x10), 0x1000, Access::Read, PageSize::Small);
        assert_eq!(result, Err(MapError::Unaligned));
    }

    #[test]
    fn only_the_m2p_slot_is_open_to_ring_3() {
        let mut memory = fake();
        let tables = PageTables::new(&mut memory).unwrap();
        tables.populate_slots(&mut memory, layout::FIRST_SLOT..layout::END_SLOT).unwrap();
        for slot in layout::FIRST_SLOT..layout::END_SLOT {
            let entry = memory.read(tables.root(), slot);
            assert_eq!(entry & Bits::USER.bits() != 0, slot == 256, "{slot}");
        }
    }
}
