//! `vcpu_op`: vCPUs come up and go down, their timers, and the areas they share with the hypervisor.

use crate::call::{Call, CallResult, Outcome, fault};
use crate::event_channel::{errno, hold, reclaim};
use crate::shutdown::shut_down;
use crate::vcpu_init;
use domains::{Vcpu, VcpuState};
use guest_memory::GuestMemory;
use ids::{Gva, Maddr, Mfn, VcpuId, VcpuSlot};
use vault::{Apply, Effect, kind};
use xen_abi::Errno;
use xen_abi::arch::{HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START};
use xen_abi::sched::SHUTDOWN_POWEROFF;
use xen_abi::vcpu::{
    RUNSTATE_BLOCKED, RUNSTATE_OFFLINE, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING, VCPU_SSHOTTMR_FUTURE,
    VCPUOP_DOWN, VCPUOP_GET_PHYSID, VCPUOP_GET_RUNSTATE_INFO, VCPUOP_INITIALISE, VCPUOP_IS_UP,
    VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, VCPUOP_REGISTER_VCPU_INFO, VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA,
    VCPUOP_SEND_NMI, VCPUOP_SET_PERIODIC_TIMER, VCPUOP_SET_SINGLESHOT_TIMER, VCPUOP_STOP_PERIODIC_TIMER,
    VCPUOP_STOP_SINGLESHOT_TIMER, VCPUOP_UP, VcpuRegisterRunstateMemoryArea, VcpuRegisterTimeMemoryArea,
    VcpuRegisterVcpuInfo, VcpuRunstateInfo, VcpuSetPeriodicTimer, VcpuSetSingleshotTimer,
};

/// `vcpu_time_info` within vcpu_info: offset and size.
const TIME_INFO: (u64, usize) = (32, 32);
/// Shortest period of a periodic timer, ns.
const MIN_PERIOD: u64 = 1_000_000;

/// The hypercall: command, vCPU number, argument.
pub(crate) fn vcpu_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [command, id, at, ..] = call.args;
    let id = VcpuId(id as u32);
    let vcpu = call.state.domains.vcpu_of(call.domain, id).ok_or(Errno::ENOENT)?;
    let record = call.state.domains.vcpu(vcpu);
    match command as u32 {
        VCPUOP_IS_UP => Ok(Outcome::Value((record.state() != VcpuState::Down).into())),
        VCPUOP_SET_SINGLESHOT_TIMER => set_singleshot(call, vcpu, at),
        VCPUOP_STOP_SINGLESHOT_TIMER => own(call, vcpu).and_then(|()| set_deadline(call, 0)),
        VCPUOP_INITIALISE => {
            let result = initialise(call, vcpu, at);
            call.restartable(result)
        }
        VCPUOP_UP => up(call, vcpu),
        VCPUOP_DOWN => down(call, vcpu),
        VCPUOP_GET_RUNSTATE_INFO => {
            let info = runstate(record, vcpu == call.vcpu, call.now);
            call.memory.write(Gva(at), &info).map_err(fault)?;
            Ok(Outcome::Value(0))
        }
        VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA => register_runstate(call, vcpu, at),
        VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA => register_time(call, vcpu, at),
        VCPUOP_STOP_PERIODIC_TIMER => Ok(Outcome::Value(0)),
        VCPUOP_SET_PERIODIC_TIMER => {
            // Periodic timers are not provided: every guest in use has one-shot timers.
            let op: VcpuSetPeriodicTimer = call.memory.read(Gva(at)).map_err(fault)?;
            Err(if op.period_ns < MIN_PERIOD { Errno::EINVAL } else { Errno::ENOSYS })
        }
        VCPUOP_REGISTER_VCPU_INFO => {
            let result = register_info(call, vcpu, id, at);
            call.restartable(result)
        }
        // Nothing delivers an NMI to a PV vCPU yet.
        VCPUOP_SEND_NMI if at == 0 => Err(Errno::ENOSYS),
        // Physical identifiers are for vCPUs that are pinned for good, which none is.
        VCPUOP_SEND_NMI | VCPUOP_GET_PHYSID => Err(Errno::EINVAL),
        _ => Err(Errno::ENOSYS),
    }
}

