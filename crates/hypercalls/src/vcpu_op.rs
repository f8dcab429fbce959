//! `vcpu_op`: vCPUs come up and go down, their timers, and the areas they share with the hypervisor.

use crate::call::{Call, CallResult, Outcome, fault, timer_errno};
use crate::domain_info::runstate;
use crate::event_channel::{errno, hold, reclaim};
use crate::shutdown::shut_down;
use crate::vcpu_init;
use domains::VcpuState;
use guest_memory::GuestMemory;
use ids::{Gva, Maddr, Mfn, VcpuId, VcpuSlot};
use timers::State;
use vault::{Apply, Effect, kind};
use xen_abi::Errno;
use xen_abi::arch::{HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START};
use xen_abi::sched::SHUTDOWN_POWEROFF;
use xen_abi::trace::TRC_SCHED_WAKE;
use xen_abi::vcpu::{
    VCPUOP_DOWN, VCPUOP_GET_PHYSID, VCPUOP_GET_RUNSTATE_INFO, VCPUOP_INITIALISE, VCPUOP_IS_UP,
    VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, VCPUOP_REGISTER_VCPU_INFO, VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA,
    VCPUOP_SEND_NMI, VCPUOP_SET_PERIODIC_TIMER, VCPUOP_SET_SINGLESHOT_TIMER, VCPUOP_STOP_PERIODIC_TIMER,
    VCPUOP_STOP_SINGLESHOT_TIMER, VCPUOP_UP, VcpuRegisterRunstateMemoryArea, VcpuRegisterTimeMemoryArea,
    VcpuRegisterVcpuInfo, VcpuRunstateInfo, VcpuSetPeriodicTimer, VcpuSetSingleshotTimer,
};

/// `vcpu_time_info` within vcpu_info: offset and size.
const TIME_INFO: (u64, usize) = (32, 32);

/// The hypercall: command, vCPU number, argument.
pub(crate) fn vcpu_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [command, id, at, ..] = call.args;
    let id = VcpuId(id as u32);
    let vcpu = call.state.domains.vcpu_of(call.domain, id).ok_or(Errno::ENOENT)?;
    let record = call.state.domains.vcpu(vcpu);
    match command as u32 {
        VCPUOP_IS_UP => Ok(Outcome::Value((record.state() != VcpuState::Down).into())),
        VCPUOP_SET_SINGLESHOT_TIMER => set_singleshot(call, vcpu, at),
        VCPUOP_STOP_SINGLESHOT_TIMER => own(call, vcpu).and_then(|()| stop_singleshot(call)),
        VCPUOP_INITIALISE => {
            let result = initialise(call, vcpu, at);
            call.restartable(result)
        }
        VCPUOP_UP => up(call, vcpu),
        VCPUOP_DOWN => down(call, vcpu),
        VCPUOP_GET_RUNSTATE_INFO => get_runstate(call, vcpu, at),
        VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA => register_runstate(call, vcpu, at),
        VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA => register_time(call, vcpu, at),
        VCPUOP_SET_PERIODIC_TIMER => set_periodic(call, vcpu, at),
        VCPUOP_STOP_PERIODIC_TIMER => {
            let timers = call.state.timers();
            call.reply_after(|tx| timers.stop_periodic(tx, vcpu).map_err(timer_errno))
        }
        VCPUOP_REGISTER_VCPU_INFO => {
            let result = register_info(call, vcpu, id, at);
            call.restartable(result)
        }
        VCPUOP_SEND_NMI => send_nmi(call, vcpu, at),
        VCPUOP_GET_PHYSID => get_physid(call, id, at),
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
    let (timers, now, told) = (call.state.timers(), call.now(), call.told());
    call.reply_after(|tx| {
        tx.lock(lock);
        if !record.initialised.get() {
            return Err(Errno::EINVAL);
        }
        if record.state() == VcpuState::Down {
            record.set_state(tx, VcpuState::Runnable);
            told.vcpu(TRC_SCHED_WAKE, vcpu, &[]);
            told.runstate(vcpu, State::Runnable);
            timers.set_runstate(tx, vcpu, State::Runnable, now).map_err(timer_errno)?;
            tx.publish(kick(vcpu));
        }
        Ok(())
    })
}

