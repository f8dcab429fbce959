//! The hypervisor's virtual address space: slots 256 to 271 of every L4 table (public/arch-x86/xen-x86_64.h:
//! `HYPERVISOR_VIRT_START` 0xffff800000000000 to `HYPERVISOR_VIRT_END` 0xffff880000000000).
//!
//! ```text
//! slot 256  0xffff800000000000  M2P         machine-to-physical table, guest readable
//! slot 259  0xffff818000000000  PER_CPU     one 2 MiB block per CPU: descriptor windows, stacks, data (see percpu)
//!           0xffff81c000000000  SEALED      what boot learned, read-only from then on; the chart
//! slot 260  0xffff820000000000  VAULT       durable regions, frame table
//! slot 261  0xffff828000000000  MMIO        device registers, uncached
//!           0xffff82d040000000  IMAGE       the running copy of the image (1 GiB, one L3 entry)
//! slot 262  0xffff830000000000  DIRECT_MAP  all RAM, 5 TiB
//! ```

use ids::Maddr;

/// Machine-to-physical table (`MACH2PHYS_VIRT_START`), readable by PV guests.
pub const M2P: u64 = 0xffff_8000_0000_0000;
/// Per-CPU blocks, [`crate::percpu::STRIDE`] apart.
pub const PER_CPU: u64 = 0xffff_8180_0000_0000;
/// The sealed record of boot, mapped read-only.
pub const SEALED: u64 = 0xffff_81c0_0000_0000;
/// The chart: what lies where, as text, mapped read-only for whoever looks at the machine from outside.
pub const CHART: u64 = SEALED + 0x10_0000;
/// Bytes of the chart.
pub const CHART_BYTES: u64 = 0x8000;
/// Durable regions.
pub const VAULT: u64 = 0xffff_8200_0000_0000;
/// Device registers.
pub const MMIO: u64 = 0xffff_8280_0000_0000;
/// End of the device register window: where the image's 1 GiB begins.
pub const MMIO_END: u64 = IMAGE;
/// This CPU's local APIC in xAPIC mode: 4 KiB.
pub const LOCAL_APIC: u64 = MMIO;
/// The HPET: 4 KiB.
pub const HPET: u64 = MMIO + 0x1000;
const IO_APICS: u64 = MMIO + 0x1_0000;
/// I/O APICs there is room for.
pub const MAX_IO_APICS: usize = 16;
/// The screen's memory, while it shows the log: at most [`SCREEN_SIZE`].
pub const SCREEN: u64 = MMIO + 0x4000_0000;
/// Bytes there is room for.
pub const SCREEN_SIZE: u64 = 0x1000_0000;
/// First address for other devices.
pub const MMIO_FREE: u64 = MMIO + 0x2_0000;
/// Link address of the image.
pub const IMAGE: u64 = 0xffff_82d0_4000_0000;
/// Direct map of all RAM.
pub const DIRECT_MAP: u64 = 0xffff_8300_0000_0000;
/// Bytes the direct map may span: slots 262 to 271.
pub const DIRECT_MAP_SIZE: u64 = 5 << 40;

/// First L4 slot of the hypervisor's range (`ROOT_PAGETABLE_FIRST_XEN_SLOT`).
pub const FIRST_SLOT: usize = 256;
/// First L4 slot after the hypervisor's range (`ROOT_PAGETABLE_LAST_XEN_SLOT` + 1).
pub const END_SLOT: usize = 272;

/// Index of `va` in its L4 table.
pub const fn l4_index(va: u64) -> usize {
    ((va >> 39) & 511) as usize
}

/// Index of `va` in its L3 table.
pub const fn l3_index(va: u64) -> usize {
    ((va >> 30) & 511) as usize
}

/// The registers of I/O APIC number `index`: 4 KiB.
///
/// # Panics
/// Panics if there is no room for that many.
pub const fn io_apic(index: usize) -> u64 {
    assert!(index < MAX_IO_APICS);
    IO_APICS + 0x1000 * index as u64
}

/// Where the direct map shows machine address `maddr`; `None` beyond the map's span.
pub const fn direct(maddr: Maddr) -> Option<u64> {
    if maddr.0 < DIRECT_MAP_SIZE { Some(DIRECT_MAP + maddr.0) } else { None }
}

const _: () = {
    assert!(l4_index(M2P) == 256 && l4_index(PER_CPU) == 259 && l4_index(SEALED) == 259);
    assert!(l4_index(VAULT) == 260 && l4_index(MMIO) == 261 && l4_index(IMAGE) == 261);
    assert!(l3_index(IMAGE) == 321 && l4_index(DIRECT_MAP) == 262);
    assert!(l4_index(DIRECT_MAP + DIRECT_MAP_SIZE - 1) == END_SLOT - 1);
};
