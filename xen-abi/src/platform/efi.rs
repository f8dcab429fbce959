//! Member of `XENPF_efi_runtime_call` (`platform.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Values of [`XenpfEfiRuntimeCall::function`].
    XEN_EFI_FUNCTIONS: u32;
    /// Reads the clock: [`EfiGetTime`].
    XEN_EFI_GET_TIME = 1, "XEN_EFI_get_time";
    /// Sets it: [`XenpfEfiTime`].
    XEN_EFI_SET_TIME = 2, "XEN_EFI_set_time";
    /// Reads the alarm: [`XenpfEfiTime`].
    XEN_EFI_GET_WAKEUP_TIME = 3, "XEN_EFI_get_wakeup_time";
    /// Sets it: [`XenpfEfiTime`].
    XEN_EFI_SET_WAKEUP_TIME = 4, "XEN_EFI_set_wakeup_time";
    /// Next counter value, in `misc`.
    XEN_EFI_GET_NEXT_HIGH_MONOTONIC_COUNT = 5, "XEN_EFI_get_next_high_monotonic_count";
    /// Reads a variable: [`EfiVariable`].
    XEN_EFI_GET_VARIABLE = 6, "XEN_EFI_get_variable";
    /// Writes one: [`EfiVariable`].
    XEN_EFI_SET_VARIABLE = 7, "XEN_EFI_set_variable";
    /// Next variable: [`EfiNextVariableName`].
    XEN_EFI_GET_NEXT_VARIABLE_NAME = 8, "XEN_EFI_get_next_variable_name";
    /// Space for variables: [`EfiVariableInfo`].
    XEN_EFI_QUERY_VARIABLE_INFO = 9, "XEN_EFI_query_variable_info";
    /// Are capsules possible: [`EfiCapsuleCapabilities`].
    XEN_EFI_QUERY_CAPSULE_CAPABILITIES = 10, "XEN_EFI_query_capsule_capabilities";
    /// Passes capsules: [`EfiUpdateCapsule`].
    XEN_EFI_UPDATE_CAPSULE = 11, "XEN_EFI_update_capsule";
}

constants! {
    /// Bits of [`XenpfEfiRuntimeCall::misc`], by function.
    XEN_EFI_FLAGS: u32;
    /// Setting the clock clears the nanoseconds.
    XEN_EFI_GET_TIME_SET_CLEARS_NS = 1, "XEN_EFI_GET_TIME_SET_CLEARS_NS";
    /// The alarm is on.
    XEN_EFI_GET_WAKEUP_TIME_ENABLED = 1, "XEN_EFI_GET_WAKEUP_TIME_ENABLED";
    /// The alarm is pending.
    XEN_EFI_GET_WAKEUP_TIME_PENDING = 2, "XEN_EFI_GET_WAKEUP_TIME_PENDING";
    /// Switch the alarm on.
    XEN_EFI_SET_WAKEUP_TIME_ENABLE = 1, "XEN_EFI_SET_WAKEUP_TIME_ENABLE";
    /// Leave its time alone.
    XEN_EFI_SET_WAKEUP_TIME_ENABLE_ONLY = 2, "XEN_EFI_SET_WAKEUP_TIME_ENABLE_ONLY";
    /// Variable: non-volatile.
    XEN_EFI_VARIABLE_NON_VOLATILE = 1, "XEN_EFI_VARIABLE_NON_VOLATILE";
    /// Variable: for boot services.
    XEN_EFI_VARIABLE_BOOTSERVICE_ACCESS = 2, "XEN_EFI_VARIABLE_BOOTSERVICE_ACCESS";
    /// Variable: for runtime services.
    XEN_EFI_VARIABLE_RUNTIME_ACCESS = 4, "XEN_EFI_VARIABLE_RUNTIME_ACCESS";
    /// Space as it was at boot.
    XEN_EFI_VARINFO_BOOT_SNAPSHOT = 1, "XEN_EFI_VARINFO_BOOT_SNAPSHOT";
}

