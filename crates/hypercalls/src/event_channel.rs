//! `event_channel_op`: ports and their bindings, by the event channels' own crate.

use crate::call::{Call, CallResult, Outcome, fault, mmu_restart};
use crate::physdev::{boot_cpu, pirq_errno};
use events::{Error, Events, Status, Step};
use frames::{Frames, Got, Kind, Owner};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Gva, Mfn};
use vault::{Apply, Effect, Tx, kind};
use xen_abi::Errno;
use xen_abi::event_channel::{
    BIND_PIRQ__WILL_SHARE, EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_BIND_IPI,
    EVTCHNOP_BIND_PIRQ, EVTCHNOP_BIND_VCPU, EVTCHNOP_BIND_VIRQ, EVTCHNOP_CLOSE, EVTCHNOP_EXPAND_ARRAY,
    EVTCHNOP_INIT_CONTROL, EVTCHNOP_RESET, EVTCHNOP_SEND, EVTCHNOP_SET_PRIORITY, EVTCHNOP_STATUS,
    EVTCHNOP_UNMASK, EVTCHNSTAT_CLOSED, EVTCHNSTAT_INTERDOMAIN, EVTCHNSTAT_IPI, EVTCHNSTAT_PIRQ,
    EVTCHNSTAT_UNBOUND, EVTCHNSTAT_VIRQ, EvtchnAllocUnbound, EvtchnBindInterdomain, EvtchnBindIpi,
    EvtchnBindPirq, EvtchnBindVcpu, EvtchnBindVirq, EvtchnClose, EvtchnExpandArray, EvtchnInitControl,
    EvtchnReset, EvtchnSend, EvtchnSetPriority, EvtchnStatus, EvtchnUnmask,
};
use xen_abi::xen::DOMID_SELF;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The errno of a refused operation; `ERESTART`: it is run again.
pub(crate) fn errno(e: Error) -> Errno {
    match e {
        Error::NoSuchDomain => Errno::ESRCH,
        Error::NoSuchVcpu => Errno::ENOENT,
        Error::Invalid => Errno::EINVAL,
        Error::Exists => Errno::EEXIST,
        Error::NoSpace => Errno::ENOSPC,
        Error::NoMemory => Errno::ENOMEM,
        Error::BadOffset => Errno::ENXIO,
        Error::NoOperation => Errno::ENOSYS,
        Error::NotSupported => Errno::EOPNOTSUPP,
        Error::Again => Errno::ERESTART,
    }
}

/// The hypercall: command, argument.
pub(crate) fn event_channel_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [command, at, ..] = call.args;
    operation(call, command as u32, at)
}

/// The old form: the command stands in the argument, before the operation's own.
pub(crate) fn old_event_channel_op<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
) -> CallResult {
    let at = call.args[0];
    // As long as the longest of its operations.
    let [command, ..]: [u32; 7] = read(call, at)?;
    match command {
        EVTCHNOP_BIND_INTERDOMAIN..=EVTCHNOP_UNMASK => operation(call, command, at.wrapping_add(4)),
        _ => Err(Errno::ENOSYS),
    }
}

fn operation<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    command: u32,
    at: u64,
) -> CallResult {
    let result = match command {
        EVTCHNOP_SEND => send(call, at),
        EVTCHNOP_UNMASK => unmask(call, at),
        EVTCHNOP_STATUS => status(call, at),
        EVTCHNOP_RESET => reset(call, at),
        EVTCHNOP_INIT_CONTROL => init_control(call, at),
        EVTCHNOP_EXPAND_ARRAY => expand_array(call, at),
        EVTCHNOP_ALLOC_UNBOUND => answering(call, at, alloc_unbound),
        EVTCHNOP_BIND_INTERDOMAIN => answering(call, at, bind_interdomain),
        EVTCHNOP_BIND_VIRQ => answering(call, at, |events, call, tx, op: &mut EvtchnBindVirq| {
            op.port = events.bind_virq(tx, call.domain, op.virq, op.vcpu).map_err(errno)?;
            Ok(())
        }),
        EVTCHNOP_BIND_IPI => answering(call, at, |events, call, tx, op: &mut EvtchnBindIpi| {
            op.port = events.bind_ipi(tx, call.domain, op.vcpu).map_err(errno)?;
            Ok(())
        }),
        EVTCHNOP_BIND_PIRQ => bind_pirq(call, at),
        EVTCHNOP_CLOSE => close(call, at),
        EVTCHNOP_BIND_VCPU => plain(call, at, |events, slot, tx, op: &EvtchnBindVcpu| {
            events.bind_vcpu(tx, slot, op.port, op.vcpu)
        }),
        EVTCHNOP_SET_PRIORITY => plain(call, at, |events, slot, tx, op: &EvtchnSetPriority| {
            events.set_priority(tx, slot, op.port, op.priority)
        }),
        _ => Err(Errno::ENOSYS),
    };
    call.restartable(result)
}

