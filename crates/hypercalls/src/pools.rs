//! CPU pools: the parts of `sysctl` that are the scheduler's.

use crate::call::{Call, CallResult, fault};
use crate::domain_info;
use crate::event_channel::copy_back;
use crate::sysctl::SCHEDULER;
use domain::State;
use guest_memory::GuestMemory;
use ids::{CpuId, DomId, DomainSlot, Gva};
use sched::{Error, PoolSlot};
use toolstack_compat::control::{MachineAnswer as Answer, MachineRequest as Request, PoolChange};
use toolstack_compat::v4_17::sysctl::encode;
use vault::{Apply, Effect, Tx, kind};
use xen_abi::Errno;
use xen_abi::sysctl::Sysctl;

/// In place of a domain's slot: all domains.
pub(crate) const EVERYBODY: u32 = u32::MAX;

/// CPUs look at a domain's vCPUs again.
pub(crate) fn look_again(tx: &mut Tx<'_>, domain: u32) {
    tx.publish(Effect { kind: kind::SCHEDULE, x: domain, a: 0, b: 0 });
}

/// The errno of a refusal.
pub(crate) fn sched_errno(error: Error) -> Errno {
    match error {
        Error::NoSuchPool => Errno::ENOENT,
        Error::Invalid => Errno::EINVAL,
        Error::NotLoose => Errno::ENODEV,
        Error::NotIts => Errno::EADDRNOTAVAIL,
        Error::Busy => Errno::EBUSY,
        Error::Exists => Errno::EEXIST,
        Error::NoRoom => Errno::ENOMEM,
    }
}

/// Domains of a pool.
pub(crate) fn members(state: &State, pool: PoolSlot) -> impl Iterator<Item = DomainSlot> + '_ {
    domain_info::live(state).filter(move |domain| state.sched.pool_of(*domain) == pool)
}

/// Carries a change out and replies. `None`: the request is none of these.
pub(crate) fn change<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &Sysctl,
    request: Request,
) -> Option<CallResult> {
    Some(match request {
        Request::SetPoolParameters { pool, scheduler, shortest_turn } => {
            let region = call.state.sched;
            finish(call, op, |tx| {
                let slot = region.pool_by_id(pool).ok_or(Errno::ESRCH)?;
                if scheduler != SCHEDULER {
                    return Err(Errno::EINVAL);
                }
                region.set_shortest_turn(tx, slot, shortest_turn).map_err(sched_errno)?;
                Ok(None)
            })
        }
        Request::PoolChange { pool, change } => pool_change(call, op, pool, change),
        _ => return None,
    })
}

/// One transaction that does `change` and replies with what it says.
fn finish<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &Sysctl,
    change: impl FnOnce(&mut Tx<'static>) -> Result<Option<u32>, Errno>,
) -> CallResult {
    let (at, mut op) = (call.args[0], *op);
    call.reply_after(|tx| {
        if let Some(id) = change(tx)? {
            encode(&mut op, &Answer::PoolMade { id })?;
        }
        copy_back(tx, at, &op)
    })
}

fn pool_change<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &Sysctl,
    pool: Option<u32>,
    change: PoolChange,
) -> CallResult {
    let state = call.state;
    let is_used = |slot: PoolSlot| members(state, slot).next().is_some();
    // No pool has the number that stands for any.
    let id = pool.unwrap_or(u32::MAX);
    match change {
        // Nobody else's parameters are known.
        PoolChange::Create { scheduler } if scheduler != SCHEDULER => Err(Errno::ENOENT),
        PoolChange::Create { .. } => finish(call, op, |tx| {
            let made = state.sched.create_pool(tx, pool).map_err(sched_errno)?;
            Ok(Some(made))
        }),
        PoolChange::Destroy => finish(call, op, |tx| {
            state.sched.destroy_pool(tx, id, is_used).map_err(sched_errno)?;
            Ok(None)
        }),
        PoolChange::AddCpu { cpu } => finish(call, op, |tx| {
            state.sched.add_cpu(tx, id, cpu).map_err(sched_errno)?;
            look_again(tx, EVERYBODY);
            Ok(None)
        }),
        PoolChange::RemoveCpu { cpu } => remove_cpu(call, op, id, cpu),
        PoolChange::MoveDomain { domain } => move_domain(call, op, id, domain),
    }
}

/// A CPU leaves its pool. vCPUs that could run nowhere else of it may then run anywhere; one that has to stay there for
/// the time being keeps it.
fn remove_cpu<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &Sysctl,
    id: u32,
    cpu: Option<u32>,
) -> CallResult {
    let state = call.state;
    let is_used = |slot: PoolSlot| members(state, slot).next().is_some();
    let (slot, cpu) = state.sched.removable(id, cpu, is_used).map_err(sched_errno)?;
    let vcpus = || members(state, slot).flat_map(|domain| state.domains.vcpus_of(domain));
    if vcpus().any(|vcpu| state.domains.vcpu(vcpu).pin.get() == cpu.0 + 1) {
        return Err(Errno::EADDRINUSE);
    }
    while !call.j.change(|tx| state.sched.unbind(tx, (slot, cpu), vcpus())) {}
    finish(call, op, |tx| {
        state.sched.remove_cpu(tx, id, cpu, is_used).map_err(sched_errno)?;
        look_again(tx, EVERYBODY);
        Ok(None)
    })
}

/// A domain goes to another pool, where its vCPUs may run anywhere.
fn move_domain<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &Sysctl,
    id: u32,
    domain: u32,
) -> CallResult {
    let state = call.state;
    let number = u16::try_from(domain).map_err(|_| Errno::ESRCH)?;
    let slot = state.domains.by_id(DomId(number)).ok_or(Errno::ESRCH)?;
    if slot == call.domain {
        return Err(Errno::EPERM);
    }
    if state.sched.pool_id(state.sched.pool_of(slot)) == id {
        return finish(call, op, |_| Ok(None));
    }
    let pool = state.sched.pool_by_id(id).ok_or(Errno::ENOENT)?;
    if state.sched.cpus_of(pool).is_empty() {
        // It could run nowhere.
        return Err(Errno::ENOENT);
    }
    while !call.j.change(|tx| state.sched.forget_vcpus(tx, state.domains.vcpus_of(slot))) {}
    finish(call, op, |tx| {
        state.sched.move_domain(tx, slot, id).map_err(sched_errno)?;
        look_again(tx, slot.0.into());
        Ok(None)
    })
}

/// How long CPUs were idle.
pub(crate) fn idle_times<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    most: u32,
    buffer: u64,
) -> Result<Answer, Errno> {
    let count = (call.state.facts.cpus().len() as u32).min(most);
    let now = call.now();
    for cpu in 0..count {
        let at = buffer.wrapping_add(u64::from(cpu) * 8);
        call.memory.write(Gva(at), &call.state.sched.idle_time(CpuId(cpu), now)).map_err(fault)?;
    }
    Ok(Answer::Count(count))
}
