//! `domctl`: what the toolstack asks of a domain.

use crate::affinity;
use crate::bitmap::put_bitmap;
use crate::call::{Call, CallResult, fault};
use crate::domain_info::{self, first_from};
use crate::event_channel::copy_back;
use crate::sysctl::SCHEDULER;
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Gva, VcpuId, VcpuSlot};
use toolstack_compat::control::{DomainAnswer as Answer, DomainRequest as Request};
use toolstack_compat::v4_17::domctl::{decode, encode};
use vault::Apply;
use xen_abi::Errno;
use xen_abi::domctl::{
    Domctl, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_GETDOMAININFO,
    XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_UNPAUSEDOMAIN,
};
use xen_abi::hypercall::DOMCTL;
use xen_abi::xen::DOMID_FIRST_RESERVED;

/// The hypercall: argument.
pub(crate) fn domctl<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let at = call.args[0];
    let mut op: Domctl = call.memory.read(Gva(at)).map_err(fault)?;
    let request = decode(&op);
    if request == Err(Errno::EACCES) {
        return Err(Errno::EACCES);
    }
    let found = call.state.domains.by_id(DomId(op.domain));
    if found.is_none() && !matches!(op.cmd, XEN_DOMCTL_CREATEDOMAIN | XEN_DOMCTL_GETDOMAININFO) {
        return Err(Errno::ESRCH);
    }
    call.privileged()?;
    let answer = match (request?, found) {
        (Request::Info, _) => {
            if found.is_none() && op.domain >= DOMID_FIRST_RESERVED {
                return Err(Errno::EINVAL);
            }
            let slot = first_from(call.state, op.domain).ok_or(Errno::ESRCH)?;
            Answer::Info(domain_info::describe(call, slot)?)
        }
        (Request::Vcpu { vcpu }, Some(domain)) => {
            let slot = vcpu_of(call, domain, vcpu)?;
            let info = domain_info::vcpu(call, slot)?;
            Answer::Vcpu {
                online: info.online,
                blocked: info.blocked,
                running: info.running,
                cpu_time: info.cpu_time,
                cpu: call.state.timers().home(slot).0,
            }
        }
        (Request::Affinity { vcpu, hard, soft }, Some(domain)) => {
            let slot = vcpu_of(call, domain, vcpu)?;
            affinity::affinity(call, slot, [hard, soft])?;
            Answer::None
        }
        (Request::Nodes { nodes }, Some(domain)) => {
            let given = affinity::nodes(call, domain);
            put_bitmap(call, nodes, |node| node < 64 && given >> node & 1 != 0)?;
            Answer::None
        }
        (Request::Share { scheduler: SCHEDULER }, Some(domain)) => {
            Answer::Share { weight: call.state.sched.weight(domain), cap: call.state.sched.cap(domain) }
        }
        (Request::Share { .. }, Some(_)) => return Err(Errno::EINVAL),
        (request, Some(domain)) => match affinity::change(call, &op, request, domain) {
            Some(result) => return result,
            None => return refused(call, op.cmd, found),
        },
        _ => return refused(call, op.cmd, found),
    };
    encode(&mut op, &answer);
    call.reply_after(|tx| copy_back(tx, at, &op))
}

fn refused<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    command: u32,
    found: Option<DomainSlot>,
) -> CallResult {
    match command {
        // Those that a domain may not do to itself.
        XEN_DOMCTL_DESTROYDOMAIN | XEN_DOMCTL_PAUSEDOMAIN | XEN_DOMCTL_UNPAUSEDOMAIN
            if found == Some(call.domain) =>
        {
            Err(Errno::EINVAL)
        }
        _ => call.unsupported(DOMCTL, command.into(), Errno::ENOSYS),
    }
}

fn vcpu_of<M, A>(call: &Call<'_, M, A>, domain: DomainSlot, vcpu: u32) -> Result<VcpuSlot, Errno> {
    call.state.domains.vcpu_of(domain, VcpuId(vcpu)).ok_or(Errno::EINVAL)
}
