//! Members of `Sysctl` (`sysctl.h`).

use crate::xen::XenctlBitmap;
use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Member of `XEN_SYSCTL_readconsole`. C name: `xen_sysctl_readconsole`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlReadconsole {
    /// In: forget what was read.
    pub clear: u8,
    /// In: begin at `index`.
    pub incremental: u8,
    /// Padding.
    pub pad0: u8,
    /// Padding.
    pub pad1: u8,
    /// In: where to begin. Out: where to go on.
    pub index: u32,
    /// In: linear address of the buffer.
    pub buffer: u64,
    /// In: its bytes. Out: bytes written.
    pub count: u32,
    /// Padding.
    pub _pad0: u32,
}

const_assert_eq!(size_of::<SysctlReadconsole>(), 24);

/// Member of `XEN_SYSCTL_physinfo`. C name: `xen_sysctl_physinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlPhysinfo {
    /// Out: threads of a core.
    pub threads_per_core: u32,
    /// Out: cores of a socket.
    pub cores_per_socket: u32,
    /// Out: CPUs online.
    pub nr_cpus: u32,
    /// Out: the largest CPU number.
    pub max_cpu_id: u32,
    /// Out: NUMA nodes online.
    pub nr_nodes: u32,
    /// Out: the largest node number.
    pub max_node_id: u32,
    /// Out: frequency of the TSC, kHz.
    pub cpu_khz: u32,
    /// Out: `XEN_SYSCTL_PHYSCAP_*`.
    pub capabilities: u32,
    /// Out: those of the architecture.
    pub arch_capabilities: u32,
    /// Padding.
    pub pad: u32,
    /// Out: frames of RAM.
    pub total_pages: u64,
    /// Out: those that are free.
    pub free_pages: u64,
    /// Out: free, and still to be cleared.
    pub scrub_pages: u64,
    /// Out: claimed.
    pub outstanding_pages: u64,
    /// Out: the largest frame number.
    pub max_mfn: u64,
    /// Out: words of CPU features.
    pub hw_cap: [u32; 8],
}

const_assert_eq!(size_of::<SysctlPhysinfo>(), 112);

/// Member of `XEN_SYSCTL_sched_id`. C name: `xen_sysctl_sched_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlSchedId {
    /// Out: `XEN_SCHEDULER_*`.
    pub sched_id: u32,
}

const_assert_eq!(size_of::<SysctlSchedId>(), 4);

/// Member of `XEN_SYSCTL_getdomaininfolist`. C name: `xen_sysctl_getdomaininfolist`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlGetdomaininfolist {
    /// In: the first number.
    pub first_domain: u16,
    /// Padding.
    pub _pad0: u16,
    /// In: how many at most.
    pub max_domains: u32,
    /// In: linear address of the records.
    pub buffer: u64,
    /// Out: how many.
    pub num_domains: u32,
    /// Padding.
    pub _pad1: u32,
}

const_assert_eq!(size_of::<SysctlGetdomaininfolist>(), 24);

/// Member of `XEN_SYSCTL_debug_keys`. C name: `xen_sysctl_debug_keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlDebugKeys {
    /// In: linear address of the keys.
    pub keys: u64,
    /// In: how many.
    pub nr_keys: u32,
    /// Padding.
    pub _pad0: u32,
}

const_assert_eq!(size_of::<SysctlDebugKeys>(), 16);

/// A NUMA node's memory. C name: `xen_sysctl_meminfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlMeminfo {
    /// Bytes.
    pub memsize: u64,
    /// Free bytes.
    pub memfree: u64,
}

const_assert_eq!(size_of::<SysctlMeminfo>(), 16);

/// Member of `XEN_SYSCTL_numainfo`. C name: `xen_sysctl_numainfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlNumainfo {
    /// In: elements of the arrays. Out: nodes.
    pub num_nodes: u32,
    /// Padding.
    pub _pad0: u32,
    /// In: linear address of [`SysctlMeminfo`] elements.
    pub meminfo: u64,
    /// In: linear address of the matrix of distances.
    pub distance: u64,
}