fn read<M: GuestMemory + 'static, A, T: FromBytes + IntoBytes>(
    call: &Call<'_, M, A>,
    at: u64,
) -> Result<T, Errno> {
    call.memory.read(Gva(at)).map_err(fault)
}

/// The caller, as operations that answer see it.
struct Caller {
    domain: DomainSlot,
    id: DomId,
    privileged: bool,
    state: &'static domain::State,
}

impl Caller {
    fn of<M: 'static, A>(call: &Call<'_, M, A>) -> Self {
        let record = call.state.domains.domain(call.domain);
        let (id, privileged) = (record.id.get(), record.privileged.get());
        Self { domain: call.domain, id, privileged, state: call.state }
    }

    /// The number a guest may write as `DOMID_SELF`.
    fn number(&self, id: u16) -> DomId {
        if id == DOMID_SELF { self.id } else { DomId(id) }
    }

    /// The slot of any domain.
    fn slot(&self, id: u16) -> Result<DomainSlot, Errno> {
        self.state.domains.by_id(self.number(id)).ok_or(Errno::ESRCH)
    }

    /// The slot of a domain that the caller may act on.
    fn target(&self, id: u16) -> Result<DomainSlot, Errno> {
        let slot = self.slot(id)?;
        if slot == self.domain || self.privileged { Ok(slot) } else { Err(Errno::EPERM) }
    }
}

/// An operation whose argument goes back to the guest, with the results in it, by the commit that did it.
fn answering<M: GuestMemory + 'static, A: Apply, T: FromBytes + IntoBytes + Immutable>(
    call: &mut Call<'_, M, A>,
    at: u64,
    run: impl FnOnce(&Events<'static, M>, &Caller, &mut Tx<'static>, &mut T) -> Result<(), Errno>,
) -> CallResult {
    let mut op: T = read(call, at)?;
    let (events, caller) = (call.state.events(call.memory), Caller::of(call));
    call.reply_after(|tx| {
        run(&events, &caller, tx, &mut op)?;
        copy_back(tx, at, &op)
    })
}

/// An operation without results.
fn plain<M: GuestMemory + 'static, A: Apply, T: FromBytes + IntoBytes>(
    call: &mut Call<'_, M, A>,
    at: u64,
    run: impl FnOnce(&Events<'static, M>, DomainSlot, &mut Tx<'static>, &T) -> Result<(), Error>,
) -> CallResult {
    let op: T = read(call, at)?;
    let (events, slot) = (call.state.events(call.memory), call.domain);
    call.reply_after(|tx| run(&events, slot, tx, &op).map_err(errno))
}

/// Publishes a structure for a guest address.
pub(crate) fn copy_back<T: IntoBytes + Immutable + ?Sized>(
    tx: &mut Tx<'_>,
    to: u64,
    value: &T,
) -> Result<(), Errno> {
    let bytes = value.as_bytes();
    let offset = tx.keep_bytes(bytes).ok_or(Errno::ENOMEM)?;
    tx.publish(Effect { kind: kind::COPY_OUT, x: offset, a: to, b: bytes.len() as u64 });
    Ok(())
}

fn alloc_unbound<M: GuestMemory>(
    events: &Events<'static, M>,
    caller: &Caller,
    tx: &mut Tx<'static>,
    op: &mut EvtchnAllocUnbound,
) -> Result<(), Errno> {
    let slot = caller.target(op.dom)?;
    op.port = events.alloc_unbound(tx, slot, caller.number(op.remote_dom)).map_err(errno)?;
    Ok(())
}

fn bind_interdomain<M: GuestMemory>(
    events: &Events<'static, M>,
    caller: &Caller,
    tx: &mut Tx<'static>,
    op: &mut EvtchnBindInterdomain,
) -> Result<(), Errno> {
    let remote = caller.slot(op.remote_dom)?;
    op.local_port = events.bind_interdomain(tx, caller.domain, remote, op.remote_port).map_err(errno)?;
    Ok(())
}

/// A port for a physical interrupt, which comes from now on.
fn bind_pirq<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let mut op: EvtchnBindPirq = read(call, at)?;
    let (events, irqs, slot) = (call.state.events(call.memory), call.state.irqs(), call.domain);
    let dest = boot_cpu(call);
    call.reply_after(|tx| {
        op.port = events.bind_pirq(tx, slot, op.pirq).map_err(errno)?;
        let share = op.flags & BIND_PIRQ__WILL_SHARE != 0;
        let irq = irqs.bind(tx, slot, op.pirq, op.port, share).map_err(pirq_errno)?;
        irqs.set_affinity(tx, irq, dest).map_err(pirq_errno)?;
        copy_back(tx, at, &op)
    })
}

fn close<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let op: EvtchnClose = read(call, at)?;
    let (events, irqs, slot) = (call.state.events(call.memory), call.state.irqs(), call.domain);
    call.reply_after(|tx| {
        let closed = events.close(tx, slot, op.port).map_err(errno)?;
        // If the domain unmapped the interrupt before, its name may have another port by now.
        if let Some(pirq) = closed.pirq
            && irqs.port_of(slot, pirq) == Some(op.port)
        {
            // Refused only if it is being unmapped, which unbinds it as well.
            let _ = irqs.unbind(tx, slot, pirq);
        }
        Ok(())
    })
}

