//! `domctl` of Xen 4.17 (public/domctl.h, interface version 0x15).

use super::member::{member, put};
use super::sysctl::bitmap;
use super::{change, state};
use crate::change::Changed;
use crate::control::{Bitmap, DomainAnswer, DomainInfo, DomainRequest};
use crate::state::Trigger;
use xen_abi::Errno;
use xen_abi::domctl::{
    ArchDomainconfig, Domctl, DomctlGetdomaininfo, DomctlGetvcpuinfo, DomctlNodeaffinity, DomctlSchedCredit2,
    DomctlSchedulerOp, DomctlSendtrigger, DomctlVcpuaffinity, XEN_DOMCTL_GET_CPU_POLICY,
    XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_GETNODEAFFINITY, XEN_DOMCTL_GETVCPUAFFINITY, XEN_DOMCTL_GETVCPUINFO,
    XEN_DOMCTL_INTERFACE_VERSION, XEN_DOMCTL_SCHEDOP_GETINFO, XEN_DOMCTL_SCHEDOP_PUTINFO,
    XEN_DOMCTL_SCHEDULER_OP, XEN_DOMCTL_SENDTRIGGER, XEN_DOMCTL_SET_CPU_POLICY, XEN_DOMCTL_SETNODEAFFINITY,
    XEN_DOMCTL_SETVCPUAFFINITY, XEN_DOMINF_BLOCKED, XEN_DOMINF_DYING, XEN_DOMINF_PAUSED, XEN_DOMINF_RUNNING,
    XEN_DOMINF_SHUTDOWN, XEN_DOMINF_SHUTDOWNSHIFT, XEN_VCPUAFFINITY_FORCE, XEN_VCPUAFFINITY_HARD,
    XEN_VCPUAFFINITY_SOFT, XEN_X86_EMU_PIT,
};
use zerocopy::{FromZeros, IntoBytes};

/// `XEN_DOMCTL_SENDTRIGGER_*`.
const NMI: u32 = 0;
const POWER: u32 = 3;
const SLEEP: u32 = 4;

/// Decodes an argument.
///
/// # Errors
/// `EACCES`: of another interface version; `EINVAL`: impossible values.
pub fn decode(op: &Domctl) -> Result<DomainRequest, Errno> {
    if op.interface_version != XEN_DOMCTL_INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    Ok(match op.cmd {
        XEN_DOMCTL_GETDOMAININFO => DomainRequest::Info,
        XEN_DOMCTL_GETVCPUINFO => DomainRequest::Vcpu { vcpu: member::<DomctlGetvcpuinfo>(&op.u)?.vcpu },
        XEN_DOMCTL_GETVCPUAFFINITY => {
            let m: DomctlVcpuaffinity = member(&op.u)?;
            let (hard, soft) = affinity(&m)?;
            DomainRequest::Affinity { vcpu: m.vcpu, hard, soft }
        }
        XEN_DOMCTL_SETVCPUAFFINITY => {
            let m: DomctlVcpuaffinity = member(&op.u)?;
            let (hard, soft) = affinity(&m)?;
            let force = m.flags & XEN_VCPUAFFINITY_FORCE != 0;
            DomainRequest::SetAffinity { vcpu: m.vcpu, force, hard, soft }
        }
        XEN_DOMCTL_SETNODEAFFINITY => {
            DomainRequest::SetNodes { nodes: bitmap(&member::<DomctlNodeaffinity>(&op.u)?.nodemap) }
        }
        XEN_DOMCTL_GETNODEAFFINITY => {
            DomainRequest::Nodes { nodes: bitmap(&member::<DomctlNodeaffinity>(&op.u)?.nodemap) }
        }
        XEN_DOMCTL_SCHEDULER_OP => {
            let m: DomctlSchedulerOp = member(&op.u)?;
            match m.cmd {
                XEN_DOMCTL_SCHEDOP_GETINFO => DomainRequest::Share { scheduler: m.sched_id },
                XEN_DOMCTL_SCHEDOP_PUTINFO => {
                    let [weight, cap] = [m.u[0], m.u[0] >> 16].map(|word| word as u16);
                    DomainRequest::SetShare { scheduler: m.sched_id, weight, cap }
                }
                // The shares of vCPUs: credit2 has none.
                _ => return Err(Errno::EINVAL),
            }
        }
        XEN_DOMCTL_SENDTRIGGER => {
            let m: DomctlSendtrigger = member(&op.u)?;
            let trigger = match m.trigger {
                NMI => Trigger::Nmi,
                POWER | SLEEP => Trigger::Button,
                _ => Trigger::Unknown,
            };
            DomainRequest::Trigger { trigger, vcpu: m.vcpu }
        }
        XEN_DOMCTL_GET_CPU_POLICY => DomainRequest::Policy,
        XEN_DOMCTL_SET_CPU_POLICY => DomainRequest::SetPolicy,
        command => match change::decode(op)? {
            Some(change) => DomainRequest::Change(change),
            None => match state::decode(op)? {
                Some(request) => DomainRequest::State(request),
                None => DomainRequest::Other { command },
            },
        },
    })
}

