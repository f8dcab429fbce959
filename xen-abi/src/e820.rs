//! Entries of the memory maps (`memory.h` names the format only; it is ACPI's, chapter "System Address
//! Map").

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One range of a memory map, 20 bytes without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub struct E820Entry {
    /// First address.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// One of the `E820_*` constants (C: `type`).
    pub type_: u32,
}

const_assert_eq!(size_of::<E820Entry>(), 20);

/// RAM.
pub const E820_RAM: u32 = 1;
/// Reserved.
pub const E820_RESERVED: u32 = 2;
/// ACPI tables, reclaimable.
pub const E820_ACPI: u32 = 3;
/// ACPI non-volatile storage.
pub const E820_NVS: u32 = 4;
/// Unusable: faulty memory.
pub const E820_UNUSABLE: u32 = 5;
/// Most entries that Linux and the toolstack exchange in one map.
pub const E820_MAX: usize = 128;
