//! Start of day of PVH guests (`arch-x86/hvm/start_info.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Marks of [`HvmStartInfo`].
    HVM_START: u32;
    /// Value of [`HvmStartInfo::magic`].
    XEN_HVM_START_MAGIC_VALUE = 0x336e_c578, "XEN_HVM_START_MAGIC_VALUE";
}

constants! {
    /// Values of [`HvmMemmapTableEntry::type_`].
    HVM_MEMMAP_TYPES: u32;
    /// RAM.
    XEN_HVM_MEMMAP_TYPE_RAM = 1, "XEN_HVM_MEMMAP_TYPE_RAM";
    /// Reserved.
    XEN_HVM_MEMMAP_TYPE_RESERVED = 2, "XEN_HVM_MEMMAP_TYPE_RESERVED";
    /// ACPI tables, reclaimable.
    XEN_HVM_MEMMAP_TYPE_ACPI = 3, "XEN_HVM_MEMMAP_TYPE_ACPI";
    /// ACPI non-volatile storage.
    XEN_HVM_MEMMAP_TYPE_NVS = 4, "XEN_HVM_MEMMAP_TYPE_NVS";
    /// Unusable.
    XEN_HVM_MEMMAP_TYPE_UNUSABLE = 5, "XEN_HVM_MEMMAP_TYPE_UNUSABLE";
    /// Disabled.
    XEN_HVM_MEMMAP_TYPE_DISABLED = 6, "XEN_HVM_MEMMAP_TYPE_DISABLED";
    /// Persistent memory.
    XEN_HVM_MEMMAP_TYPE_PMEM = 7, "XEN_HVM_MEMMAP_TYPE_PMEM";
}

/// What a PVH guest finds at the address in EBX. C name: `hvm_start_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HvmStartInfo {
    /// [`XEN_HVM_START_MAGIC_VALUE`].
    pub magic: u32,
    /// 1.
    pub version: u32,
    /// Bits of [`SIFS`](crate::xen::SIFS).
    pub flags: u32,
    /// Modules in the list.
    pub nr_modules: u32,
    /// Physical address of the [`HvmModlistEntry`] list.
    pub modlist_paddr: u64,
    /// Physical address of the command line.
    pub cmdline_paddr: u64,
    /// Physical address of the RSDP.
    pub rsdp_paddr: u64,
    /// Physical address of the [`HvmMemmapTableEntry`] list.
    pub memmap_paddr: u64,
    /// Entries in it.
    pub memmap_entries: u32,
    /// Must be zero.
    pub reserved: u32,
}

const_assert_eq!(size_of::<HvmStartInfo>(), 56);

/// One module. C name: `hvm_modlist_entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HvmModlistEntry {
    /// Physical address.
    pub paddr: u64,
    /// Bytes.
    pub size: u64,
    /// Physical address of its command line.
    pub cmdline_paddr: u64,
    /// Zero.
    pub reserved: u64,
}

const_assert_eq!(size_of::<HvmModlistEntry>(), 32);

/// One range of the memory map. C name: `hvm_memmap_table_entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HvmMemmapTableEntry {
    /// First address.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// One of [`HVM_MEMMAP_TYPES`] (C: `type`).
    pub type_: u32,
    /// Zero.
    pub reserved: u32,
}

const_assert_eq!(size_of::<HvmMemmapTableEntry>(), 24);