/// Puts what is said to a change into the argument that asked for it.
pub fn encode_change(op: &mut Domctl, answer: &Changed) {
    change::encode(op, answer);
}

/// Puts an answer into the argument that asked.
pub fn encode(op: &mut Domctl, answer: &DomainAnswer) {
    match *answer {
        DomainAnswer::Info(info) => {
            op.domain = info.id;
            put(&mut op.u, &domain_info(&info));
        }
        DomainAnswer::Vcpu { online, blocked, running, cpu_time, cpu } => {
            let Ok(mut m) = member::<DomctlGetvcpuinfo>(&op.u) else { return };
            (m.online, m.blocked, m.running) = (online.into(), blocked.into(), running.into());
            (m.cpu_time, m.cpu) = (cpu_time, cpu);
            put(&mut op.u, &m);
        }
        DomainAnswer::Share { weight, cap } => {
            let Ok(mut m) = member::<DomctlSchedulerOp>(&op.u) else { return };
            let share = DomctlSchedCredit2 { weight, cap };
            m.u.as_mut_bytes()[..size_of_val(&share)].copy_from_slice(share.as_bytes());
            put(&mut op.u, &m);
        }
        DomainAnswer::Changed(changed) => change::encode(op, &changed),
        DomainAnswer::None => {}
    }
}

/// A record of [`MachineRequest::Domains`](crate::control::MachineRequest::Domains).
pub fn domain_info(info: &DomainInfo) -> DomctlGetdomaininfo {
    let mut m = DomctlGetdomaininfo::new_zeroed();
    m.domain = info.id;
    m.flags = [
        (info.dying, XEN_DOMINF_DYING),
        (info.paused, XEN_DOMINF_PAUSED),
        (info.blocked, XEN_DOMINF_BLOCKED),
        (info.running, XEN_DOMINF_RUNNING),
    ]
    .into_iter()
    .fold(0, |flags, (set, flag)| if set { flags | flag } else { flags });
    if let Some(reason) = info.shutdown {
        m.flags |= XEN_DOMINF_SHUTDOWN | (reason & 0xff) << XEN_DOMINF_SHUTDOWNSHIFT;
    }
    (m.tot_pages, m.max_pages, m.outstanding_pages) = (info.frames, info.most_frames, info.claimed);
    (m.shared_info_frame, m.cpu_time) = (info.shared_info, info.cpu_time);
    // One that has none gives `XEN_INVALID_MAX_VCPU_ID`.
    (m.nr_online_vcpus, m.max_vcpu_id) = (info.vcpus_up, info.vcpus.wrapping_sub(1));
    (m.handle, m.gpaddr_bits) = (info.handle, info.address_bits);
    m.cpupool = info.pool;
    // Ports of the timer are the hypervisor's, which emulates them for the hardware domain.
    m.arch_config =
        ArchDomainconfig { emulation_flags: if info.hardware { XEN_X86_EMU_PIT } else { 0 }, misc_flags: 0 };
    m
}

/// The maps that are meant, hard and soft.
fn affinity(m: &DomctlVcpuaffinity) -> Result<(Option<Bitmap>, Option<Bitmap>), Errno> {
    let wanted = |flag, map| (m.flags & flag != 0).then(|| bitmap(map));
    let hard = wanted(XEN_VCPUAFFINITY_HARD, &m.cpumap_hard);
    let soft = wanted(XEN_VCPUAFFINITY_SOFT, &m.cpumap_soft);
    if m.flags == 0 || hard.iter().chain(&soft).any(|map| map.bytes == 0) {
        return Err(Errno::EINVAL);
    }
    Ok((hard, soft))
}
