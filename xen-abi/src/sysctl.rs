//! Control of the machine (`sysctl.h`), interface version 0x15 (Xen 4.17).

mod members;
mod processor;
mod tools;

pub use members::*;
pub use processor::*;
pub use tools::*;

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Values of [`Sysctl::cmd`].
    XEN_SYSCTLS: u32;
    /// Command: readconsole.
    XEN_SYSCTL_READCONSOLE = 1, "XEN_SYSCTL_readconsole";
    /// Command: tbuf op.
    XEN_SYSCTL_TBUF_OP = 2, "XEN_SYSCTL_tbuf_op";
    /// Command: physinfo.
    XEN_SYSCTL_PHYSINFO = 3, "XEN_SYSCTL_physinfo";
    /// Command: sched id.
    XEN_SYSCTL_SCHED_ID = 4, "XEN_SYSCTL_sched_id";
    /// Command: perfc op.
    XEN_SYSCTL_PERFC_OP = 5, "XEN_SYSCTL_perfc_op";
    /// Command: getdomaininfolist.
    XEN_SYSCTL_GETDOMAININFOLIST = 6, "XEN_SYSCTL_getdomaininfolist";
    /// Command: debug keys.
    XEN_SYSCTL_DEBUG_KEYS = 7, "XEN_SYSCTL_debug_keys";
    /// Command: getcpuinfo.
    XEN_SYSCTL_GETCPUINFO = 8, "XEN_SYSCTL_getcpuinfo";
    /// Command: availheap.
    XEN_SYSCTL_AVAILHEAP = 9, "XEN_SYSCTL_availheap";
    /// Command: get pmstat.
    XEN_SYSCTL_GET_PMSTAT = 10, "XEN_SYSCTL_get_pmstat";
    /// Command: cpu hotplug.
    XEN_SYSCTL_CPU_HOTPLUG = 11, "XEN_SYSCTL_cpu_hotplug";
    /// Command: pm op.
    XEN_SYSCTL_PM_OP = 12, "XEN_SYSCTL_pm_op";
    /// Command: page offline op.
    XEN_SYSCTL_PAGE_OFFLINE_OP = 14, "XEN_SYSCTL_page_offline_op";
    /// Command: lockprof op.
    XEN_SYSCTL_LOCKPROF_OP = 15, "XEN_SYSCTL_lockprof_op";
    /// Command: cputopoinfo.
    XEN_SYSCTL_CPUTOPOINFO = 16, "XEN_SYSCTL_cputopoinfo";
    /// Command: numainfo.
    XEN_SYSCTL_NUMAINFO = 17, "XEN_SYSCTL_numainfo";
    /// Command: cpupool op.
    XEN_SYSCTL_CPUPOOL_OP = 18, "XEN_SYSCTL_cpupool_op";
    /// Command: scheduler op.
    XEN_SYSCTL_SCHEDULER_OP = 19, "XEN_SYSCTL_scheduler_op";
    /// Command: coverage op.
    XEN_SYSCTL_COVERAGE_OP = 20, "XEN_SYSCTL_coverage_op";
    /// Command: psr cmt op.
    XEN_SYSCTL_PSR_CMT_OP = 21, "XEN_SYSCTL_psr_cmt_op";
    /// Command: pcitopoinfo.
    XEN_SYSCTL_PCITOPOINFO = 22, "XEN_SYSCTL_pcitopoinfo";
    /// Command: psr alloc.
    XEN_SYSCTL_PSR_ALLOC = 23, "XEN_SYSCTL_psr_alloc";
    /// Command: get cpu levelling caps.
    XEN_SYSCTL_GET_CPU_LEVELLING_CAPS = 25, "XEN_SYSCTL_get_cpu_levelling_caps";
    /// Command: get cpu featureset.
    XEN_SYSCTL_GET_CPU_FEATURESET = 26, "XEN_SYSCTL_get_cpu_featureset";
    /// Command: livepatch op.
    XEN_SYSCTL_LIVEPATCH_OP = 27, "XEN_SYSCTL_livepatch_op";
    /// Command: get cpu policy.
    XEN_SYSCTL_GET_CPU_POLICY = 29, "XEN_SYSCTL_get_cpu_policy";
}

constants! {
    /// Version and flags.
    XEN_SYSCTL_VALUES: u32;
    /// Value of [`Sysctl::interface_version`].
    XEN_SYSCTL_INTERFACE_VERSION = 0x15, "XEN_SYSCTL_INTERFACE_VERSION";
    /// [`SysctlPhysinfo::capabilities`]: HVM domains.
    XEN_SYSCTL_PHYSCAP_HVM = 1 << 0, "XEN_SYSCTL_PHYSCAP_hvm";
    /// PV domains.
    XEN_SYSCTL_PHYSCAP_PV = 1 << 1, "XEN_SYSCTL_PHYSCAP_pv";
    /// Grant tables of version 1.
    XEN_SYSCTL_PHYSCAP_GNTTAB_V1 = 1 << 8, "XEN_SYSCTL_PHYSCAP_gnttab_v1";
    /// Grant tables of version 2.
    XEN_SYSCTL_PHYSCAP_GNTTAB_V2 = 1 << 9, "XEN_SYSCTL_PHYSCAP_gnttab_v2";
    /// Number of a NUMA node: not known.
    XEN_INVALID_NODE_ID = !0, "XEN_INVALID_NODE_ID";
    /// And: there is no such device.
    XEN_INVALID_DEV = !1, "XEN_INVALID_DEV";
}

constants! {
    /// Values of [`SysctlCpupoolOp::op`].
    XEN_SYSCTL_CPUPOOL_OPS: u32;
    /// Makes a pool.
    XEN_SYSCTL_CPUPOOL_OP_CREATE = 1, "XEN_SYSCTL_CPUPOOL_OP_CREATE";
    /// Ends one.
    XEN_SYSCTL_CPUPOOL_OP_DESTROY = 2, "XEN_SYSCTL_CPUPOOL_OP_DESTROY";
    /// Reads one.
    XEN_SYSCTL_CPUPOOL_OP_INFO = 3, "XEN_SYSCTL_CPUPOOL_OP_INFO";
    /// Adds a CPU.
    XEN_SYSCTL_CPUPOOL_OP_ADDCPU = 4, "XEN_SYSCTL_CPUPOOL_OP_ADDCPU";
    /// Takes one away.
    XEN_SYSCTL_CPUPOOL_OP_RMCPU = 5, "XEN_SYSCTL_CPUPOOL_OP_RMCPU";
    /// Moves a domain.
    XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN = 6, "XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN";
    /// Reads which CPUs are in none.
    XEN_SYSCTL_CPUPOOL_OP_FREEINFO = 7, "XEN_SYSCTL_CPUPOOL_OP_FREEINFO";
}

constants! {
    /// Values of [`SysctlSchedulerOp::cmd`].
    XEN_SYSCTL_SCHEDOPS: u32;
    /// Changes parameters.
    XEN_SYSCTL_SCHEDOP_PUTINFO = 0, "XEN_SYSCTL_SCHEDOP_putinfo";
    /// Reads them.
    XEN_SYSCTL_SCHEDOP_GETINFO = 1, "XEN_SYSCTL_SCHEDOP_getinfo";
}

/// Argument of `sysctl`. C name: `xen_sysctl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sysctl {
    /// `XEN_SYSCTL_*`.
    pub cmd: u32,
    /// `XEN_SYSCTL_INTERFACE_VERSION`.
    pub interface_version: u32,
    /// Members by command.
    pub u: [u64; 16],
}

const_assert_eq!(size_of::<Sysctl>(), 136);
