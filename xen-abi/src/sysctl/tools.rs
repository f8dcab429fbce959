//! Members of `Sysctl` that tools beside `xl` use (`sysctl.h`).

use crate::constants::constants;
use crate::xen::XenctlBitmap;
use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

constants! {
    /// Values of [`SysctlGetPmstat::kind`], [`SysctlPmOp::cmd`], [`SysctlCpuHotplug::op`] and [`SysctlLivepatchOp::cmd`].
    XEN_SYSCTL_TOOLS: u32;
    /// Which statistics: bits.
    PMSTAT_CATEGORY_MASK = 0xf0, "PMSTAT_CATEGORY_MASK";
    /// Of frequencies.
    PMSTAT_PX = 0x10, "PMSTAT_PX";
    /// Of idle states.
    PMSTAT_CX = 0x20, "PMSTAT_CX";
    /// How many idle states there are.
    PMSTAT_GET_MAX_CX = 0x21, "PMSTAT_get_max_cx";
    /// How often and how long a CPU was in each.
    PMSTAT_GET_CXSTAT = 0x22, "PMSTAT_get_cxstat";
    /// About frequencies: bits.
    PM_PARA_CATEGORY_MASK = 0xf0, "PM_PARA_CATEGORY_MASK";
    /// Their category.
    CPUFREQ_PARA = 0x10, "CPUFREQ_PARA";
    /// The scheduler fills threads of a core first.
    XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT = 0x21, "XEN_SYSCTL_pm_op_set_sched_opt_smt";
    /// Reads the deepest idle state allowed.
    XEN_SYSCTL_PM_OP_GET_MAX_CSTATE = 0x22, "XEN_SYSCTL_pm_op_get_max_cstate";
    /// Sets it.
    XEN_SYSCTL_PM_OP_SET_MAX_CSTATE = 0x23, "XEN_SYSCTL_pm_op_set_max_cstate";
    /// What a migration costs; of a scheduler that is gone.
    XEN_SYSCTL_PM_OP_SET_VCPU_MIGRATION_DELAY = 0x24, "XEN_SYSCTL_pm_op_set_vcpu_migration_delay";
    /// Reads it.
    XEN_SYSCTL_PM_OP_GET_VCPU_MIGRATION_DELAY = 0x25, "XEN_SYSCTL_pm_op_get_vcpu_migration_delay";
    /// Turbo mode on.
    XEN_SYSCTL_PM_OP_ENABLE_TURBO = 0x26, "XEN_SYSCTL_pm_op_enable_turbo";
    /// Turbo mode off.
    XEN_SYSCTL_PM_OP_DISABLE_TURBO = 0x27, "XEN_SYSCTL_pm_op_disable_turbo";
    /// A CPU comes.
    XEN_SYSCTL_CPU_HOTPLUG_ONLINE = 0, "XEN_SYSCTL_CPU_HOTPLUG_ONLINE";
    /// A CPU goes.
    XEN_SYSCTL_CPU_HOTPLUG_OFFLINE = 1, "XEN_SYSCTL_CPU_HOTPLUG_OFFLINE";
    /// A patch is brought.
    XEN_SYSCTL_LIVEPATCH_UPLOAD = 0, "XEN_SYSCTL_LIVEPATCH_UPLOAD";
    /// One is looked at.
    XEN_SYSCTL_LIVEPATCH_GET = 1, "XEN_SYSCTL_LIVEPATCH_GET";
    /// All are listed.
    XEN_SYSCTL_LIVEPATCH_LIST = 2, "XEN_SYSCTL_LIVEPATCH_LIST";
    /// Something is done with one.
    XEN_SYSCTL_LIVEPATCH_ACTION = 3, "XEN_SYSCTL_LIVEPATCH_ACTION";
}

