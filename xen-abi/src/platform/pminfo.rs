//! Member of `XENPF_set_processor_pminfo` (`platform.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Bits telling what the hardware domain handles, in [`SIF_PM_MASK`](crate::xen::SIF_PM_MASK) of the
    /// start info.
    XEN_PROCESSOR_PMS: u32;
    /// Idle states.
    XEN_PROCESSOR_PM_CX = 1, "XEN_PROCESSOR_PM_CX";
    /// Performance states.
    XEN_PROCESSOR_PM_PX = 2, "XEN_PROCESSOR_PM_PX";
    /// Throttling states.
    XEN_PROCESSOR_PM_TX = 4, "XEN_PROCESSOR_PM_TX";
}

constants! {
    /// Values of [`XenpfSetProcessorPminfo::type_`].
    XEN_PM_TYPES: u32;
    /// Idle states: [`ProcessorPower`].
    XEN_PM_CX = 0, "XEN_PM_CX";
    /// Performance states: [`ProcessorPerformance`].
    XEN_PM_PX = 1, "XEN_PM_PX";
    /// Throttling states.
    XEN_PM_TX = 2, "XEN_PM_TX";
    /// `_PDC` bits: address of a u32 list.
    XEN_PM_PDC = 3, "XEN_PM_PDC";
}

constants! {
    /// Bits of [`ProcessorPerformance::flags`]: the parts that are valid.
    XEN_PX_FLAGS: u32;
    /// Control and status registers.
    XEN_PX_PCT = 1, "XEN_PX_PCT";
    /// States.
    XEN_PX_PSS = 2, "XEN_PX_PSS";
    /// Platform limit.
    XEN_PX_PPC = 4, "XEN_PX_PPC";
    /// Dependencies.
    XEN_PX_PSD = 8, "XEN_PX_PSD";
}

constants! {
    /// Values of [`ProcessorPerformance::shared_type`].
    XEN_CPUPERF_SHARED_TYPES: u32;
    /// The hardware coordinates.
    XEN_CPUPERF_SHARED_TYPE_HW = 1, "XEN_CPUPERF_SHARED_TYPE_HW";
    /// All processors must be set.
    XEN_CPUPERF_SHARED_TYPE_ALL = 2, "XEN_CPUPERF_SHARED_TYPE_ALL";
    /// Any processor may be set.
    XEN_CPUPERF_SHARED_TYPE_ANY = 3, "XEN_CPUPERF_SHARED_TYPE_ANY";
}

/// ACPI generic address. C name: `xen_power_register`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PowerRegister {
    /// Address space.
    pub space_id: u32,
    /// Width.
    pub bit_width: u32,
    /// Offset.
    pub bit_offset: u32,
    /// Access size.
    pub access_size: u32,
    /// Address.
    pub address: u64,
}

const_assert_eq!(size_of::<PowerRegister>(), 24);

/// `_CSD` package. C name: `xen_processor_csd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessorCsd {
    /// Domain.
    pub domain: u32,
    /// Coordination.
    pub coord_type: u32,
    /// Processors.
    pub num: u32,
}

const_assert_eq!(size_of::<ProcessorCsd>(), 12);

/// One idle state. C name: `xen_processor_cx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessorCx {
    /// Register to enter it.
    pub reg: PowerRegister,
    /// C-state number (C: `type`).
    pub type_: u8,
    /// Padding.
    pub _pad0: [u8; 3],
    /// Latency in us.
    pub latency: u32,
    /// Power in mW.
    pub power: u32,
    /// Dependencies.
    pub dpcnt: u32,
    /// Address of the [`ProcessorCsd`] list.
    pub dp: u64,
}

const_assert_eq!(size_of::<ProcessorCx>(), 48);

/// Idle states of a processor. C name: `xen_processor_power`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessorPower {
    /// States.
    pub count: u32,
    /// Bits 0 to 4: bus master control, check, `_CST` present, set up, reload (C: bit fields).
    pub flags: u32,
    /// Address of the [`ProcessorCx`] list.
    pub states: u64,
}

const_assert_eq!(size_of::<ProcessorPower>(), 16);

/// `_PCT` register. C name: `xen_pct_register`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PctRegister {
    /// Descriptor.
    pub descriptor: u8,
    /// Padding.
    pub _pad0: [u8; 1],
    /// Length.
    pub length: u16,
    /// Address space.
    pub space_id: u8,
    /// Width.
    pub bit_width: u8,
    /// Offset.
    pub bit_offset: u8,
    /// Reserved.
    pub reserved: u8,
    /// Address.
    pub address: u64,
}

const_assert_eq!(size_of::<PctRegister>(), 16);

/// One performance state. C name: `xen_processor_px`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessorPx {
    /// MHz.
    pub core_frequency: u64,
    /// mW.
    pub power: u64,
    /// us.
    pub transition_latency: u64,
    /// us.
    pub bus_master_latency: u64,
    /// Value to write.
    pub control: u64,
    /// Value to compare.
    pub status: u64,
}

const_assert_eq!(size_of::<ProcessorPx>(), 48);

/// `_PSD` package. C name: `xen_psd_package`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PsdPackage {
    /// Entries.
    pub num_entries: u64,
    /// Revision.
    pub revision: u64,
    /// Domain.
    pub domain: u64,
    /// Coordination.
    pub coord_type: u64,
    /// Processors.
    pub num_processors: u64,
}

const_assert_eq!(size_of::<PsdPackage>(), 40);

/// Performance states of a processor. C name: `xen_processor_performance`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessorPerformance {
    /// Bits of [`XEN_PX_FLAGS`].
    pub flags: u32,
    /// `_PPC`.
    pub platform_limit: u32,
    /// Control.
    pub control_register: PctRegister,
    /// Status.
    pub status_register: PctRegister,
    /// States.
    pub state_count: u32,
    /// Padding.
    pub _pad0: [u8; 4],
    /// Address of the [`ProcessorPx`] list.
    pub states: u64,
    /// Dependencies.
    pub domain_info: PsdPackage,
    /// One of [`XEN_CPUPERF_SHARED_TYPES`].
    pub shared_type: u32,
    /// Padding.
    pub _pad1: [u8; 4],
}

const_assert_eq!(size_of::<ProcessorPerformance>(), 104);

/// Member of `XENPF_set_processor_pminfo`. C name: `xenpf_set_processor_pminfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfSetProcessorPminfo {
    /// ACPI id of the processor.
    pub id: u32,
    /// One of [`XEN_PM_TYPES`] (C: `type`).
    pub type_: u32,
    /// [`ProcessorPower`], [`ProcessorPerformance`] or an address, by type.
    pub u: [u64; 13],
}

const_assert_eq!(size_of::<XenpfSetProcessorPminfo>(), 112);