/// Refuses other vCPUs than the caller.
fn own<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, vcpu: VcpuSlot) -> Result<(), Errno> {
    if vcpu == call.vcpu { Ok(()) } else { Err(Errno::EINVAL) }
}

fn initialise<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    vcpu: VcpuSlot,
    at: u64,
) -> CallResult {
    if call.state.events(call.memory).vcpu_info(vcpu).is_none() {
        return Err(Errno::EINVAL);
    }
    let reply = call.reply;
    vcpu_init::initialise(call, call.domain, vcpu, Gva(at), |tx| reply.publish(tx, 0))?;
    Ok(Outcome::Replied)
}

fn up<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, vcpu: VcpuSlot) -> CallResult {
    let (record, lock) = (call.state.domains.vcpu(vcpu), call.state.domain_locks.of(call.domain));
    call.reply_after(|tx| {
        tx.lock(lock);
        if !record.initialised.get() {
            return Err(Errno::EINVAL);
        }
        if record.state() == VcpuState::Down {
            record.set_state(tx, VcpuState::Runnable);
            tx.publish(kick(vcpu));
        }
        Ok(())
    })
}

/// The last vCPU that goes down takes the domain with it.
fn down<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, vcpu: VcpuSlot) -> CallResult {
    let (state, memory, slot, reply) = (call.state, call.memory, call.domain, call.reply);
    let (domain, record) = (state.domains.domain(slot), state.domains.vcpu(vcpu));
    let first = domain.first_vcpu.get().0;
    Ok(call.j.change(|tx| {
        tx.lock(state.domain_locks.of(slot));
        reply.publish(tx, 0);
        if record.state() == VcpuState::Down {
            return Outcome::Replied;
        }
        let is_up = |other: u32| state.domains.vcpu(VcpuSlot(other)).state() != VcpuState::Down;
        if !(first..first + domain.vcpus.get()).any(|other| other != vcpu.0 && is_up(other)) {
            shut_down(state, memory, tx, slot, SHUTDOWN_POWEROFF);
            return Outcome::Shutdown;
        }
        record.set_state(tx, VcpuState::Down);
        tx.set(&record.poll_until, 0);
        tx.publish(kick(vcpu));
        Outcome::Replied
    }))
}

fn kick(vcpu: VcpuSlot) -> Effect {
    Effect { kind: kind::KICK, x: vcpu.0, a: 0, b: 0 }
}

/// `set_timer_op`: absolute time, ns; 0 stops the timer.
pub(crate) fn set_timer_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    /// Beyond this (13 days) a time is a wrapped one: Linux meant now.
    const FAR: u64 = 1 << 50;
    /// What it gets, ns from now; other guests mean never, so not at once.
    const SOON: u64 = 100_000_000;
    let [at, ..] = call.args;
    let wrapped = at >> 63 != 0 || at.saturating_sub(call.now) >= FAR;
    let deadline = if wrapped { call.now.saturating_add(SOON) } else { at };
    set_deadline(call, deadline)
}

fn set_singleshot<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    vcpu: VcpuSlot,
    at: u64,
) -> CallResult {
    own(call, vcpu)?;
    let op: VcpuSetSingleshotTimer = call.memory.read(Gva(at)).map_err(fault)?;
    if op.flags & VCPU_SSHOTTMR_FUTURE != 0 && op.timeout_abs_ns < call.now {
        return Err(Errno::ETIME);
    }
    // Zero is a time long past, not a stopped timer.
    set_deadline(call, op.timeout_abs_ns.max(1))
}

/// Sets the caller's timer; one in the past fires before the guest goes on.
fn set_deadline<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let (vcpu, record) = (call.vcpu, call.state.domains.vcpu(call.vcpu));
    call.reply_after(|tx| {
        tx.set(&record.deadline, at);
        tx.publish(Effect { kind: kind::TIMER, x: vcpu.0, a: 0, b: 0 });
        Ok(())
    })
}

