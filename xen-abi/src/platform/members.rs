//! Time, memory, microcode, sleep and symbol members of `PlatformOp` (`platform.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Member of `XENPF_settime32`. C name: `xenpf_settime32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfSettime32 {
    /// Seconds of the Unix epoch.
    pub secs: u32,
    /// Nanoseconds.
    pub nsecs: u32,
    /// System time in ns at which this holds.
    pub system_time: u64,
}

const_assert_eq!(size_of::<XenpfSettime32>(), 16);

/// Member of `XENPF_settime64`. C name: `xenpf_settime64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfSettime64 {
    /// Seconds of the Unix epoch.
    pub secs: u64,
    /// Nanoseconds.
    pub nsecs: u32,
    /// Must be zero.
    pub mbz: u32,
    /// System time in ns at which this holds.
    pub system_time: u64,
}

const_assert_eq!(size_of::<XenpfSettime64>(), 24);

/// Member of `XENPF_add_memtype`. C name: `xenpf_add_memtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfAddMemtype {
    /// First frame.
    pub mfn: u64,
    /// Frames.
    pub nr_mfns: u64,
    /// Memory type (C: `type`).
    pub type_: u32,
    /// Out: handle.
    pub handle: u32,
    /// Out: register used.
    pub reg: u32,
    /// Padding.
    pub _pad0: [u8; 4],
}

const_assert_eq!(size_of::<XenpfAddMemtype>(), 32);

/// Member of `XENPF_del_memtype`. C name: `xenpf_del_memtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfDelMemtype {
    /// Handle.
    pub handle: u32,
    /// Register.
    pub reg: u32,
}

const_assert_eq!(size_of::<XenpfDelMemtype>(), 8);

/// Member of `XENPF_read_memtype`. C name: `xenpf_read_memtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfReadMemtype {
    /// In: register.
    pub reg: u32,
    /// Padding.
    pub _pad0: [u8; 4],
    /// Out: first frame.
    pub mfn: u64,
    /// Out: frames.
    pub nr_mfns: u64,
    /// Out: memory type (C: `type`).
    pub type_: u32,
    /// Padding.
    pub _pad1: [u8; 4],
}

const_assert_eq!(size_of::<XenpfReadMemtype>(), 32);

/// Member of `XENPF_microcode_update`. C name: `xenpf_microcode_update`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfMicrocodeUpdate {
    /// Address of the image.
    pub data: u64,
    /// Bytes.
    pub length: u32,
    /// Padding.
    pub _pad0: [u8; 4],
}

const_assert_eq!(size_of::<XenpfMicrocodeUpdate>(), 16);

/// Member of `XENPF_platform_quirk`. C name: `xenpf_platform_quirk`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfPlatformQuirk {
    /// `QUIRK_*`.
    pub quirk_id: u32,
}

const_assert_eq!(size_of::<XenpfPlatformQuirk>(), 4);

/// Member of `XENPF_enter_acpi_sleep`. C name: `xenpf_enter_acpi_sleep`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfEnterAcpiSleep {
    /// PM1a control value, or sleep control.
    pub val_a: u16,
    /// PM1b control value, or sleep status.
    pub val_b: u16,
    /// ACPI sleep state.
    pub sleep_state: u32,
    /// 0 or `XENPF_ACPI_SLEEP_EXTENDED`.
    pub flags: u32,
}

const_assert_eq!(size_of::<XenpfEnterAcpiSleep>(), 12);

/// Member of `XENPF_mem_hotadd`. C name: `xenpf_mem_hotadd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfMemHotadd {
    /// First frame.
    pub spfn: u64,
    /// One past the last.
    pub epfn: u64,
    /// Proximity domain.
    pub pxm: u32,
    /// Zero.
    pub flags: u32,
}

const_assert_eq!(size_of::<XenpfMemHotadd>(), 24);

/// Member of `XENPF_get_symbol`. C name: `xenpf_symdata`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfSymdata {
    /// In: room; out: bytes of the name.
    pub namelen: u32,
    /// In: symbol; out: the next.
    pub symnum: u32,
    /// Address of the buffer.
    pub name: u64,
    /// Out: address.
    pub address: u64,
    /// Out: kind as of `nm` (C: `type`).
    pub type_: u8,
    /// Padding.
    pub _pad0: [u8; 7],
}

const_assert_eq!(size_of::<XenpfSymdata>(), 32);
