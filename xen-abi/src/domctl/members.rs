//! Members of `Domctl` (`domctl.h`).

use crate::xen::XenctlBitmap;
use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How a domain was built. C name: `xen_arch_domainconfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArchDomainconfig {
    /// `XEN_X86_EMU_*`.
    pub emulation_flags: u32,
    /// `XEN_X86_*`.
    pub misc_flags: u32,
}

const_assert_eq!(size_of::<ArchDomainconfig>(), 8);

/// Member of `XEN_DOMCTL_getdomaininfo`. C name: `xen_domctl_getdomaininfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlGetdomaininfo {
    /// The domain's number.
    pub domain: u16,
    /// Padding.
    pub pad1: u16,
    /// `XEN_DOMINF_*`.
    pub flags: u32,
    /// Frames it has.
    pub tot_pages: u64,
    /// The most it may have.
    pub max_pages: u64,
    /// Frames it claimed.
    pub outstanding_pages: u64,
    /// Shared ones.
    pub shr_pages: u64,
    /// Paged-out ones.
    pub paged_pages: u64,
    /// Frame of its shared_info page.
    pub shared_info_frame: u64,
    /// Time its vCPUs ran, ns.
    pub cpu_time: u64,
    /// vCPUs that are up.
    pub nr_online_vcpus: u32,
    /// Its largest vCPU number.
    pub max_vcpu_id: u32,
    /// Its label.
    pub ssidref: u32,
    /// Its handle.
    pub handle: [u8; 16],
    /// Its pool.
    pub cpupool: u32,
    /// Width of its guest addresses.
    pub gpaddr_bits: u8,
    /// Padding.
    pub pad2: [u8; 7],
    /// How it was built.
    pub arch_config: ArchDomainconfig,
}

const_assert_eq!(size_of::<DomctlGetdomaininfo>(), 112);

/// Member of `XEN_DOMCTL_getvcpuinfo`. C name: `xen_domctl_getvcpuinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlGetvcpuinfo {
    /// In: its number.
    pub vcpu: u32,
    /// Out: up.
    pub online: u8,
    /// Out: waits for an event.
    pub blocked: u8,
    /// Out: has a CPU.
    pub running: u8,
    /// Padding.
    pub _pad0: u8,
    /// Out: time it ran, ns.
    pub cpu_time: u64,
    /// Out: its CPU.
    pub cpu: u32,
    /// Padding.
    pub _pad1: u32,
}

const_assert_eq!(size_of::<DomctlGetvcpuinfo>(), 24);

/// Member of `XEN_DOMCTL_getvcpuaffinity` and `XEN_DOMCTL_setvcpuaffinity`. C name: `xen_domctl_vcpuaffinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlVcpuaffinity {
    /// In: its number.
    pub vcpu: u32,
    /// In: `XEN_VCPUAFFINITY_*`.
    pub flags: u32,
    /// CPUs that it may run on.
    pub cpumap_hard: XenctlBitmap,
    /// CPUs that it had better run on.
    pub cpumap_soft: XenctlBitmap,
}

const_assert_eq!(size_of::<DomctlVcpuaffinity>(), 40);

/// Member of `XEN_DOMCTL_sendtrigger`. C name: `xen_domctl_sendtrigger`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlSendtrigger {
    /// In: `XEN_DOMCTL_SENDTRIGGER_*`.
    pub trigger: u32,
    /// In: vCPU.
    pub vcpu: u32,
}

const_assert_eq!(size_of::<DomctlSendtrigger>(), 8);

/// Member of `XEN_DOMCTL_scheduler_op`. C name: `xen_domctl_scheduler_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlSchedulerOp {
    /// In: `XEN_SCHEDULER_*`.
    pub sched_id: u32,
    /// In: `XEN_DOMCTL_SCHEDOP_*`.
    pub cmd: u32,
    /// The scheduler's parameters.
    pub u: [u64; 2],
}

const_assert_eq!(size_of::<DomctlSchedulerOp>(), 24);

/// Parameters of credit2, a member of [`DomctlSchedulerOp`]. C name: `xen_domctl_sched_credit2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlSchedCredit2 {
    /// Its share.
    pub weight: u16,
    /// The most that it gets, %; 0: all.
    pub cap: u16,
}

const_assert_eq!(size_of::<DomctlSchedCredit2>(), 4);

/// Member of `XEN_DOMCTL_getnodeaffinity` and `XEN_DOMCTL_setnodeaffinity`. C name: `xen_domctl_nodeaffinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlNodeaffinity {
    /// NUMA nodes.
    pub nodemap: XenctlBitmap,
}

const_assert_eq!(size_of::<DomctlNodeaffinity>(), 16);
