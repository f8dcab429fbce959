//! `sched_op`: giving up the CPU, waiting, and ending the domain.

use crate::call::{Call, CallResult, Crash, Outcome, fault, timer_errno};
use crate::event_channel::errno;
use crate::shutdown::shut_down;
use core::sync::atomic::{Ordering, fence};
use domains::VcpuState;
use guest_memory::GuestMemory;
use ids::{DomId, Gva};
use timers::WATCHDOGS;
use vault::{Apply, Effect, kind};
use xen_abi::Errno;
use xen_abi::sched::{
    SCHEDOP_BLOCK, SCHEDOP_PIN_OVERRIDE, SCHEDOP_POLL, SCHEDOP_REMOTE_SHUTDOWN, SCHEDOP_SHUTDOWN,
    SCHEDOP_SHUTDOWN_CODE, SCHEDOP_WATCHDOG, SCHEDOP_YIELD, SHUTDOWN_CRASH, SchedPinOverride, SchedPoll,
    SchedRemoteShutdown, SchedShutdown, SchedWatchdog,
};
use xen_abi::trace::{TRC_SCHED_BLOCK, TRC_SCHED_SHUTDOWN, TRC_SCHED_SHUTDOWN_CODE, TRC_SCHED_YIELD};

/// Ports one poll may name.
const MAX_POLL_PORTS: usize = 128;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// The hypercall: command, argument.
pub(crate) fn sched_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [command, at, ..] = call.args;
    match command as u32 {
        SCHEDOP_YIELD => {
            call.told().vcpu(TRC_SCHED_YIELD, call.vcpu, &[]);
            call.reply_after(|_| Ok(()))?;
            Ok(Outcome::Yield)
        }
        SCHEDOP_BLOCK => block(call),
        SCHEDOP_POLL => poll(call, at),
        SCHEDOP_SHUTDOWN => shutdown(call, at),
        SCHEDOP_SHUTDOWN_CODE => shutdown_code(call, at),
        SCHEDOP_REMOTE_SHUTDOWN => remote_shutdown(call, at),
        SCHEDOP_WATCHDOG => watchdog(call, at),
        SCHEDOP_PIN_OVERRIDE => pin_override(call, at),
        _ => Err(Errno::ENOSYS),
    }
}

/// Unmasks upcalls and waits for one, unless one is pending.
fn block<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let (vcpu, reply, state, now) = (call.vcpu, call.reply, call.state, call.now());
    let timers = state.timers();
    let events = state.events(call.memory);
    let (unmask, upcall) = (events.upcall_mask(vcpu, false), events.upcall_state(vcpu));
    let (record, lock, told) = (state.domains.vcpu(vcpu), state.domain_locks.of(call.domain), call.told());
    call.j.transaction(|tx| {
        if upcall.masked
            && let Some(unmask) = unmask
        {
            tx.publish(unmask);
        }
        reply.publish(tx, 0);
        if upcall.pending {
            return Ok(Outcome::Replied);
        }
        tx.lock(lock);
        // Another vCPU may have taken it down.
        if record.state() == VcpuState::Runnable {
            record.set_state(tx, VcpuState::Blocked);
            told.vcpu(TRC_SCHED_BLOCK, vcpu, &[]);
            told.runstate(vcpu, timers::State::Blocked);
            timers.set_runstate(tx, vcpu, timers::State::Blocked, now).map_err(timer_errno)?;
        }
        // An event may have come since; the wake-up it caused is spent if the vCPU ran on.
        tx.publish(Effect { kind: kind::KICK, x: vcpu.0, a: 0, b: 0 });
        Ok(Outcome::Block)
    })
}

/// Why a poll does not wait.
enum Ready {
    Now,
    Refused(Errno),
}

fn poll<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let op: SchedPoll = call.memory.read(Gva(at)).map_err(fault)?;
    let count = op.nr_ports as usize;
    let mut ports = [0u32; MAX_POLL_PORTS];
    for (index, port) in ports.get_mut(..count).ok_or(Errno::EINVAL)?.iter_mut().enumerate() {
        let at = op.ports.checked_add(4 * index as u64).ok_or(Errno::EFAULT)?;
        *port = call.memory.read(Gva(at)).map_err(fault)?;
    }
    let (vcpu, slot, reply, state, now) = (call.vcpu, call.domain, call.reply, call.state, call.now());
    let (events, timers) = (state.events(call.memory), state.timers());
    let (record, lock, told) = (state.domains.vcpu(vcpu), state.domain_locks.of(slot), call.told());
    let waits = call.j.transaction(|tx| {
        tx.lock(lock);
        if record.state() != VcpuState::Runnable {
            return Err(Ready::Now);
        }
        tx.set(&record.poll_port, if count == 1 { ports[0] } else { 0 });
        record.set_state(tx, VcpuState::Polling);
        told.runstate(vcpu, timers::State::Blocked);
        let timed = timers.set_poll(tx, vcpu, op.timeout);
        let waits = timed.and_then(|()| timers.set_runstate(tx, vcpu, timers::State::Blocked, now));
        waits.map_err(|e| Ready::Refused(timer_errno(e)))?;
        // Whoever raises a port makes it pending and then looks for vCPUs that poll; here it is the other
        // way round, so that one of the two sees the other.
        fence(Ordering::SeqCst);
        let upcall = events.upcall_state(vcpu);
        if upcall.pending && !upcall.masked {
            return Err(Ready::Now);
        }
        for port in &ports[..count] {
            match events.is_pending(slot, *port) {
                Ok(false) => {}
                Ok(true) => return Err(Ready::Now),
                Err(e) => return Err(Ready::Refused(errno(e))),
            }
        }
        told.vcpu(TRC_SCHED_BLOCK, vcpu, &[]);
        reply.publish(tx, 0);
        Ok(())
    });
    match waits {
        // Its CPU looks for another one to run. It is not woken for that: where it polls for several ports, or none, to be
        // woken ends the wait.
        Ok(()) => Ok(Outcome::Yield),
        Err(Ready::Now) => Ok(Outcome::Value(0)),
        Err(Ready::Refused(errno)) => Err(errno),
    }
}

