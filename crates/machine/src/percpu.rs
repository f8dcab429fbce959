//! The per-CPU block: 4 MiB of address space for each CPU, most of it unmapped.
//!
//! ```text
//! +0x000000  GDT window   16 pages: 0 to 13 a PV guest's frames, 14 the hypervisor's own descriptors
//! +0x010000  LDT window   16 pages of a PV guest's frames
//! +0x020000  entry        1 page: cells of the entry code, and the stack on which guests are entered and left that
//!                         run on isolated page tables
//! +0x021000  TSS          1 page
//! +0x022000  IDT          1 page, read-only
//! +0x029000  NMI stack    8 KiB    each stack between unmapped guard pages
//! +0x02c000  #DF stack    8 KiB
//! +0x02f000  #MC stack    8 KiB
//! +0x032000  #DB stack    8 KiB
//! +0x200000  data         5 pages
//! +0x208000  main stack   32 KiB, up to +0x210000
//! ```
//!
//! The block is aligned to its size, so the CPU is known from any address on any of its stacks, whatever GS holds.
//! Each half has an L1 table of its own, so a guest's descriptor frames are switched without touching other CPUs, and
//! the lower half, which the processor needs before and after it changes page tables, can be shown without the other
//! ([`crate::isolation`]).

use ids::{CpuId, Maddr};

use crate::layout;
use crate::paging::{Access, MapError, PageSize, PageTables, TableMemory};

/// Address distance of two blocks.
pub const STRIDE: u64 = 0x40_0000;
/// Bytes of the half that is mapped while a guest runs on isolated page tables.
pub const SHOWN: u64 = 0x20_0000;
/// CPUs the address range and the boot facts have room for.
pub const MAX_CPUS: u32 = 256;

/// GDT window: what GDTR points to.
pub const GDT_WINDOW: u64 = 0;
/// The hypervisor's own page of the GDT (`FIRST_RESERVED_GDT_PAGE`, public/arch-x86/xen.h).
pub const GDT_OWN_PAGE: u64 = 0xe000;
/// LDT window: the base of a guest's LDT descriptor.
pub const LDT_WINDOW: u64 = 0x1_0000;
/// Pages in each window.
pub const WINDOW_PAGES: u64 = 16;
/// Cells of the entry code, and above them the stack of guarded entries, up to [`ENTRY_TOP`].
pub const ENTRY: u64 = 0x2_0000;
/// First address after that stack.
pub const ENTRY_TOP: u64 = ENTRY + 0x1000;
/// Task state segment.
pub const TSS: u64 = 0x2_1000;
/// Interrupt descriptor table.
pub const IDT: u64 = 0x2_2000;
/// Data of this CPU's software.
pub const DATA: u64 = SHOWN;
/// Bytes at [`DATA`].
pub const DATA_SIZE: u64 = 0x5000;
/// First address after the NMI stack.
pub const NMI_STACK_TOP: u64 = 0x2_b000;
/// First address after the double fault stack.
pub const DOUBLE_FAULT_STACK_TOP: u64 = 0x2_e000;
/// First address after the machine check stack.
pub const MACHINE_CHECK_STACK_TOP: u64 = 0x3_1000;
/// First address after the debug exception stack.
pub const DEBUG_STACK_TOP: u64 = 0x3_4000;
/// Bytes in each of the four stacks above.
pub const IST_STACK_SIZE: u64 = 0x2000;
/// First address after the main stack.
pub const STACK_TOP: u64 = SHOWN + 0x1_0000;
/// Bytes in the main stack.
pub const STACK_SIZE: u64 = 0x8000;

/// What is mapped in a block: offset, bytes, access. Frames follow in this order.
const PARTS: [(u64, u64, Access); 10] = [
    (GDT_OWN_PAGE, 0x1000, Access::Write),
    (ENTRY, 0x1000, Access::Write),
    (TSS, 0x1000, Access::Write),
    (IDT, 0x1000, Access::Read),
    (NMI_STACK_TOP - IST_STACK_SIZE, IST_STACK_SIZE, Access::Write),
    (DOUBLE_FAULT_STACK_TOP - IST_STACK_SIZE, IST_STACK_SIZE, Access::Write),
    (MACHINE_CHECK_STACK_TOP - IST_STACK_SIZE, IST_STACK_SIZE, Access::Write),
    (DEBUG_STACK_TOP - IST_STACK_SIZE, IST_STACK_SIZE, Access::Write),
    (DATA, DATA_SIZE, Access::Write),
    (STACK_TOP - STACK_SIZE, STACK_SIZE, Access::Write),
];

/// Bytes of memory behind each block.
pub const BYTES: u64 = {
    let mut sum = 0;
    let mut part = 0;
    while part < PARTS.len() {
        sum += PARTS[part].1;
        part += 1;
    }
    sum
};

/// The address of `cpu`'s block.
pub const fn block(cpu: CpuId) -> u64 {
    layout::PER_CPU + cpu.0 as u64 * STRIDE
}

/// The CPU whose block `va` lies in, be it an address on one of its stacks; `None` outside of all blocks.
pub const fn cpu_of(va: u64) -> Option<CpuId> {
    // What lies below wraps to a number that no CPU has.
    let number = va.wrapping_sub(layout::PER_CPU) / STRIDE;
    if number < MAX_CPUS as u64 { Some(CpuId(number as u32)) } else { None }
}

/// The machine address behind `offset` in a block whose frames start at `frames`; `None` where nothing is mapped.
pub fn frame_of(frames: Maddr, offset: u64) -> Option<Maddr> {
    let mut maddr = frames.0;
    for (start, len, _) in PARTS {
        if (start..start + len).contains(&offset) {
            return Some(Maddr(maddr + (offset - start)));
        }
        maddr += len;
    }
    None
}

/// Maps `cpu`'s block onto the [`BYTES`] bytes of memory from `frames` on.
pub fn map(
    tables: PageTables,
    memory: &mut impl TableMemory,
    cpu: CpuId,
    frames: Maddr,
) -> Result<(), MapError> {
    let mut maddr = frames.0;
    for (start, len, access) in PARTS {
        tables.map(memory, block(cpu) + start, Maddr(maddr), len, access, PageSize::Small)?;
        maddr += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_have_guards_and_name_their_cpu() {
        for top in
            [NMI_STACK_TOP, DOUBLE_FAULT_STACK_TOP, MACHINE_CHECK_STACK_TOP, DEBUG_STACK_TOP, STACK_TOP]
        {
            let size = if top == STACK_TOP { STACK_SIZE } else { IST_STACK_SIZE };
            assert!(frame_of(Maddr(0), top - 1).is_some() && frame_of(Maddr(0), top - size).is_some());
            assert_eq!(frame_of(Maddr(0), top), None, "{top:#x}");
            assert_eq!(frame_of(Maddr(0), top - size - 1), None, "{top:#x}");
            assert_eq!(cpu_of(block(CpuId(7)) + top), Some(CpuId(7)));
        }
        assert_eq!(cpu_of(layout::PER_CPU - 1), None);
        assert_eq!(cpu_of(block(CpuId(MAX_CPUS))), None);
    }

    #[test]
    fn frames_are_distinct() {
        let mut seen = std::collections::BTreeSet::new();
        for page in 0..STRIDE >> 12 {
            if let Some(maddr) = frame_of(Maddr(0x1000), page << 12) {
                assert!(seen.insert(maddr.0) && maddr.0 >= 0x1000 && maddr.0 < 0x1000 + BYTES);
            }
        }
        assert_eq!(seen.len() as u64, BYTES >> 12);
    }
}