const_assert_eq!(size_of::<SysctlNumainfo>(), 24);

/// Where a CPU is. C name: `xen_sysctl_cputopo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlCputopo {
    /// Core.
    pub core: u32,
    /// Socket.
    pub socket: u32,
    /// NUMA node.
    pub node: u32,
}

const_assert_eq!(size_of::<SysctlCputopo>(), 12);

/// Member of `XEN_SYSCTL_cputopoinfo`. C name: `xen_sysctl_cputopoinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlCputopoinfo {
    /// In: elements of the array. Out: CPUs.
    pub num_cpus: u32,
    /// Padding.
    pub _pad0: u32,
    /// In: linear address of [`SysctlCputopo`] elements.
    pub cputopo: u64,
}

const_assert_eq!(size_of::<SysctlCputopoinfo>(), 16);

/// Member of `XEN_SYSCTL_availheap`. C name: `xen_sysctl_availheap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlAvailheap {
    /// In: the least address width; 0: any.
    pub min_bitwidth: u32,
    /// In: the largest; 0: any.
    pub max_bitwidth: u32,
    /// In: NUMA node; -1: all.
    pub node: i32,
    /// Padding.
    pub _pad0: u32,
    /// Out: free bytes.
    pub avail_bytes: u64,
}

const_assert_eq!(size_of::<SysctlAvailheap>(), 24);

/// Member of `XEN_SYSCTL_getcpuinfo`. C name: `xen_sysctl_getcpuinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlGetcpuinfo {
    /// In: CPUs there is room for.
    pub max_cpus: u32,
    /// Padding.
    pub _pad0: u32,
    /// In: for how long each was idle, ns, 64 bits each.
    pub info: u64,
    /// Out: how many were written.
    pub nr_cpus: u32,
    /// Padding.
    pub _pad1: u32,
}

const_assert_eq!(size_of::<SysctlGetcpuinfo>(), 24);

/// Member of `XEN_SYSCTL_cpupool_op`. C name: `xen_sysctl_cpupool_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlCpupoolOp {
    /// In: `XEN_SYSCTL_CPUPOOL_OP_*`.
    pub op: u32,
    /// In and out: the pool.
    pub cpupool_id: u32,
    /// In and out: its scheduler.
    pub sched_id: u32,
    /// In: a domain.
    pub domid: u32,
    /// In: a CPU.
    pub cpu: u32,
    /// Out: domains in it.
    pub n_dom: u32,
    /// Out: its CPUs.
    pub cpumap: XenctlBitmap,
}

const_assert_eq!(size_of::<SysctlCpupoolOp>(), 40);

/// Member of `XEN_SYSCTL_scheduler_op`. C name: `xen_sysctl_scheduler_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlSchedulerOp {
    /// In: the pool.
    pub cpupool_id: u32,
    /// In: `XEN_SCHEDULER_*`.
    pub sched_id: u32,
    /// In: `XEN_SYSCTL_SCHEDOP_*`.
    pub cmd: u32,
    /// Padding.
    pub _pad0: u32,
    /// The scheduler's parameters.
    pub u: [u64; 2],
}

const_assert_eq!(size_of::<SysctlSchedulerOp>(), 32);

/// Parameters of credit2, a member of [`SysctlSchedulerOp`]. C name: `xen_sysctl_credit2_schedule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlCredit2Schedule {
    /// The shortest turn, µs; 0: any.
    pub ratelimit_us: u32,
}

const_assert_eq!(size_of::<SysctlCredit2Schedule>(), 4);

/// Member of `XEN_SYSCTL_pcitopoinfo`. C name: `xen_sysctl_pcitopoinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlPcitopoinfo {
    /// In: elements of the arrays. Out: elements dealt with.
    pub num_devs: u32,
    /// Padding.
    pub _pad0: u32,
    /// In: linear address of [`PhysdevPciDevice`](crate::physdev::PhysdevPciDevice) elements.
    pub devs: u64,
    /// In: linear address of the numbers of their NUMA nodes.
    pub nodes: u64,
}

const_assert_eq!(size_of::<SysctlPcitopoinfo>(), 24);