fn shutdown<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let op: SchedShutdown = call.memory.read(Gva(at)).map_err(fault)?;
    call.told().vcpu(TRC_SCHED_SHUTDOWN, call.vcpu, &[op.reason]);
    if op.reason & 0xff == SHUTDOWN_CRASH {
        // The composition shows what the guest was doing.
        return Ok(Outcome::Crash(Crash::Asked));
    }
    let (state, memory, slot) = (call.state, call.memory, call.domain);
    call.reply_after(|tx| {
        shut_down(state, memory, tx, slot, op.reason);
        Ok(())
    })?;
    Ok(Outcome::Shutdown)
}

fn shutdown_code<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let op: SchedShutdown = call.memory.read(Gva(at)).map_err(fault)?;
    call.told().vcpu(TRC_SCHED_SHUTDOWN_CODE, call.vcpu, &[op.reason]);
    let (record, lock) = (call.state.domains.domain(call.domain), call.state.domain_locks.of(call.domain));
    call.reply_after(|tx| {
        tx.lock(lock);
        tx.set(&record.shutdown, (op.reason & 0xff) + 1);
        Ok(())
    })
}

fn remote_shutdown<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let op: SchedRemoteShutdown = call.memory.read(Gva(at)).map_err(fault)?;
    let slot = call.state.domains.by_id(DomId(op.domain_id)).ok_or(Errno::ESRCH)?;
    call.privileged()?;
    let (state, memory, own) = (call.state, call.memory, slot == call.domain);
    let outcome = call.reply_after(|tx| {
        shut_down(state, memory, tx, slot, op.reason);
        Ok(())
    })?;
    Ok(if own { Outcome::Shutdown } else { outcome })
}

/// Sets (id 0: a free one, whose id is the result), sets again or (timeout 0) clears a watchdog. A domain
/// whose watchdog bites is shut down (`SHUTDOWN_watchdog`).
fn watchdog<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let op: SchedWatchdog = call.memory.read(Gva(at)).map_err(fault)?;
    let id = op.id as usize;
    if id > WATCHDOGS || id == 0 && op.timeout == 0 {
        return Err(Errno::EINVAL);
    }
    let (state, reply, timers) = (call.state, call.reply, call.state.timers());
    let first = state.domains.domain(call.domain).first_vcpu.get();
    let due = call.now().saturating_add(u64::from(op.timeout) * NS_PER_SECOND);
    call.j.transaction(|tx| {
        tx.lock(state.domain_locks.of(call.domain));
        let set = timers.watchdogs(first).map_err(timer_errno)?;
        let (index, result) = match id.checked_sub(1) {
            None => {
                let free = set.iter().position(|at| *at == 0).ok_or(Errno::ENOSPC)?;
                (free, free as i64 + 1)
            }
            Some(index) if set[index] == 0 => return Err(Errno::EINVAL),
            Some(index) => (index, 0),
        };
        let at = if op.timeout == 0 { 0 } else { due };
        timers.set_watchdog(tx, first, index, at).map_err(timer_errno)?;
        reply.publish(tx, result);
        Ok(Outcome::Replied)
    })
}

/// The caller has to run on one CPU, which it does when this returns, until the same call with a negative number.
fn pin_override<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    call.privileged()?;
    let op: SchedPinOverride = call.memory.read(Gva(at)).map_err(fault)?;
    let cpus = call.state.facts.cpus().len();
    let pin = match u32::try_from(op.pcpu) {
        Err(_) => 0,
        Ok(cpu) if (cpu as usize) < cpus => cpu + 1,
        Ok(_) => return Err(Errno::EINVAL),
    };
    let (record, lock) = (call.state.domains.vcpu(call.vcpu), call.state.domain_locks.of(call.domain));
    call.reply_after(|tx| {
        tx.lock(lock);
        match (record.pin.get(), pin) {
            (0, 0) => return Err(Errno::EINVAL),
            (0, _) | (_, 0) => tx.set(&record.pin, pin),
            _ => return Err(Errno::EBUSY),
        }
        Ok(())
    })?;
    // Its CPU looks around, and sends it where it belongs.
    Ok(Outcome::Yield)
}
