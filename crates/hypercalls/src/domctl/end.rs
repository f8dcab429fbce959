//! A domain's end: what it has goes, step by step, each step a few transactions; then it is dead, gone when
//! nobody holds frames of its any more, and its slot is given up when no CPU can be at work with it.
//!
//! A step that was cut is found where it stands: every part knows what is left of it.

use super::pause::{another, is_off};
use crate::call::{Call, mmu_restart, timer_errno};
use crate::event_channel::errno;
use crate::physdev::pirq_errno;
use crate::shutdown::kick_all;
use crate::vcpu_init;
use core::sync::atomic::{Ordering, fence};
use domain::State;
use domains::Life;
use events::Step;
use frames::{Leaving, Owner};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Mfn};
use pv_mmu::Subject;
use vault::{Apply, Tx};
use xen_abi::Errno;
use xen_abi::trace::{TRC_DOM0_DOM_REM, TRC_SCHED_DOM_REM};
use xen_abi::xen::VIRQ_DOM_EXC;

/// Destroys a domain.
///
/// # Errors
/// `EINVAL`: the caller's own; `ERESTART`: the call is run again for the rest.
pub(super) fn destroy<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
) -> Result<(), Errno> {
    another(call, slot)?;
    begin(call, slot);
    if !is_off(call, slot) {
        return Err(Errno::ERESTART);
    }
    end_events(call, slot)?;
    end_grants(call, slot)?;
    end_interrupts(call, slot)?;
    end_vcpus(call, slot)?;
    end_memory(call, slot)?;
    let (state, memory, reply, told) = (call.state, call.memory, call.reply, call.told());
    call.j.change(|tx| {
        told.domain(TRC_SCHED_DOM_REM, slot);
        told.domain(TRC_DOM0_DOM_REM, slot);
        if state.domains.bury(tx, state.domain_locks, slot) {
            tell_dom0(state, memory, tx);
        }
        reply.publish(tx, 0);
    });
    Ok(())
}

fn tell_dom0<M: GuestMemory>(state: &'static State, memory: &'static M, tx: &mut Tx<'static>) {
    if let Some(event) = state.events(memory).global_virq_event(VIRQ_DOM_EXC) {
        tx.publish(event);
    }
}

/// It runs no more, and gets no more memory.
fn begin<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, slot: DomainSlot) {
    let state = call.state;
    let record = state.domains.domain(slot);
    call.j.change(|tx| {
        tx.lock(state.domain_locks.of(slot));
        // No claim of 0 is refused. The limit comes behind it: a list's lock comes after the heap's.
        let _ = state.frames.claim(tx, slot, 0);
        state.frames.set_max_pages(tx, slot, 0);
        if !record.is_ending() {
            record.set_life(tx, Life::Dying);
            kick_all(state, tx, slot);
        }
    });
}

/// Pays for a step.
fn spend<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> Result<(), Errno> {
    call.j.spend().map_err(|_| Errno::ERESTART)
}

fn end_events<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
) -> Result<(), Errno> {
    let (events, irqs) = (call.state.events(call.memory), call.state.irqs());
    loop {
        let step = call.j.transaction(|tx| {
            let step = events.teardown_step(tx, slot)?;
            if let Step::Pirq(pirq) = step {
                // Whatever port the interrupt has by now is closed, too.
                let _ = irqs.unbind(tx, slot, pirq);
            }
            Ok(step)
        });
        if step.map_err(errno)? == Step::Done {
            return Ok(());
        }
        spend(call)?;
    }
}

/// What it maps of others', and its table. What others map of its stays mapped.
fn end_grants<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
) -> Result<(), Errno> {
    let (grants, frames) = (call.state.grants, call.state.frames);
    call.j.change(|tx| grants.close(tx, slot));
    while call.j.change(|tx| grants.release_mappings(tx, slot)) {
        spend(call)?;
    }
    for vcpu in call.state.domains.vcpus_of(slot) {
        call.j.change(|tx| grants.forget_waiting(tx, vcpu));
    }
    while call.j.change(|tx| grants.release_frames(tx, frames, slot)) {
        spend(call)?;
    }
    Ok(())
}

