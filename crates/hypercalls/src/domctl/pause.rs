//! A domain stops and goes on.

use crate::call::{Call, CallResult};
use crate::shutdown::kick_all;
use core::sync::atomic::{Ordering, fence};
use domain::State;
use domains::{Domain, Life};
use guest_memory::GuestMemory;
use ids::DomainSlot;
use vault::{Apply, LockWord, Tx};
use xen_abi::Errno;

/// Pauses that are counted.
const MOST_PAUSES: u32 = 255;

/// Whether no CPU holds any register of a domain that may not run, nor will.
pub(super) fn is_off<M, A>(call: &Call<'_, M, A>, slot: DomainSlot) -> bool {
    // A CPU that takes a vCPU says so before it looks whether it still may run.
    fence(Ordering::SeqCst);
    !call.state.domains.vcpus_of(slot).any(|vcpu| call.cpus.hold(vcpu))
}

/// The record and the lock of a domain that the caller may stop.
///
/// # Errors
/// `EINVAL`: its own.
pub(super) fn another<M, A>(
    call: &Call<'_, M, A>,
    slot: DomainSlot,
) -> Result<(&'static Domain, &'static LockWord), Errno> {
    if slot == call.domain {
        return Err(Errno::EINVAL);
    }
    Ok((call.state.domains.domain(slot), call.state.domain_locks.of(slot)))
}

/// Sees that no CPU holds registers of a domain that runs, until it [goes on](go_on).
///
/// # Errors
/// `ERESTART`: its vCPUs are about to leave their CPUs.
fn halt<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
    record: &'static Domain,
    lock: &'static LockWord,
) -> Result<(), Errno> {
    let state = call.state;
    if record.may_run() {
        call.j.change(|tx| {
            tx.lock(lock);
            tx.set(&record.halting, true);
            kick_all(state, tx, slot);
        });
    }
    if is_off(call, slot) { Ok(()) } else { Err(Errno::ERESTART) }
}

/// Does `work` while no CPU holds registers of another domain's. The transaction that ends it lets the domain
/// [go on](go_on); when it is refused, that is done here.
///
/// # Errors
/// `EINVAL`: the caller's own; `ERESTART`: its vCPUs are about to leave their CPUs; what `work` says.
pub(super) fn stopped<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
    work: impl FnOnce(&mut Call<'_, M, A>) -> CallResult,
) -> CallResult {
    let state = call.state;
    let (record, lock) = another(call, slot)?;
    halt(call, slot, record, lock)?;
    let result = work(call);
    if result.is_err_and(|errno| errno != Errno::ERESTART) {
        call.j.change(|tx| go_on(state, tx, slot));
    }
    result
}

/// A domain that was [stopped] for a call goes on, if nothing else stops it.
pub(super) fn go_on(state: &'static State, tx: &mut Tx<'static>, slot: DomainSlot) {
    let record = state.domains.domain(slot);
    tx.lock(state.domain_locks.of(slot));
    if record.halting.get() {
        tx.set(&record.halting, false);
        kick_all(state, tx, slot);
    }
}

/// Pauses a domain once more. When this returns none of its vCPUs runs, and all their registers are in memory.
///
/// # Errors
/// `EINVAL`: the caller's own; `EOVERFLOW`: too often; `ERESTART`: its vCPUs are about to leave their CPUs.
pub(super) fn pause<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
) -> Result<(), Errno> {
    let reply = call.reply;
    let (record, lock) = another(call, slot)?;
    if record.pauses.get() >= MOST_PAUSES {
        return Err(Errno::EOVERFLOW);
    }
    halt(call, slot, record, lock)?;
    call.j.transaction(|tx| {
        tx.lock(lock);
        // Somebody else may have let it go on, or have paused it.
        if record.may_run() {
            return Err(Errno::ERESTART);
        }
        tx.set(&record.pauses, record.pauses.get() + 1);
        tx.set(&record.halting, false);
        reply.publish(tx, 0);
        Ok(())
    })
}

/// Takes one pause back; after the last one the domain goes on.
///
/// # Errors
/// `EINVAL`: the caller's own, or it is not paused.
pub(super) fn unpause<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
) -> Result<(), Errno> {
    let (state, reply) = (call.state, call.reply);
    let (record, lock) = another(call, slot)?;
    call.j.transaction(|tx| {
        tx.lock(lock);
        let left = record.pauses.get().checked_sub(1).ok_or(Errno::EINVAL)?;
        tx.set(&record.pauses, left);
        if left == 0 {
            state.policies.fix(tx, slot);
            kick_all(state, tx, slot);
        }
        reply.publish(tx, 0);
        Ok(())
    })
}

/// A domain that has shut down is alive again.
///
/// # Errors
/// `EINVAL`: the caller's own.
pub(super) fn resume<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
) -> Result<(), Errno> {
    let (state, reply) = (call.state, call.reply);
    let (record, lock) = another(call, slot)?;
    call.j.change(|tx| {
        tx.lock(lock);
        if record.life() == Life::Shutdown {
            record.set_life(tx, Life::Alive);
            tx.set(&record.shutdown, 0);
            kick_all(state, tx, slot);
        }
        reply.publish(tx, 0);
    });
    Ok(())
}
