//! CPU members of `PlatformOp` (`platform.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Member of `XENPF_get_cpuinfo`. C name: `xenpf_pcpuinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfPcpuinfo {
    /// In: CPU number.
    pub xen_cpuid: u32,
    /// Out: largest CPU number present.
    pub max_present: u32,
    /// Out: `XEN_PCPU_FLAGS_*`.
    pub flags: u32,
    /// Out: APIC id.
    pub apic_id: u32,
    /// Out: ACPI id.
    pub acpi_id: u32,
}

const_assert_eq!(size_of::<XenpfPcpuinfo>(), 20);

/// Member of `XENPF_get_cpu_version`. C name: `xenpf_pcpu_version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfPcpuVersion {
    /// In: CPU number.
    pub xen_cpuid: u32,
    /// Out: largest CPU number present.
    pub max_present: u32,
    /// Out: vendor.
    pub vendor_id: [u8; 12],
    /// Out: family.
    pub family: u32,
    /// Out: model.
    pub model: u32,
    /// Out: stepping.
    pub stepping: u32,
}

const_assert_eq!(size_of::<XenpfPcpuVersion>(), 32);

/// Member of `XENPF_cpu_online` and `XENPF_cpu_offline`. C name: `xenpf_cpu_ol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfCpuOl {
    /// CPU number.
    pub cpuid: u32,
}

const_assert_eq!(size_of::<XenpfCpuOl>(), 4);

/// Member of `XENPF_cpu_hotadd`. C name: `xenpf_cpu_hotadd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfCpuHotadd {
    /// APIC id.
    pub apic_id: u32,
    /// ACPI id.
    pub acpi_id: u32,
    /// Proximity domain.
    pub pxm: u32,
}

const_assert_eq!(size_of::<XenpfCpuHotadd>(), 12);

/// Member of `XENPF_core_parking`. C name: `xenpf_core_parking`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfCoreParking {
    /// Set or get (C: `type`).
    pub type_: u32,
    /// CPUs to park, or parked.
    pub idle_nums: u32,
}

const_assert_eq!(size_of::<XenpfCoreParking>(), 8);

/// Member of `XENPF_change_freq`. C name: `xenpf_change_freq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfChangeFreq {
    /// Must be zero.
    pub flags: u32,
    /// CPU number.
    pub cpu: u32,
    /// New frequency in Hz.
    pub freq: u64,
}

const_assert_eq!(size_of::<XenpfChangeFreq>(), 16);

/// Member of `XENPF_getidletime`. C name: `xenpf_getidletime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfGetidletime {
    /// Address of the CPU bitmap.
    pub cpumap_bitmap: u64,
    /// CPUs in it.
    pub cpumap_nr_cpus: u32,
    /// Padding.
    pub _pad0: [u8; 4],
    /// Address of the times in ns (u64 each).
    pub idletime: u64,
    /// Out: system time.
    pub now: u64,
}

const_assert_eq!(size_of::<XenpfGetidletime>(), 32);

/// One access of [`XenpfResourceOp`]. C name: `xenpf_resource_entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfResourceEntry {
    /// In: command; out: result (C: union `u`).
    pub u: u32,
    /// Must be zero.
    pub rsvd: u32,
    /// MSR number.
    pub idx: u64,
    /// Value.
    pub val: u64,
}

const_assert_eq!(size_of::<XenpfResourceEntry>(), 24);

/// Member of `XENPF_resource_op`. C name: `xenpf_resource_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenpfResourceOp {
    /// Accesses.
    pub nr_entries: u32,
    /// CPU number.
    pub cpu: u32,
    /// Address of the [`XenpfResourceEntry`] list.
    pub entries: u64,
}

const_assert_eq!(size_of::<XenpfResourceOp>(), 16);
