//! `sysctl` for tools beside `xl`: debug keys, power management, patches, and what this hypervisor has not.

use crate::call::{Call, CallResult};
use crate::event_channel::copy_back;
use crate::keys;
use guest_memory::GuestMemory;
use toolstack_compat::tools::{Hotplug, Patches, PowerSetting, States, ToolRequest as Request};
use toolstack_compat::v4_17::tools::{encode_deepest, encode_no_patches, encode_power};
use vault::Apply;
use xen_abi::Errno;
use xen_abi::hypercall::SYSCTL;
use xen_abi::sysctl::Sysctl;

/// Carries a request out and replies.
pub(crate) fn tool<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    mut op: Sysctl,
    request: Request,
) -> CallResult {
    let at = call.args[0];
    match request {
        Request::Keys { at, count } => return keys::press(call, at, count),
        Request::Statistics { of, count, cpu } => {
            online(call, cpu)?;
            statistics(of, count)?;
            encode_power(&mut op, 0);
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
        // No processor's are used.
        Request::CacheMonitor | Request::CacheAllocation => return Err(Errno::ENODEV),
    }
    call.reply_after(|tx| copy_back(tx, at, &op))
}

fn online<M, A>(call: &Call<'_, M, A>, cpu: u32) -> Result<(), Errno> {
    if (cpu as usize) < call.state.facts.cpus().len() { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Frequencies are not managed; CPUs wait by HLT, which counts as no state of ACPI's.
fn statistics(of: Option<States>, count: bool) -> Result<(), Errno> {
    match of {
        Some(States::Idle) if count => Ok(()),
        Some(States::Idle) => Err(Errno::EINVAL),
        Some(States::Frequency) | None => Err(Errno::ENODEV),
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
            encode_deepest(op, machine.deepest[limit as usize].get().checked_sub(1));
            call.reply_after(|tx| copy_back(tx, at, op))
        }
        PowerSetting::SetDeepest(state) => call.reply_after(|tx| {
            tx.lock(lock);
            tx.set(&machine.deepest[limit as usize], state.map_or(0, |state| state.saturating_add(1)));
            copy_back(tx, at, op)
        }),
        // No CPU's frequencies are known.
        PowerSetting::Turbo => Err(Errno::EACCES),
        PowerSetting::Frequency | PowerSetting::Unknown => Err(Errno::EINVAL),
    }
}

/// All CPUs that can run do, and none is taken away.
fn hotplug<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &Sysctl,
    change: Hotplug,
) -> CallResult {
    match change {
        Hotplug::Up(_) | Hotplug::Down(0) => Err(Errno::EINVAL),
        Hotplug::Down(cpu) => {
            online(call, cpu)?;
            call.unsupported(SYSCTL, op.cmd.into(), Errno::EOPNOTSUPP)
        }
        Hotplug::Other => Err(Errno::EOPNOTSUPP),
    }
}
