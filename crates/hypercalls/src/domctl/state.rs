//! A domain's state as a whole, for it to be saved, given to another domain, or looked at.

use super::{extended, registers, shadow, vcpu_of};
use crate::call::{Call, CallResult, Outcome};
use crate::domctl::frames;
use crate::domctl::pause::{go_on, stopped};
use crate::event_channel::copy_back;
use crate::vcpu_init;
use cpu_policy::control::is_canonical;
use cpu_policy::msr::machine_check_capabilities;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva};
use pv_cpu::Callback;
use toolstack_compat::state::{Entries, Entry, MachineCheck, StateRequest as Request};
use toolstack_compat::v4_17::state::encode_entries;
use vault::{Apply, Tx};
use xen_abi::Errno;
use xen_abi::callback::{CALLBACKTYPE_SYSCALL32, CALLBACKTYPE_SYSENTER};
use xen_abi::domctl::{Domctl, XEN_DOMCTL_SETVCPUCONTEXT};
use xen_abi::hypercall::DOMCTL;

/// Carries a request out and replies.
pub(super) fn carry_out<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    op: Domctl,
    domain: DomainSlot,
    request: Request,
) -> CallResult {
    match request {
        Request::Frames { frames } => frames::describe(call, domain, frames),
        Request::Shadow(what) => shadow::answer(call, domain, what),
        Request::Entries { vcpu } => entries(call, at, op, domain, vcpu),
        Request::SetEntries { vcpu, entries } => set_entries(call, domain, vcpu, entries),
        Request::Extended { vcpu, known, bytes } => {
            extended::get(call, (at, op), domain, vcpu, (known, bytes))
        }
        Request::SetExtended { vcpu, bytes } => extended::set(call, domain, vcpu, bytes),
        Request::Registers { vcpu, list } => registers::get(call, at, op, domain, vcpu, list),
        Request::SetRegisters { vcpu, list } => registers::set(call, at, op, domain, vcpu, list),
    }
}

/// `XEN_DOMCTL_getvcpucontext`: all that a vCPU's own kernel may set of it.
///
/// # Errors
/// `EINVAL`: no such vCPU, or the caller's own domain; `ENODATA`: it has no state yet; `EFAULT`; `ERESTART`.
pub(super) fn context<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    domain: DomainSlot,
    vcpu: u32,
    at: u64,
) -> CallResult {
    let slot = vcpu_of(call, domain, vcpu)?;
    if slot == call.vcpu {
        return Err(Errno::EINVAL);
    }
    if !call.state.domains.vcpu(slot).initialised.get() {
        return Err(Errno::ENODATA);
    }
    stopped(call, domain, |call| {
        vcpu_init::read(call, domain, slot, Gva(at))?;
        let state = call.state;
        call.reply_after(|tx| {
            go_on(state, tx, domain);
            Ok(())
        })
    })
}

/// `XEN_DOMCTL_setvcpucontext`: a vCPU's first state, or another one.
///
/// # Errors
/// `EINVAL`: no such vCPU, the caller's own domain, a state that cannot be; `EOPNOTSUPP`: it has other tables; `EFAULT`;
/// `ERESTART`.
pub(super) fn set_context<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    domain: DomainSlot,
    vcpu: u32,
    at: u64,
) -> CallResult {
    let slot = vcpu_of(call, domain, vcpu)?;
    if domain == call.domain {
        return Err(Errno::EINVAL);
    }
    if at == 0 {
        // To take its state away.
        return call.unsupported(DOMCTL, XEN_DOMCTL_SETVCPUCONTEXT.into(), Errno::EOPNOTSUPP);
    }
    let (state, reply) = (call.state, call.reply);
    let done = move |tx: &mut Tx<'static>| {
        go_on(state, tx, domain);
        reply.publish(tx, 0);
    };
    if state.domains.vcpu(slot).initialised.get() {
        return stopped(call, domain, |call| {
            vcpu_init::replace_state(call, domain, slot, Gva(at), done)?;
            Ok(Outcome::Replied)
        });
    }
    vcpu_init::initialise(call, domain, slot, Gva(at), done)?;
    Ok(Outcome::Replied)
}

fn entry(callback: &Callback) -> Entry {
    Entry { address: callback.address.get().0, mask: callback.mask.get() }
}

/// What a domain's vCPUs are shown of the machine-check architecture.
fn machine_check<M, A>(call: &Call<'_, M, A>, domain: DomainSlot) -> u64 {
    let hardware = call.state.domains.domain(domain).privileged.get();
    machine_check_capabilities(&call.state.policies.of(domain, hardware))
}

fn entries<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    mut op: Domctl,
    domain: DomainSlot,
    vcpu: u32,
) -> CallResult {
    let slot = vcpu_of(call, domain, vcpu).map_err(|_| Errno::ESRCH)?;
    if slot == call.vcpu {
        return Err(Errno::ESRCH);
    }
    let callbacks = &call.state.contexts.context(slot).callbacks;
    let capabilities = machine_check(call, domain);
    let found = Entries {
        syscall32: entry(&callbacks[usize::from(CALLBACKTYPE_SYSCALL32)]),
        sysenter: entry(&callbacks[usize::from(CALLBACKTYPE_SYSENTER)]),
        machine_check: Some(MachineCheck { capabilities, banks: Some([0; 2]) }),
    };
    encode_entries(&mut op, &found)?;
    call.reply_after(|tx| copy_back(tx, at, &op))
}

fn set_entries<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    domain: DomainSlot,
    vcpu: u32,
    entries: Option<Entries>,
) -> CallResult {
    let slot = vcpu_of(call, domain, vcpu).map_err(|_| Errno::ESRCH)?;
    if domain == call.domain {
        return Err(Errno::ESRCH);
    }
    let Entries { syscall32, sysenter, machine_check: check } = entries.ok_or(Errno::EINVAL)?;
    let lost = |check: MachineCheck| check.capabilities & !machine_check(call, domain) != 0;
    if !is_canonical(syscall32.address) || !is_canonical(sysenter.address) {
        return Err(Errno::EINVAL);
    }
    if check.is_some_and(lost) {
        return Err(Errno::EINVAL);
    }
    let callbacks = &call.state.contexts.context(slot).callbacks;
    let lock = call.state.domain_locks.of(domain);
    call.reply_after(|tx| {
        tx.lock(lock);
        for (kind, entry) in [(CALLBACKTYPE_SYSCALL32, syscall32), (CALLBACKTYPE_SYSENTER, sysenter)] {
            let callback = &callbacks[usize::from(kind)];
            tx.set(&callback.address, Gva(entry.address));
            tx.set(&callback.mask, entry.mask);
        }
        Ok(())
    })
}
