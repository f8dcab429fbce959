//! Linear addresses that belong to the hypervisor, and page-table entry bits.

use crate::constants::constants;

constants! {
    /// The hypervisor's range of linear addresses.
    ADDRESS_SPACE: u64;
    /// First address of the hypervisor.
    HYPERVISOR_VIRT_START = 0xffff_8000_0000_0000, "HYPERVISOR_VIRT_START";
    /// One past its last address.
    HYPERVISOR_VIRT_END = 0xffff_8800_0000_0000, "HYPERVISOR_VIRT_END";
    /// First address of the read-only M2P.
    MACH2PHYS_VIRT_START = 0xffff_8000_0000_0000, "MACH2PHYS_VIRT_START";
    /// One past the largest M2P.
    MACH2PHYS_VIRT_END = 0xffff_8040_0000_0000, "MACH2PHYS_VIRT_END";
    /// Entries of the largest M2P.
    MACH2PHYS_NR_ENTRIES = 0x8_0000_0000, "MACH2PHYS_NR_ENTRIES";
}

constants! {
    /// I/O ports of the ABI.
    PORTS: u16;
    /// Debug console of HVM guests.
    XEN_HVM_DEBUGCONS_IOPORT = 0xe9, "XEN_HVM_DEBUGCONS_IOPORT";
}

/// Present.
pub const PTE_PRESENT: u64 = 1 << 0;
/// Writable.
pub const PTE_WRITABLE: u64 = 1 << 1;
/// Accessible to ring 3, hence to PV guests.
pub const PTE_USER: u64 = 1 << 2;
/// Write-through cache attribute.
pub const PTE_PWT: u64 = 1 << 3;
/// Uncached cache attribute.
pub const PTE_PCD: u64 = 1 << 4;
/// Accessed.
pub const PTE_ACCESSED: u64 = 1 << 5;
/// Dirty.
pub const PTE_DIRTY: u64 = 1 << 6;
/// In L1 entries: third bit of the cache attribute.
pub const PTE_PAT: u64 = 1 << 7;
/// In L2 and L3 entries: a superpage, refused to PV guests.
pub const PTE_PSE: u64 = 1 << 7;
/// Global.
pub const PTE_GLOBAL: u64 = 1 << 8;
/// Bits 11:9, free for software.
pub const PTE_AVAIL: u64 = 7 << 9;
/// Software bit set by the hypervisor in L1 entries that a 64-bit PV guest wants for its kernel only.
pub const PTE_GUEST_KERNEL: u64 = 1 << 52;
/// Bits 62:52, free for software apart from [`PTE_GUEST_KERNEL`].
pub const PTE_AVAIL_HIGH: u64 = 0x7ff << 52;
/// No execute.
pub const PTE_NX: u64 = 1 << 63;
/// The frame's address, bits 51:12.
pub const PTE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