fn end_interrupts<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
) -> Result<(), Errno> {
    let irqs = call.state.irqs();
    while !call.j.transaction(|tx| irqs.teardown_step(tx, slot)).map_err(pirq_errno)? {
        spend(call)?;
    }
    Ok(())
}

/// Page tables, descriptor tables and deadlines of vCPUs.
fn end_vcpus<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
) -> Result<(), Errno> {
    for vcpu in call.state.domains.vcpus_of(slot) {
        if vcpu_init::end(call, slot, vcpu)? {
            spend(call)?;
        }
    }
    let (sched, domains) = (call.state.sched, call.state.domains);
    while !call.j.change(|tx| sched.forget_vcpus(tx, domains.vcpus_of(slot))) {
        spend(call)?;
    }
    let (timers, record) = (call.state.timers(), call.state.domains.domain(slot));
    let first = record.first_vcpu.get().0;
    let all = first..first + record.vcpus.get();
    while !call.j.transaction(|tx| timers.teardown_step(tx, all.clone())).map_err(timer_errno)? {
        spend(call)?;
    }
    Ok(())
}

/// All its frames, those that the hypervisor shared with it included.
fn end_memory<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
) -> Result<(), Errno> {
    let (state, frames) = (call.state, call.state.frames);
    let record = state.domains.domain(slot);
    call.j.change(|tx| {
        // Before it is read: another processor may be ending the domain as well.
        tx.lock(state.domain_locks.of(slot));
        let page = record.shared_info.get();
        if page != Mfn(0) {
            frames.leave_shared(tx, slot, page);
            tx.set(&record.shared_info, Mfn(0));
        }
    });
    loop {
        match call.j.change(|tx| frames.leave_step(tx, slot)) {
            Leaving::Done => return Ok(()),
            Leaving::More => spend(call)?,
            Leaving::Table(mfn) => {
                end_table(call, slot, mfn)?;
                spend(call)?;
            }
        }
    }
}

/// Unpins a table, or unvalidates it.
fn end_table<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
    mfn: Mfn,
) -> Result<(), Errno> {
    let owner = Owner::domain(slot);
    let io = call.state.domains.domain(slot).privileged.get();
    let subject = Subject { tables: owner, leaves: owner, io };
    let mmu = call.state.mmu(call.memory);
    let pinned = call.state.frames.frame(mfn).is_some_and(|frame| frame.usage().is_pinned());
    let done = if pinned { mmu.unpin(call.j, mfn, subject, |_| ()) } else { mmu.reclaim(call.j, mfn) };
    match done.map_err(mmu_restart) {
        // Another processor has unpinned it meanwhile.
        Err(Errno::EINVAL) => Ok(()),
        done => done,
    }
}

/// A dead domain of which nobody holds a frame any more.
pub fn find_dead(state: &State) -> Option<DomainSlot> {
    let gone = |slot: &DomainSlot| {
        state.domains.domain(*slot).life() == Life::Dead
            && state.frames.list(*slot).pages() == 0
            && state.grants.is_free(*slot)
    };
    (0..state.domains.domains.len()).filter_map(|slot| u16::try_from(slot).ok()).map(DomainSlot).find(gone)
}

/// Nobody finds it by its number any more; Dom0 is told.
pub fn forget_dead<M: GuestMemory>(
    state: &'static State,
    memory: &'static M,
    tx: &mut Tx<'static>,
    slot: DomainSlot,
) {
    if state.domains.forget(tx, state.domain_locks, slot) {
        tell_dom0(state, memory, tx);
    }
}

/// Gives up the slots of domains that are gone, one in a transaction. `others_done` is asked with the lock held that such
/// domains come under: whether each other CPU's log is closed, or was since. False: there is none to give up now.
pub fn remove_gone(state: &'static State, tx: &mut Tx<'static>, others_done: impl FnOnce() -> bool) -> bool {
    tx.lock(&state.domain_locks.control);
    let gone = state.domains.domains.iter().position(|domain| domain.life() == Life::Gone);
    let Some(slot) = gone.and_then(|slot| u16::try_from(slot).ok()).map(DomainSlot) else { return false };
    fence(Ordering::SeqCst);
    if !others_done() {
        return false;
    }
    state.frames.end_list(tx, slot);
    state.sched.forget_domain(tx, slot);
    state.domains.remove(tx, state.domain_locks, slot);
    true
}