constants! {
    /// Values of [`SysctlTbufOp::cmd`].
    XEN_SYSCTL_TBUFOPS: u32;
    /// What there is.
    XEN_SYSCTL_TBUFOP_GET_INFO = 0, "XEN_SYSCTL_TBUFOP_get_info";
    /// Which CPUs are looked at.
    XEN_SYSCTL_TBUFOP_SET_CPU_MASK = 1, "XEN_SYSCTL_TBUFOP_set_cpu_mask";
    /// Which events are noted.
    XEN_SYSCTL_TBUFOP_SET_EVT_MASK = 2, "XEN_SYSCTL_TBUFOP_set_evt_mask";
    /// Buffers are made.
    XEN_SYSCTL_TBUFOP_SET_SIZE = 3, "XEN_SYSCTL_TBUFOP_set_size";
    /// Events are noted from now on.
    XEN_SYSCTL_TBUFOP_ENABLE = 4, "XEN_SYSCTL_TBUFOP_enable";
    /// No more.
    XEN_SYSCTL_TBUFOP_DISABLE = 5, "XEN_SYSCTL_TBUFOP_disable";
}

/// Member of `XEN_SYSCTL_tbuf_op`. C name: `xen_sysctl_tbuf_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlTbufOp {
    /// In: `XEN_SYSCTL_TBUFOP_*`.
    pub cmd: u32,
    /// Padding.
    pub _pad0: u32,
    /// In: CPUs.
    pub cpu_mask: XenctlBitmap,
    /// In and out: events.
    pub evt_mask: u32,
    /// Padding.
    pub _pad1: u32,
    /// Out: the first frame of what describes the buffers.
    pub buffer_mfn: u64,
    /// In: frames of each buffer. Out: bytes of what describes them.
    pub size: u32,
    /// Padding.
    pub _pad2: u32,
}

const_assert_eq!(size_of::<SysctlTbufOp>(), 48);

/// Member of `XEN_SYSCTL_get_pmstat`, without what it is for. C name: `xen_sysctl_get_pmstat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlGetPmstat {
    /// In: `PMSTAT_*`.
    pub kind: u32,
    /// In: CPU.
    pub cpuid: u32,
    /// In and out: the statistics.
    pub u: [u64; 7],
}

const_assert_eq!(size_of::<SysctlGetPmstat>(), 64);

/// The part of `XEN_SYSCTL_pm_op`'s member that is no matter of frequencies. C name: `xen_sysctl_pm_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlPmOp {
    /// In: `XEN_SYSCTL_pm_op_*`.
    pub cmd: u32,
    /// In: CPU, or which limit.
    pub cpuid: u32,
    /// In and out: the value.
    pub u: [u64; 15],
}

const_assert_eq!(size_of::<SysctlPmOp>(), 128);

/// Member of `XEN_SYSCTL_cpu_hotplug`. C name: `xen_sysctl_cpu_hotplug`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlCpuHotplug {
    /// In: CPU.
    pub cpu: u32,
    /// In: `XEN_SYSCTL_CPU_HOTPLUG_*`.
    pub op: u32,
}

const_assert_eq!(size_of::<SysctlCpuHotplug>(), 8);

/// Member of `XEN_SYSCTL_livepatch_op`. C name: `xen_sysctl_livepatch_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlLivepatchOp {
    /// In: `XEN_SYSCTL_LIVEPATCH_*`.
    pub cmd: u32,
    /// In: 0.
    pub pad: u32,
    /// What it is about.
    pub u: [u64; 8],
}

const_assert_eq!(size_of::<SysctlLivepatchOp>(), 72);

/// Of [`SysctlLivepatchOp`]: `XEN_SYSCTL_LIVEPATCH_LIST`. C name: `xen_sysctl_livepatch_list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysctlLivepatchList {
    /// Out: changes whenever the list does.
    pub version: u32,
    /// In: the first patch.
    pub idx: u32,
    /// In: how many there is room for. Out: how many are left.
    pub nr: u32,
    /// In: 0.
    pub pad: u32,
    /// Out: bytes of all names.
    pub name_total_size: u32,
    /// Out: bytes of all descriptions.
    pub metadata_total_size: u32,
    /// In: linear addresses for states, names, their lengths, descriptions, their lengths.
    pub status: u64,
    /// See `status`.
    pub name: u64,
    /// See `status`.
    pub len: u64,
    /// See `status`.
    pub metadata: u64,
    /// See `status`.
    pub metadata_len: u64,
}

const_assert_eq!(size_of::<SysctlLivepatchList>(), 64);
