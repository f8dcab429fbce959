//! Members of `Domctl` by which a domain is made and changed (`domctl.h`).

use crate::constants::constants;
use crate::domctl::ArchDomainconfig;
use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

constants! {
    /// Bits of [`DomctlCreatedomain::flags`].
    XEN_DOMCTL_CDFS: u32;
    /// With hardware virtualisation.
    XEN_DOMCTL_CDF_HVM = 1 << 0, "XEN_DOMCTL_CDF_hvm";
    /// With paging by the hardware.
    XEN_DOMCTL_CDF_HAP = 1 << 1, "XEN_DOMCTL_CDF_hap";
    /// Its memory's integrity is verified in sleep.
    XEN_DOMCTL_CDF_S3_INTEGRITY = 1 << 2, "XEN_DOMCTL_CDF_s3_integrity";
    /// Shadow page tables stay in step.
    XEN_DOMCTL_CDF_OOS_OFF = 1 << 3, "XEN_DOMCTL_CDF_oos_off";
    /// It serves XenStore.
    XEN_DOMCTL_CDF_XS_DOMAIN = 1 << 4, "XEN_DOMCTL_CDF_xs_domain";
    /// It may use the IOMMU.
    XEN_DOMCTL_CDF_IOMMU = 1 << 5, "XEN_DOMCTL_CDF_iommu";
    /// It may be a hypervisor.
    XEN_DOMCTL_CDF_NESTED_VIRT = 1 << 6, "XEN_DOMCTL_CDF_nested_virt";
    /// It has performance counters.
    XEN_DOMCTL_CDF_VPMU = 1 << 7, "XEN_DOMCTL_CDF_vpmu";
    /// The last of them.
    XEN_DOMCTL_CDF_MAX = 1 << 7, "XEN_DOMCTL_CDF_MAX";
    /// In [`DomctlCreatedomain::grant_opts`]: the largest version of its grant table.
    XEN_DOMCTL_GRANT_VERSION_MASK = 0xf, "XEN_DOMCTL_GRANT_version_mask";
}

/// Member of `XEN_DOMCTL_createdomain`. C name: `xen_domctl_createdomain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlCreatedomain {
    /// Its label.
    pub ssidref: u32,
    /// Its handle.
    pub handle: [u8; 16],
    /// `XEN_DOMCTL_CDF_*`.
    pub flags: u32,
    /// `XEN_DOMCTL_IOMMU_*`.
    pub iommu_opts: u32,
    /// vCPUs it may have.
    pub max_vcpus: u32,
    /// Its highest event channel port.
    pub max_evtchn_port: u32,
    /// Frames of its grant table at most; negative: the default.
    pub max_grant_frames: i32,
    /// Frames for its mappings of others' grants at most; negative: the default.
    pub max_maptrack_frames: i32,
    /// `XEN_DOMCTL_GRANT_*`.
    pub grant_opts: u32,
    /// Bytes of each vCPU's trace buffer.
    pub vmtrace_size: u32,
    /// Its CPU pool.
    pub cpupool_id: u32,
    /// Of this architecture.
    pub arch: ArchDomainconfig,
}

const_assert_eq!(size_of::<DomctlCreatedomain>(), 64);

/// Member of `XEN_DOMCTL_max_mem`. C name: `xen_domctl_max_mem`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlMaxMem {
    /// The most memory that it may have, KiB.
    pub max_memkb: u64,
}

/// Member of `XEN_DOMCTL_max_vcpus`. C name: `xen_domctl_max_vcpus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlMaxVcpus {
    /// How many vCPUs it gets.
    pub max: u32,
}

/// Member of `XEN_DOMCTL_setvcpucontext` and `getvcpucontext`. C name: `xen_domctl_vcpucontext`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlVcpucontext {
    /// The vCPU's number.
    pub vcpu: u32,
    /// Padding.
    pub _pad: u32,
    /// Guest address of a `vcpu_guest_context`.
    pub ctxt: u64,
}

/// Member of `XEN_DOMCTL_setdomainhandle`. C name: `xen_domctl_setdomainhandle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlSetdomainhandle {
    /// The handle.
    pub handle: [u8; 16],
}

/// Member of `XEN_DOMCTL_hypercall_init`. C name: `xen_domctl_hypercall_init`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlHypercallInit {
    /// The frame that gets the stubs.
    pub gmfn: u64,
}

/// Member of `XEN_DOMCTL_set_address_size` and `get_address_size`. C name: `xen_domctl_address_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlAddressSize {
    /// Bits of an address: 32 or 64.
    pub size: u32,
}

/// Member of `XEN_DOMCTL_subscribe`. C name: `xen_domctl_subscribe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlSubscribe {
    /// The domain's port.
    pub port: u32,
}

const_assert_eq!(size_of::<DomctlSubscribe>(), 4);

/// Member of `XEN_DOMCTL_settscinfo` and `gettscinfo`. C name: `xen_domctl_tsc_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlTscInfo {
    /// How it sees the TSC.
    pub tsc_mode: u32,
    /// The frequency that it sees, kHz.
    pub gtsc_khz: u32,
    /// How often it has been moved.
    pub incarnation: u32,
    /// Padding.
    pub pad: u32,
    /// Its age, ns.
    pub elapsed_nsec: u64,
}

const_assert_eq!(size_of::<DomctlTscInfo>(), 24);
