//! Page tables on which guests run that are not to see the hypervisor, not even by speculation (Meltdown).
//!
//! Each CPU has [`WAYS`] root tables of its own, which are copies of those that its guests use. A root has
//! the guest's entries, the M2P if the guest's root has it, and of the hypervisor only what the processor needs before
//! and after it changes page tables:
//!
//! ```text
//! slot 256  as in the guest's root
//! slot 259  the shown half of this CPU's block (percpu): descriptor windows, TSS, IDT, entry page, four stacks
//! slot 261  the pages of the image with the entry code that changes page tables
//! others    nothing
//! ```
//!
//! ```text
//! memory  +0x0000  L3, L2 and L1 table of the entry code, for all CPUs
//!         +0x3000  for each CPU: L3 and L2 table of its block, its roots
//! ```
//!
//! All of it is derived. The fixed parts are written by every start, for the copy of the image that runs; the guest's
//! part by the CPU itself on its way to the guest.

use core::ops::Range;

use ids::{CpuId, Maddr};

use crate::layout::{self, l3_index, l4_index};
use crate::paging::{Access, Bits, PageTables, TableMemory};
use crate::percpu;

const TABLE: u64 = 0x1000;
/// Tables of the entry code.
const CODE_TABLES: u64 = 3;
/// Roots of each CPU: those of some processes, a process has two (its own and its kernel's).
pub const WAYS: usize = 8;
/// Tables of each CPU.
const CPU_TABLES: u64 = 2 + WAYS as u64;
/// What one L1 table covers.
const LARGE: u64 = 1 << 21;

/// The guest's slots: all but the hypervisor's.
pub const GUEST_SLOTS: [Range<usize>; 2] = [0..layout::FIRST_SLOT, layout::END_SLOT..512];

/// The memory of the tables. Plain data: part of the sealed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isolation {
    start: Maddr,
    cpus: u32,
}

/// Why the tables cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// What is to be shown is not mapped by 4 KiB pages in the hypervisor's own tables, or not at all.
    NotMapped(u64),
    /// The entry code spans more than one L1 table.
    CodeTooLarge,
}

impl Isolation {
    /// Bytes of memory for `cpus` CPUs.
    pub const fn bytes(cpus: u32) -> u64 {
        (CODE_TABLES + CPU_TABLES * cpus as u64) * TABLE
    }

    /// Tables in the [`bytes`](Self::bytes) of zeroed memory from `start` on.
    pub const fn new(start: Maddr, cpus: u32) -> Self {
        Self { start, cpus }
    }

    /// The memory.
    pub const fn memory(self) -> Range<u64> {
        self.start.0..self.start.0 + Self::bytes(self.cpus)
    }

    /// One of a CPU's roots.
    pub const fn root(self, cpu: CpuId, way: usize) -> Maddr {
        self.of_cpu(cpu, 2 + way as u64)
    }

    const fn code(self, table: u64) -> Maddr {
        Maddr(self.start.0 + table * TABLE)
    }

    const fn of_cpu(self, cpu: CpuId, table: u64) -> Maddr {
        Maddr(self.start.0 + (CODE_TABLES + CPU_TABLES * cpu.0 as u64 + table) * TABLE)
    }

    /// Writes the fixed parts: `code` is the entry code, whole pages of the image; `tables` are the hypervisor's own,
    /// with the image that runs. No guest runs meanwhile.
    ///
    /// # Errors
    /// [`BuildError`] says what cannot be shown.
    pub fn build(
        self,
        tables: PageTables,
        memory: &mut impl TableMemory,
        code: Range<u64>,
    ) -> Result<(), BuildError> {
        self.show_code(tables, memory, code)?;
        for cpu in (0..self.cpus).map(CpuId) {
            let block = percpu::block(cpu);
            let shown = tables.existing_table(memory, block).ok_or(BuildError::NotMapped(block))?;
            let [l3, l2] = [self.of_cpu(cpu, 0), self.of_cpu(cpu, 1)];
            memory.write(l2, (block >> 21 & 511) as usize, directory(shown));
            memory.write(l3, l3_index(block), directory(l2));
            for way in 0..WAYS {
                let root = self.root(cpu, way);
                memory.write(root, l4_index(block), directory(l3));
                memory.write(root, l4_index(layout::IMAGE), directory(self.code(0)));
            }
        }
        Ok(())
    }

    fn show_code(
        self,
        tables: PageTables,
        memory: &mut impl TableMemory,
        code: Range<u64>,
    ) -> Result<(), BuildError> {
        if code.is_empty() || code.start / LARGE != (code.end - 1) / LARGE {
            return Err(BuildError::CodeTooLarge);
        }
        let [l3, l2, l1] = [0, 1, 2].map(|table| self.code(table));
        memory.write(l3, l3_index(code.start), directory(l2));
        memory.write(l2, (code.start >> 21 & 511) as usize, directory(l1));
        for va in code.step_by(TABLE as usize) {
            let found = tables.translate(memory, va).ok_or(BuildError::NotMapped(va))?;
            memory.write(l1, (va >> 12 & 511) as usize, found.maddr.0 | Access::Execute.bits().bits());
        }
        Ok(())
    }
}