fn send<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let op: EvtchnSend = read(call, at)?;
    let (events, slot) = (call.state.events(call.memory), call.domain);
    call.reply_after(|tx| events.send(tx, slot, op.port).map_err(errno))
}

fn unmask<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let op: EvtchnUnmask = read(call, at)?;
    let kick = call.state.events(call.memory).unmask(call.domain, op.port).map_err(errno)?;
    call.reply_after(|tx| {
        if let Some(vcpu) = kick {
            tx.publish(Effect { kind: kind::KICK, x: vcpu.0, a: 0, b: 0 });
        }
        Ok(())
    })
}

fn status<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let mut op: EvtchnStatus = read(call, at)?;
    let slot = Caller::of(call).target(op.dom)?;
    let (status, vcpu) = call.state.events(call.memory).status(slot, op.port).map_err(errno)?;
    op.vcpu = vcpu;
    op.status = match status {
        Status::Closed => EVTCHNSTAT_CLOSED,
        Status::Unbound { domain } => {
            op.u[0] = domain.0.into();
            EVTCHNSTAT_UNBOUND
        }
        Status::Interdomain { domain, port } => {
            op.u = [domain.0.into(), port];
            EVTCHNSTAT_INTERDOMAIN
        }
        Status::Pirq(pirq) => {
            op.u[0] = pirq;
            EVTCHNSTAT_PIRQ
        }
        Status::Virq(virq) => {
            op.u[0] = virq;
            EVTCHNSTAT_VIRQ
        }
        Status::Ipi => EVTCHNSTAT_IPI,
    };
    call.memory.write(Gva(at), &op).map_err(fault)?;
    Ok(Outcome::Value(0))
}

/// One transaction a step, the last one with the reply; a durable cursor says how far it has come.
fn reset<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let op: EvtchnReset = read(call, at)?;
    let slot = Caller::of(call).target(op.dom)?;
    let (events, irqs, reply) = (call.state.events(call.memory), call.state.irqs(), call.reply);
    loop {
        call.j.spend().map_err(|_| Errno::ERESTART)?;
        let step = call.j.transaction(|tx| {
            let step = events.reset_step(tx, slot)?;
            match step {
                Step::Done => reply.publish(tx, 0),
                // Whatever port the interrupt has by now is closed, too.
                Step::Pirq(pirq) => drop(irqs.unbind(tx, slot, pirq)),
                Step::More => {}
            }
            Ok(step)
        });
        if step.map_err(errno)? == Step::Done {
            return Ok(Outcome::Replied);
        }
    }
}

fn init_control<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let mut op: EvtchnInitControl = read(call, at)?;
    let mfn = Mfn(op.control_gfn);
    reclaim(call, mfn)?;
    let (events, frames, slot) = (call.state.events(call.memory), call.state.frames, call.domain);
    op.link_bits = events::LINK_BITS;
    call.reply_after(|tx| {
        hold(&frames, tx, slot, mfn)?;
        events.init_control(tx, slot, op.vcpu, mfn, op.offset).map_err(errno)?;
        copy_back(tx, at, &op)
    })
}

fn expand_array<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let op: EvtchnExpandArray = read(call, at)?;
    let mfn = Mfn(op.array_gfn);
    reclaim(call, mfn)?;
    let (events, frames, slot) = (call.state.events(call.memory), call.state.frames, call.domain);
    call.reply_after(|tx| {
        events.expand_array(tx, slot, mfn).map_err(errno)?;
        hold(&frames, tx, slot, mfn)
    })
}

/// Lets go of what is left of a page table that nobody uses any more in a frame of the caller's.
pub(crate) fn reclaim<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    mfn: Mfn,
) -> Result<(), Errno> {
    let owner = call.state.frames.frame(mfn).map(|frame| frame.usage().owner());
    if owner != Some(Owner::domain(call.domain)) {
        return Err(Errno::EINVAL);
    }
    let mmu = call.state.mmu(call.memory);
    mmu.retire(call.j, mfn).map_err(mmu_restart)?;
    mmu.make_plain(call.j, mfn, Owner::domain(call.domain)).map_err(mmu_restart)
}

/// Takes the writable-typed and the general reference by which a frame shared with the guest is held.
pub(crate) fn hold(frames: &Frames, tx: &mut Tx<'static>, slot: DomainSlot, mfn: Mfn) -> Result<(), Errno> {
    let owner = Owner::domain(slot);
    match frames.get_typed(tx, mfn, owner, Kind::Writable) {
        Ok(Got::Taken) => frames.get_ref(tx, mfn, owner).map_err(|_| Errno::EINVAL),
        _ => Err(Errno::EINVAL),
    }
}
