//! Members of `Sysctl` about processors (`sysctl.h`).

use crate::constants::constants;
use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

constants! {
    /// What [`SysctlCpuFeatureset::index`] and [`SysctlCpuPolicy::index`] name, and bits of levelling.
    XEN_SYSCTL_PROCESSORS: u32;
    /// Bit of [`SysctlCpuLevellingCaps::caps`]: CPUID faulting.
    XEN_SYSCTL_CPU_LEVELCAP_FAULTING = 1, "XEN_SYSCTL_CPU_LEVELCAP_faulting";
    /// Feature set: the processor's.
    XEN_SYSCTL_CPU_FEATURESET_RAW = 0, "XEN_SYSCTL_cpu_featureset_raw";
    /// Feature set: what the hypervisor uses.
    XEN_SYSCTL_CPU_FEATURESET_HOST = 1, "XEN_SYSCTL_cpu_featureset_host";
    /// Feature set: what PV guests get unless told otherwise.
    XEN_SYSCTL_CPU_FEATURESET_PV = 2, "XEN_SYSCTL_cpu_featureset_pv";
    /// Feature set: what HVM guests get.
    XEN_SYSCTL_CPU_FEATURESET_HVM = 3, "XEN_SYSCTL_cpu_featureset_hvm";
    /// Feature set: what PV guests can get.
    XEN_SYSCTL_CPU_FEATURESET_PV_MAX = 4, "XEN_SYSCTL_cpu_featureset_pv_max";
    /// Feature set: what HVM guests can get.
    XEN_SYSCTL_CPU_FEATURESET_HVM_MAX = 5, "XEN_SYSCTL_cpu_featureset_hvm_max";
    /// Policy: the processor's.
    XEN_SYSCTL_CPU_POLICY_RAW = 0, "XEN_SYSCTL_cpu_policy_raw";
    /// Policy: what the hypervisor uses.
    XEN_SYSCTL_CPU_POLICY_HOST = 1, "XEN_SYSCTL_cpu_policy_host";
    /// Policy: the most that PV guests can get.
    XEN_SYSCTL_CPU_POLICY_PV_MAX = 2, "XEN_SYSCTL_cpu_policy_pv_max";
    /// Policy: the most that HVM guests can get.
    XEN_SYSCTL_CPU_POLICY_HVM_MAX = 3, "XEN_SYSCTL_cpu_policy_hvm_max";
    /// Policy: what PV guests get unless told otherwise.
    XEN_SYSCTL_CPU_POLICY_PV_DEFAULT = 4, "XEN_SYSCTL_cpu_policy_pv_default";
    /// Policy: what HVM guests get.
    XEN_SYSCTL_CPU_POLICY_HVM_DEFAULT = 5, "XEN_SYSCTL_cpu_policy_hvm_default";
}

/// Member of `XEN_SYSCTL_get_cpu_levelling_caps`. C name: `xen_sysctl_cpu_levelling_caps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlCpuLevellingCaps {
    /// Out: `XEN_SYSCTL_CPU_LEVELCAP_*`.
    pub caps: u32,
}

const_assert_eq!(size_of::<SysctlCpuLevellingCaps>(), 4);

/// Member of `XEN_SYSCTL_get_cpu_featureset`. C name: `xen_sysctl_cpu_featureset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlCpuFeatureset {
    /// In: `XEN_SYSCTL_cpu_featureset_*`.
    pub index: u32,
    /// In: words there is room for. Out: words written, or that there are.
    pub nr_features: u32,
    /// In: linear address of the words; 0: none wanted.
    pub features: u64,
}

const_assert_eq!(size_of::<SysctlCpuFeatureset>(), 16);

/// Member of `XEN_SYSCTL_get_cpu_policy`. C name: `xen_sysctl_cpu_policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlCpuPolicy {
    /// In: `XEN_SYSCTL_cpu_policy_*`.
    pub index: u32,
    /// In: leaves there is room for. Out: leaves written, or the most there are.
    pub nr_leaves: u32,
    /// The same of registers.
    pub nr_msrs: u32,
    /// Reserved, zero.
    pub _rsvd: u32,
    /// In: linear address of [`CpuidLeaf`](crate::arch::CpuidLeaf) records; 0: none wanted.
    pub leaves: u64,
    /// In: linear address of [`MsrEntry`](crate::arch::MsrEntry) records; 0: none wanted.
    pub msrs: u64,
}

const_assert_eq!(size_of::<SysctlCpuPolicy>(), 32);