fn directory(table: Maddr) -> u64 {
    table.0 | (Bits::PRESENT | Bits::WRITABLE | Bits::ACCESSED).bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paging::PageSize;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Fake(BTreeMap<u64, [u64; 512]>);

    impl TableMemory for Fake {
        fn read(&self, table: Maddr, index: usize) -> u64 {
            self.0.get(&table.0).map_or(0, |table| table[index])
        }
        fn write(&mut self, table: Maddr, index: usize, entry: u64) {
            self.0.entry(table.0).or_insert([0; 512])[index] = entry;
        }
        fn allocate(&mut self) -> Option<Maddr> {
            let maddr = 0x10_0000 + TABLE * self.0.len() as u64;
            self.0.insert(maddr, [0; 512]);
            Some(Maddr(maddr))
        }
    }

    const CPUS: u32 = 3;
    const CODE: Range<u64> = layout::IMAGE + 0x5000..layout::IMAGE + 0x8000;

    fn own(memory: &mut Fake) -> PageTables {
        let tables = PageTables::new(memory).unwrap();
        for cpu in (0..CPUS).map(CpuId) {
            let frames = Maddr(0x100_0000 + percpu::BYTES * u64::from(cpu.0));
            percpu::map(tables, memory, cpu, frames).unwrap();
        }
        let image = (layout::IMAGE, Maddr(0x200_0000), 0x40_0000);
        tables.map(memory, image.0, image.1, image.2, Access::Execute, PageSize::Large).unwrap();
        tables
    }

    #[test]
    fn a_root_shows_the_entry_code_and_half_a_block_and_nothing_else() {
        let mut memory = Fake::default();
        let tables = own(&mut memory);
        let isolation = Isolation::new(Maddr(0x800_0000), CPUS);
        isolation.build(tables, &mut memory, CODE).unwrap();
        let root = PageTables::at(isolation.root(CpuId(1), WAYS - 1));
        let at = |offset| root.translate(&memory, percpu::block(CpuId(1)) + offset);
        for offset in
            [percpu::ENTRY, percpu::TSS, percpu::IDT, percpu::NMI_STACK_TOP - 8, percpu::GDT_OWN_PAGE]
        {
            let own = tables.translate(&memory, percpu::block(CpuId(1)) + offset).unwrap();
            assert_eq!(at(offset), Some(own), "{offset:#x}");
        }
        for offset in [percpu::DATA, percpu::STACK_TOP - 8] {
            assert_eq!(at(offset), None, "{offset:#x}");
        }
        assert_eq!(root.translate(&memory, percpu::block(CpuId(0)) + percpu::ENTRY), None);
        for page in (layout::IMAGE..layout::IMAGE + LARGE).step_by(TABLE as usize) {
            let own = tables.translate(&memory, page).unwrap().maddr;
            let shown = root.translate(&memory, page).map(|found| found.maddr);
            assert_eq!(shown, CODE.contains(&page).then_some(own), "{page:#x}");
        }
        let slots: Vec<usize> = (0..512).filter(|slot| memory.read(root.root(), *slot) != 0).collect();
        assert_eq!(slots, [259, 261]);
    }

    #[test]
    fn the_tables_follow_the_image_that_runs() {
        let mut memory = Fake::default();
        let isolation = Isolation::new(Maddr(0x800_0000), CPUS);
        for base in [0x200_0000, 0x300_0000] {
            let mut own = Fake::default();
            let tables = own_at(&mut own, base);
            memory.0.extend(own.0);
            isolation.build(tables, &mut memory, CODE).unwrap();
            let root = PageTables::at(isolation.root(CpuId(2), 0));
            assert_eq!(root.translate(&memory, CODE.start).unwrap().maddr, Maddr(base + 0x5000));
        }
    }

    fn own_at(memory: &mut Fake, base: u64) -> PageTables {
        let tables = PageTables::new(memory).unwrap();
        for cpu in (0..CPUS).map(CpuId) {
            percpu::map(tables, memory, cpu, Maddr(0x100_0000)).unwrap();
        }
        tables.map(memory, layout::IMAGE, Maddr(base), LARGE, Access::Execute, PageSize::Large).unwrap();
        tables
    }

    #[test]
    fn what_cannot_be_shown_is_an_error() {
        let mut memory = Fake::default();
        let isolation = Isolation::new(Maddr(0x800_0000), 1);
        let empty = PageTables::new(&mut memory).unwrap();
        assert_eq!(isolation.build(empty, &mut memory, CODE), Err(BuildError::NotMapped(CODE.start)));
        let wide = CODE.start..CODE.start + 2 * LARGE;
        assert_eq!(isolation.build(empty, &mut memory, wide), Err(BuildError::CodeTooLarge));
    }
}
