//! `domctl`: what the toolstack asks of a domain.

mod create;
mod end;
mod extended;
mod frames;
mod pause;
mod registers;
mod settings;
mod shadow;
mod state;
mod trigger;

pub use end::{find_dead, forget_dead, remove_gone};

use crate::affinity;
use crate::bitmap::put_bitmap;
use crate::call::{Call, CallResult, Outcome, fault};
use crate::domain_info::{self, first_from};
use crate::event_channel::copy_back;
use crate::processor;
use crate::sysctl::SCHEDULER;
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Gva, Mfn, VcpuId, VcpuSlot};
use toolstack_compat::change::{Change, Changed};
use toolstack_compat::control::{DomainAnswer as Answer, DomainRequest as Request};
use toolstack_compat::domctl::{decode, encode};
use vault::Apply;
use xen_abi::Errno;
use xen_abi::domctl::{
    Domctl, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_PSR_ALLOC, XEN_DOMCTL_PSR_CMT_OP,
};
use xen_abi::hypercall::DOMCTL;
use xen_abi::xen::DOMID_FIRST_RESERVED;

/// The hypercall: argument.
pub(crate) fn domctl<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let result = operation(call);
    call.restartable(result)
}

fn operation<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
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
    if matches!(op.cmd, XEN_DOMCTL_PSR_CMT_OP | XEN_DOMCTL_PSR_ALLOC) {
        // No processor's monitoring and allocation of caches and memory bandwidth are used.
        return Err(Errno::ENODEV);
    }
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
        (Request::State(request), Some(domain)) => return state::carry_out(call, at, op, domain, request),
        (Request::Trigger { trigger, vcpu }, Some(domain)) => {
            return trigger::send(call, domain, trigger, vcpu);
        }
        (Request::Policy, Some(domain)) => return processor::get_policy(call, at, op, domain),
        (Request::SetPolicy, Some(domain)) => return processor::set_policy(call, at, op, domain),
        (Request::Change(Change::Create { id, new }), _) => {
            create::create(call, &mut op, at, id, &new)?;
            return Ok(Outcome::Replied);
        }
        (Request::Change(change), Some(domain)) => match changed(call, domain, change)? {
            Ok(answer) => Answer::Changed(answer),
            Err(outcome) => return Ok(outcome),
        },
        (request, Some(domain)) => match affinity::change(call, &op, request, domain) {
            Some(result) => return result,
            None => return call.unsupported(DOMCTL, op.cmd.into(), Errno::ENOSYS),
        },
        _ => return call.unsupported(DOMCTL, op.cmd.into(), Errno::ENOSYS),
    };
    encode(&mut op, &answer);
    call.reply_after(|tx| copy_back(tx, at, &op))
}

/// Changes a domain: what is to be answered, or what came of it.
fn changed<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
    change: Change,
) -> Result<Result<Changed, Outcome>, Errno> {
    let done = match change {
        Change::Width => return Ok(Ok(Changed::Width(64))),
        Change::Tsc => return Ok(Ok(Changed::Tsc(settings::tsc(call, slot)?))),
        Change::Vcpus { count } => create::vcpus(call, slot, count),
        Change::Memory { kib } => create::max_memory(call, slot, kib),
        Change::Pause => pause::pause(call, slot),
        Change::Unpause => pause::unpause(call, slot),
        Change::Resume => pause::resume(call, slot),
        Change::Destroy => end::destroy(call, slot),
        Change::SetContext { vcpu, at } => return state::set_context(call, slot, vcpu, at).map(Err),
        Change::Context { vcpu, at } => return state::context(call, slot, vcpu, at).map(Err),
        Change::Handle(handle) => return settings::set_handle(call, slot, &handle).map(Err),
        Change::HypercallPage { frame } => return settings::hypercall_page(call, slot, Mfn(frame)).map(Err),
        Change::SetWidth { bits } => return settings::set_width(bits).map(Err),
        Change::SetTsc(info) => return settings::set_tsc(call, slot, &info).map(Err),
        Change::Subscribe { port } => return settings::subscribe(call, slot, port).map(Err),
        Change::Create { .. } => Err(Errno::EINVAL),
    };
    done.map(|()| Err(Outcome::Replied))
}

/// The slot of a domain's vCPU.
///
/// # Errors
/// `EINVAL`: it has none of that number.
pub(crate) fn vcpu_of<M, A>(call: &Call<'_, M, A>, domain: DomainSlot, vcpu: u32) -> Result<VcpuSlot, Errno> {
    call.state.domains.vcpu_of(domain, VcpuId(vcpu)).ok_or(Errno::EINVAL)
}