/// The last vCPU that goes down takes the domain with it.
fn down<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, vcpu: VcpuSlot) -> CallResult {
    let (state, memory, slot, reply) = (call.state, call.memory, call.domain, call.reply);
    let (timers, caller, now, told) = (state.timers(), call.vcpu, call.now(), call.told());
    let (domain, record) = (state.domains.domain(slot), state.domains.vcpu(vcpu));
    let first = domain.first_vcpu.get().0;
    call.j.transaction(|tx| {
        tx.lock(state.domain_locks.of(slot));
        reply.publish(tx, 0);
        if record.state() == VcpuState::Down {
            return Ok(Outcome::Replied);
        }
        let is_up = |other: u32| state.domains.vcpu(VcpuSlot(other)).state() != VcpuState::Down;
        if !(first..first + domain.vcpus.get()).any(|other| other != vcpu.0 && is_up(other)) {
            shut_down(state, memory, tx, slot, SHUTDOWN_POWEROFF);
            return Ok(Outcome::Shutdown);
        }
        record.set_state(tx, VcpuState::Down);
        timers.stop_poll(tx, vcpu).map_err(timer_errno)?;
        // Another one that runs is offline when its CPU lets go of it.
        let runs = timers.runstate(vcpu).map_err(timer_errno)?.state == State::Running as u32;
        if vcpu == caller || !runs {
            told.runstate(vcpu, State::Offline);
            timers.set_runstate(tx, vcpu, State::Offline, now).map_err(timer_errno)?;
        }
        tx.publish(kick(vcpu));
        Ok(Outcome::Replied)
    })
}

/// An NMI for a vCPU of the caller's domain; one that waits already is the same one.
fn send_nmi<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    vcpu: VcpuSlot,
    at: u64,
) -> CallResult {
    if at != 0 {
        return Err(Errno::EINVAL);
    }
    let (record, lock) = (call.state.domains.vcpu(vcpu), call.state.domain_locks.of(call.domain));
    call.reply_after(|tx| {
        tx.lock(lock);
        tx.set(&record.nmi_pending, true);
        tx.publish(kick(vcpu));
        Ok(())
    })
}

/// Identifiers of the CPU with the vCPU's number, for a vCPU of Dom0's that is pinned.
fn get_physid<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    id: VcpuId,
    at: u64,
) -> CallResult {
    let domain = call.state.domains.domain(call.domain);
    let cpu = call.state.facts.cpus().get(id.0 as usize);
    let slot = call.state.domains.vcpu_of(call.domain, id);
    let pinned = slot.is_some_and(|slot| call.state.sched.is_pinned(slot));
    let Some(cpu) = cpu.filter(|_| domain.privileged.get() && pinned) else {
        return Err(Errno::EINVAL);
    };
    let ids = u64::from(cpu.apic_id) | u64::from(cpu.acpi_id) << 32;
    call.memory.write(Gva(at), &ids).map_err(fault)?;
    Ok(Outcome::Value(0))
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
    let wrapped = at >> 63 != 0 || at.saturating_sub(call.now()) >= FAR;
    if at == 0 {
        return stop_singleshot(call);
    }
    let deadline = if wrapped { call.now().saturating_add(SOON) } else { at };
    let (timers, vcpu, now) = (call.state.timers(), call.vcpu, call.now());
    call.reply_after(|tx| timers.set_singleshot(tx, vcpu, deadline, 0, now).map_err(timer_errno))
}

fn set_singleshot<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    vcpu: VcpuSlot,
    at: u64,
) -> CallResult {
    own(call, vcpu)?;
    let op: VcpuSetSingleshotTimer = call.memory.read(Gva(at)).map_err(fault)?;
    let (timers, now) = (call.state.timers(), call.now());
    call.reply_after(|tx| {
        timers.set_singleshot(tx, vcpu, op.timeout_abs_ns, op.flags, now).map_err(timer_errno)
    })
}

fn stop_singleshot<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let (timers, vcpu) = (call.state.timers(), call.vcpu);
    call.reply_after(|tx| timers.stop_singleshot(tx, vcpu).map_err(timer_errno))
}

fn set_periodic<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    vcpu: VcpuSlot,
    at: u64,
) -> CallResult {
    let op: VcpuSetPeriodicTimer = call.memory.read(Gva(at)).map_err(fault)?;
    let (timers, now) = (call.state.timers(), call.now());
    call.reply_after(|tx| timers.set_periodic(tx, vcpu, op.period_ns, now).map_err(timer_errno))
}

/// How a vCPU has spent its time until now.
fn get_runstate<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    vcpu: VcpuSlot,
    at: u64,
) -> CallResult {
    let spent = runstate(call, vcpu)?.until(call.now());
    call.memory.copy_out(Gva(at), &spent.bytes(false)).map_err(fault)?;
    Ok(Outcome::Value(0))
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
    let present = runstate(call, vcpu)?;
    // The caller's own is shown as it will be at each change, another's up to now.
    let shown = if vcpu == call.vcpu { present } else { present.until(call.now()) };
    // As on Xen an area that is not mapped now is no error: it is tried again at every change.
    let _ = shown.publish(call.memory, Gva(op.addr), false);
    let timers = call.state.timers();
    call.reply_after(|tx| timers.set_area(tx, vcpu, Gva(op.addr)).map_err(timer_errno))
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
    if op.addr != 0
        && let Some(info) = call.state.events(call.memory).vcpu_info(call.vcpu)
    {
        let now: [u64; TIME_INFO.1 / 8] = call.memory.read_machine(Maddr(info.0 + offset));
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
