//! `sysctl` for tools beside `xl`: debug keys, power management, patches, and what this hypervisor has not.

use crate::call::{Call, CallResult, fault};
use crate::event_channel::copy_back;
use crate::keys;
use crate::traces;
use guest_memory::GuestMemory;
use ids::{CpuId, Gva};
use toolstack_compat::tools::{Hotplug, Patches, PowerSetting, States, ToolRequest as Request};
use toolstack_compat::v4_17::tools::{encode_deepest, encode_idle, encode_no_patches, encode_power};
use vault::Apply;
use xen_abi::Errno;
use xen_abi::hypercall::SYSCTL;
use xen_abi::sysctl::Sysctl;
use zerocopy::IntoBytes;

/// Carries a request out and replies.
pub(crate) fn tool<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    mut op: Sysctl,
    request: Request,
) -> CallResult {
    let at = call.args[0];
    match request {
        Request::Keys { at, count } => return keys::press(call, at, count),
        Request::Statistics { of, cpu } => {
            online(call, cpu)?;
            statistics(call, &mut op, of.ok_or(Errno::ENODEV)?, cpu)?;
        }
        Request::Power { setting, cpu } => {
            online(call, cpu)?;
            return power(call, &mut op, setting, cpu);
        }
        Request::Hotplug { change } => return hotplug(call, &op, change),
        Request::Patches { patches: Patches::List { first: 0, .. } } => encode_no_patches(&mut op)?,
        Request::Patches { patches: Patches::List { .. } } => return Err(Errno::EINVAL),
        Request::Patches { patches: Patches::Find } => return Err(Errno::ENOENT),
        Request::Patches { patches: Patches::Upload } => {
            return call.unsupported(SYSCTL, op.cmd.into(), Errno::EOPNOTSUPP);
        }
        Request::Patches { patches: Patches::Unknown } | Request::Coverage => return Err(Errno::EOPNOTSUPP),
        Request::Traces(request) => return traces::traces(call, op, request),
        // No processor's are used.
        Request::CacheMonitor | Request::CacheAllocation => return Err(Errno::ENODEV),
    }
    call.reply_after(|tx| copy_back(tx, at, &op))
}

fn online<M, A>(call: &Call<'_, M, A>, cpu: u32) -> Result<(), Errno> {
    if (cpu as usize) < call.state.facts.cpus().len() { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Idle states: working, and halted.
const IDLE_STATES: u32 = 2;

/// Frequencies are not managed. A CPU that has nothing to do halts, which is counted as one time, however often it was.
fn statistics<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    op: &mut Sysctl,
    of: States,
    cpu: u32,
) -> Result<(), Errno> {
    let (room, entered, spent) = match of {
        States::Frequency => return Err(Errno::ENODEV),
        States::OtherIdle => return Err(Errno::EINVAL),
        States::CountIdle => {
            encode_power(op, IDLE_STATES);
            return Ok(());
        }
        States::Idle { room, entered, spent } => (room.min(IDLE_STATES) as usize, entered, spent),
    };
    let now = call.now();
    let idle = call.state.sched.idle_time(CpuId(cpu), now);
    call.memory.copy_out(Gva(entered), [1_u64; 2][..room].as_bytes()).map_err(fault)?;
    call.memory.copy_out(Gva(spent), [now.saturating_sub(idle), idle][..room].as_bytes()).map_err(fault)?;
    encode_idle(op, IDLE_STATES, 0, idle);
    Ok(())
}

/// The deepest idle state that is told of while nobody has set one: halted. Of states within it there are any number.
const HALTED: [Option<u32>; 2] = [Some(1), None];

/// A limit as it is kept, and back; 0: nobody has set it.
const fn kept(limit: Option<u32>) -> u32 {
    match limit {
        None => 1,
        Some(state) => state.saturating_add(2),
    }
}

fn limit_of(word: u32, unset: Option<u32>) -> Option<u32> {
    match word {
        0 => unset,
        word => word.checked_sub(2),
    }
}

/// Settings: those of idle states and threads are kept, without effect on processors that only halt.
fn power<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &mut Sysctl,
    setting: PowerSetting,
    limit: u32,
) -> CallResult {
    let at = call.args[0];
    let (machine, lock) = (call.state.machine, call.state.machine_lock);
    match setting {
        PowerSetting::PackThreads(on) => {
            encode_power(op, machine.pack_threads.get().into());
            call.reply_after(|tx| {
                tx.lock(lock);
                tx.set(&machine.pack_threads, on);
                copy_back(tx, at, op)
            })
        }
        PowerSetting::Deepest | PowerSetting::SetDeepest(_) if limit > 1 => Err(Errno::EINVAL),
        PowerSetting::Deepest => {
            let word = machine.deepest[limit as usize].get();
            encode_deepest(op, limit_of(word, HALTED[limit as usize]));
            call.reply_after(|tx| copy_back(tx, at, op))
        }
        PowerSetting::SetDeepest(state) => call.reply_after(|tx| {
            tx.lock(lock);
            tx.set(&machine.deepest[limit as usize], kept(state));
            copy_back(tx, at, op)
        }),
        // No CPU's frequencies are known.
        PowerSetting::Turbo => Err(Errno::EACCES),
        PowerSetting::Frequency => Err(Errno::EINVAL),
        PowerSetting::Unknown => Err(Errno::ENOSYS),
    }
}

/// All CPUs that can run do, and none is taken away.
fn hotplug<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &Sysctl,
    change: Hotplug,
) -> CallResult {
    match change {
        Hotplug::Up(cpu) => online(call, cpu).and(Err(Errno::EEXIST)),
        Hotplug::Down(0) => Err(Errno::EINVAL),
        Hotplug::Down(cpu) => {
            online(call, cpu)?;
            call.unsupported(SYSCTL, op.cmd.into(), Errno::EOPNOTSUPP)
        }
        Hotplug::Other => Err(Errno::EOPNOTSUPP),
    }
}