/// EFI time. C name: `xenpf_efi_time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfEfiTime {
    /// Year.
    pub year: u16,
    /// Month, from 1.
    pub month: u8,
    /// Day, from 1.
    pub day: u8,
    /// Hour.
    pub hour: u8,
    /// Minute.
    pub min: u8,
    /// Second.
    pub sec: u8,
    /// Padding.
    pub _pad0: [u8; 1],
    /// Nanosecond.
    pub ns: u32,
    /// Minutes from UTC, or 7ffh.
    pub tz: i16,
    /// Daylight saving bits.
    pub daylight: u8,
    /// Padding.
    pub _pad1: [u8; 1],
}

const_assert_eq!(size_of::<XenpfEfiTime>(), 16);

/// EFI GUID. C name: `xenpf_efi_guid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfEfiGuid {
    /// First part.
    pub data1: u32,
    /// Second part.
    pub data2: u16,
    /// Third part.
    pub data3: u16,
    /// The rest.
    pub data4: [u8; 8],
}

const_assert_eq!(size_of::<XenpfEfiGuid>(), 16);

/// Member of `XEN_EFI_get_time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EfiGetTime {
    /// Out: time.
    pub time: XenpfEfiTime,
    /// Out: resolution in Hz.
    pub resolution: u32,
    /// Out: accuracy in 10^-12.
    pub accuracy: u32,
}

const_assert_eq!(size_of::<EfiGetTime>(), 24);

/// Member of `XEN_EFI_get_variable` and `XEN_EFI_set_variable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EfiVariable {
    /// Address of the UCS-2 name.
    pub name: u64,
    /// Bytes of the data.
    pub size: u64,
    /// Address of the data.
    pub data: u64,
    /// Vendor.
    pub vendor_guid: XenpfEfiGuid,
}

const_assert_eq!(size_of::<EfiVariable>(), 40);

/// Member of `XEN_EFI_get_next_variable_name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EfiNextVariableName {
    /// Bytes of the buffer; out: of the name.
    pub size: u64,
    /// Address of the UCS-2 name, read and written.
    pub name: u64,
    /// Vendor, read and written.
    pub vendor_guid: XenpfEfiGuid,
}

const_assert_eq!(size_of::<EfiNextVariableName>(), 32);

/// Member of `XEN_EFI_query_variable_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EfiVariableInfo {
    /// In: attributes.
    pub attr: u32,
    /// Padding.
    pub _pad0: [u8; 4],
    /// Out: bytes in all.
    pub max_store_size: u64,
    /// Out: bytes left.
    pub remain_store_size: u64,
    /// Out: largest variable.
    pub max_size: u64,
}

const_assert_eq!(size_of::<EfiVariableInfo>(), 32);

/// Member of `XEN_EFI_query_capsule_capabilities`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EfiCapsuleCapabilities {
    /// Address of the header pointers.
    pub capsule_header_array: u64,
    /// Capsules.
    pub capsule_count: u64,
    /// Out: largest capsule.
    pub max_capsule_size: u64,
    /// Out: reset needed.
    pub reset_type: u32,
    /// Padding.
    pub _pad0: [u8; 4],
}

const_assert_eq!(size_of::<EfiCapsuleCapabilities>(), 32);

/// Member of `XEN_EFI_update_capsule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EfiUpdateCapsule {
    /// Address of the header pointers.
    pub capsule_header_array: u64,
    /// Capsules.
    pub capsule_count: u64,
    /// Machine address of the scatter list.
    pub sg_list: u64,
}

const_assert_eq!(size_of::<EfiUpdateCapsule>(), 24);

/// Member of `XENPF_efi_runtime_call`. C name: `xenpf_efi_runtime_call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfEfiRuntimeCall {
    /// One of [`XEN_EFI_FUNCTIONS`].
    pub function: u32,
    /// Flags, by function: see [`XEN_EFI_FLAGS`].
    pub misc: u32,
    /// Out: EFI status.
    pub status: u64,
    /// Member by function, from its start (C: union `u`).
    pub u: [u64; 5],
}

const_assert_eq!(size_of::<XenpfEfiRuntimeCall>(), 56);
