//! Requests of tools beside `xl` (public/sysctl.h).

use super::member::{member, put};
use super::sysctl::bitmap;
use crate::tools::{Hotplug, Patches, PowerSetting, States, ToolRequest, TraceRequest};
use xen_abi::Errno;
use xen_abi::sysctl::{
    CPUFREQ_PARA, PM_PARA_CATEGORY_MASK, PMSTAT_CATEGORY_MASK, PMSTAT_CX, PMSTAT_GET_CXSTAT,
    PMSTAT_GET_MAX_CX, PMSTAT_PX, Sysctl, SysctlCpuHotplug, SysctlDebugKeys, SysctlGetPmstat,
    SysctlLivepatchList, SysctlLivepatchOp, SysctlPmOp, SysctlTbufOp, XEN_SYSCTL_COVERAGE_OP,
    XEN_SYSCTL_CPU_HOTPLUG, XEN_SYSCTL_CPU_HOTPLUG_OFFLINE, XEN_SYSCTL_CPU_HOTPLUG_ONLINE,
    XEN_SYSCTL_DEBUG_KEYS, XEN_SYSCTL_GET_PMSTAT, XEN_SYSCTL_LIVEPATCH_ACTION, XEN_SYSCTL_LIVEPATCH_GET,
    XEN_SYSCTL_LIVEPATCH_LIST, XEN_SYSCTL_LIVEPATCH_OP, XEN_SYSCTL_LIVEPATCH_UPLOAD, XEN_SYSCTL_PM_OP,
    XEN_SYSCTL_PM_OP_DISABLE_TURBO, XEN_SYSCTL_PM_OP_ENABLE_TURBO, XEN_SYSCTL_PM_OP_GET_MAX_CSTATE,
    XEN_SYSCTL_PM_OP_GET_VCPU_MIGRATION_DELAY, XEN_SYSCTL_PM_OP_SET_MAX_CSTATE,
    XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT, XEN_SYSCTL_PM_OP_SET_VCPU_MIGRATION_DELAY, XEN_SYSCTL_PSR_ALLOC,
    XEN_SYSCTL_PSR_CMT_OP, XEN_SYSCTL_TBUF_OP, XEN_SYSCTL_TBUFOP_DISABLE, XEN_SYSCTL_TBUFOP_ENABLE,
    XEN_SYSCTL_TBUFOP_GET_INFO, XEN_SYSCTL_TBUFOP_SET_CPU_MASK, XEN_SYSCTL_TBUFOP_SET_EVT_MASK,
    XEN_SYSCTL_TBUFOP_SET_SIZE,
};
use zerocopy::{FromBytes, IntoBytes};

/// `XEN_SYSCTL_CX_UNLIMITED`.
const UNLIMITED: u32 = u32::MAX;

/// Decodes an argument. `None`: it is about something else.
///
/// # Errors
/// `EINVAL`: impossible values.
pub fn decode(op: &Sysctl) -> Result<Option<ToolRequest>, Errno> {
    Ok(Some(match op.cmd {
        XEN_SYSCTL_DEBUG_KEYS => {
            let m: SysctlDebugKeys = member(&op.u)?;
            ToolRequest::Keys { at: m.keys, count: m.nr_keys }
        }
        XEN_SYSCTL_GET_PMSTAT => {
            let m: SysctlGetPmstat = member(&op.u)?;
            ToolRequest::Statistics { of: states(&m), cpu: m.cpuid }
        }
        XEN_SYSCTL_PM_OP => {
            let m: SysctlPmOp = member(&op.u)?;
            ToolRequest::Power { setting: setting(&m), cpu: m.cpuid }
        }
        XEN_SYSCTL_CPU_HOTPLUG => {
            let m: SysctlCpuHotplug = member(&op.u)?;
            let change = match m.op {
                XEN_SYSCTL_CPU_HOTPLUG_ONLINE => Hotplug::Up(m.cpu),
                XEN_SYSCTL_CPU_HOTPLUG_OFFLINE => Hotplug::Down(m.cpu),
                _ => Hotplug::Other,
            };
            ToolRequest::Hotplug { change }
        }
        XEN_SYSCTL_LIVEPATCH_OP => ToolRequest::Patches { patches: patches(&member(&op.u)?)? },
        XEN_SYSCTL_PSR_CMT_OP => ToolRequest::CacheMonitor,
        XEN_SYSCTL_PSR_ALLOC => ToolRequest::CacheAllocation,
        XEN_SYSCTL_COVERAGE_OP => ToolRequest::Coverage,
        XEN_SYSCTL_TBUF_OP => ToolRequest::Traces(traces(&member(&op.u)?)),
        _ => return Ok(None),
    }))
}

/// `pm_cx_stat` has: room and state (32 bits each), idle time, counts, times, and what processors count themselves.
fn states(m: &SysctlGetPmstat) -> Option<States> {
    match (m.kind, m.kind & PMSTAT_CATEGORY_MASK) {
        (PMSTAT_GET_MAX_CX, _) => Some(States::CountIdle),
        (PMSTAT_GET_CXSTAT, _) => {
            let [first, _, entered, spent, ..] = m.u;
            Some(States::Idle { room: first as u32, entered, spent })
        }
        (_, PMSTAT_CX) => Some(States::OtherIdle),
        (_, PMSTAT_PX) => Some(States::Frequency),
        _ => None,
    }
}