/// How a vCPU has spent its time until `now`.
fn runstate(record: &Vcpu, runs: bool, now: u64) -> VcpuRunstateInfo {
    let state = match record.state() {
        VcpuState::Runnable if runs => RUNSTATE_RUNNING,
        VcpuState::Runnable => RUNSTATE_RUNNABLE,
        VcpuState::Blocked | VcpuState::Polling => RUNSTATE_BLOCKED,
        VcpuState::Down => RUNSTATE_OFFLINE,
    };
    let since = record.since.get();
    let mut time = record.spent.each_ref().map(|spent| spent.get());
    time[state as usize] += now.saturating_sub(since);
    VcpuRunstateInfo { state, _pad0: [0; 4], state_entry_time: since, time }
}

/// Refuses a guest address of `len` bytes that reaches into the hypervisor's range; whether it is mapped
/// shows when it is written.
fn check_area(at: u64, len: u64) -> Result<(), Errno> {
    let end = at.checked_add(len).ok_or(Errno::EFAULT)?;
    if end > HYPERVISOR_VIRT_START && at < HYPERVISOR_VIRT_END { Err(Errno::EFAULT) } else { Ok(()) }
}

fn register_runstate<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    vcpu: VcpuSlot,
    at: u64,
) -> CallResult {
    let op: VcpuRegisterRunstateMemoryArea = call.memory.read(Gva(at)).map_err(fault)?;
    check_area(op.addr, size_of::<VcpuRunstateInfo>() as u64)?;
    let record = call.state.domains.vcpu(vcpu);
    let info = runstate(record, vcpu == call.vcpu, call.now);
    // As on Xen an area that is not mapped now is no error: it is tried again at every change.
    let _ = call.memory.write(Gva(op.addr), &info);
    let lock = call.state.domain_locks.of(call.domain);
    call.reply_after(|tx| {
        tx.lock(lock);
        tx.set(&record.runstate_area, Gva(op.addr));
        Ok(())
    })
}

/// The clock is the same for all vCPUs and changes only with the machine: what the caller's vcpu_info says
/// is what the area shall say.
fn register_time<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    vcpu: VcpuSlot,
    at: u64,
) -> CallResult {
    let op: VcpuRegisterTimeMemoryArea = call.memory.read(Gva(at)).map_err(fault)?;
    let (offset, len) = TIME_INFO;
    check_area(op.addr, len as u64)?;
    if op.addr != 0 && call.info != Maddr(0) {
        let now: [u64; TIME_INFO.1 / 8] = call.memory.read_machine(Maddr(call.info.0 + offset));
        let _ = call.memory.write(Gva(op.addr), &now);
    }
    let record = call.state.domains.vcpu(vcpu);
    let lock = call.state.domain_locks.of(call.domain);
    call.reply_after(|tx| {
        tx.lock(lock);
        tx.set(&record.time_area, Gva(op.addr));
        Ok(())
    })
}

fn register_info<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    vcpu: VcpuSlot,
    id: VcpuId,
    at: u64,
) -> CallResult {
    let op: VcpuRegisterVcpuInfo = call.memory.read(Gva(at)).map_err(fault)?;
    let mfn = Mfn(op.mfn);
    reclaim(call, mfn)?;
    let (events, frames, slot) = (call.state.events(call.memory), call.state.frames, call.domain);
    let (record, own) = (call.state.domains.vcpu(vcpu), vcpu == call.vcpu);
    let lock = call.state.domain_locks.of(slot);
    call.reply_after(|tx| {
        events.set_vcpu_info(tx, slot, id.0, mfn, op.offset).map_err(errno)?;
        hold(&frames, tx, slot, mfn)?;
        tx.lock(lock);
        if own || record.state() == VcpuState::Down { Ok(()) } else { Err(Errno::EINVAL) }
    })
}