/// Puts statistics of `count` idle states into the argument, the CPU now being in state `now` and idle for `idle` ns in
/// all. The processor counts none.
pub fn encode_idle(op: &mut Sysctl, count: u32, now: u32, idle: u64) {
    (op.u[1], op.u[2], op.u[5]) = (u64::from(count) | u64::from(now) << 32, idle, 0);
}

fn setting(m: &SysctlPmOp) -> PowerSetting {
    let value = m.u[0] as u32;
    match m.cmd {
        XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT => PowerSetting::PackThreads(value != 0),
        XEN_SYSCTL_PM_OP_GET_MAX_CSTATE => PowerSetting::Deepest,
        XEN_SYSCTL_PM_OP_SET_MAX_CSTATE => PowerSetting::SetDeepest((value != UNLIMITED).then_some(value)),
        XEN_SYSCTL_PM_OP_ENABLE_TURBO | XEN_SYSCTL_PM_OP_DISABLE_TURBO => PowerSetting::Turbo,
        // As settings of frequencies: delays of migration are known and not kept.
        XEN_SYSCTL_PM_OP_SET_VCPU_MIGRATION_DELAY | XEN_SYSCTL_PM_OP_GET_VCPU_MIGRATION_DELAY => {
            PowerSetting::Frequency
        }
        command if command & PM_PARA_CATEGORY_MASK == CPUFREQ_PARA => PowerSetting::Frequency,
        _ => PowerSetting::Unknown,
    }
}

fn traces(m: &SysctlTbufOp) -> TraceRequest {
    match m.cmd {
        XEN_SYSCTL_TBUFOP_GET_INFO => TraceRequest::Info,
        XEN_SYSCTL_TBUFOP_SET_CPU_MASK => TraceRequest::Cpus(bitmap(&m.cpu_mask)),
        XEN_SYSCTL_TBUFOP_SET_EVT_MASK => TraceRequest::Events(m.evt_mask),
        XEN_SYSCTL_TBUFOP_SET_SIZE => TraceRequest::Make(m.size),
        XEN_SYSCTL_TBUFOP_ENABLE => TraceRequest::Note(true),
        XEN_SYSCTL_TBUFOP_DISABLE => TraceRequest::Note(false),
        _ => TraceRequest::Unknown,
    }
}

/// Puts into the argument which events are noted, and the first frame and the bytes of the table of trace buffers.
///
/// # Errors
/// `EINVAL`: its member does not fit the argument.
pub fn encode_traces(op: &mut Sysctl, events: u32, frame: u64, bytes: u32) -> Result<(), Errno> {
    let mut m: SysctlTbufOp = member(&op.u)?;
    (m.evt_mask, m.buffer_mfn, m.size) = (events, frame, bytes);
    put(&mut op.u, &m);
    Ok(())
}

fn patches(m: &SysctlLivepatchOp) -> Result<Patches, Errno> {
    if m.pad != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(match m.cmd {
        XEN_SYSCTL_LIVEPATCH_LIST => {
            let (list, _) =
                SysctlLivepatchList::read_from_prefix(m.u.as_bytes()).map_err(|_| Errno::EINVAL)?;
            if list.pad != 0 {
                return Err(Errno::EINVAL);
            }
            Patches::List { first: list.idx, room: list.nr }
        }
        XEN_SYSCTL_LIVEPATCH_UPLOAD => Patches::Upload,
        XEN_SYSCTL_LIVEPATCH_GET | XEN_SYSCTL_LIVEPATCH_ACTION => Patches::Find,
        _ => Patches::Unknown,
    })
}

/// Puts a number into the member that begins with what was asked and of whom: power settings and statistics.
pub fn encode_power(op: &mut Sysctl, value: u32) {
    op.u[1] = op.u[1] & !0xffff_ffff | u64::from(value);
}

/// Puts the deepest idle state allowed into the argument.
pub fn encode_deepest(op: &mut Sysctl, deepest: Option<u32>) {
    encode_power(op, deepest.unwrap_or(UNLIMITED));
}

/// Puts an empty list of patches into the argument.
///
/// # Errors
/// `EINVAL`: its member does not fit the argument.
pub fn encode_no_patches(op: &mut Sysctl) -> Result<(), Errno> {
    let mut m: SysctlLivepatchOp = member(&op.u)?;
    let (mut list, _) = SysctlLivepatchList::read_from_prefix(m.u.as_bytes()).map_err(|_| Errno::EINVAL)?;
    (list.version, list.nr, list.name_total_size, list.metadata_total_size) = (0, 0, 0, 0);
    m.u.as_mut_bytes().copy_from_slice(list.as_bytes());
    put(&mut op.u, &m);
    Ok(())
}
