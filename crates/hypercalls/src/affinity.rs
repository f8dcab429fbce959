//! Where a domain's vCPUs run and how much they get: the parts of `domctl` that are the scheduler's.

use crate::bitmap::{clear_rest, get_bits, get_cpus, put_bitmap, reply_cpus};
use crate::call::{Call, CallResult};
use crate::domctl::vcpu_of;
use crate::event_channel::copy_back;
use crate::pools::{EVERYBODY, look_again, sched_errno};
use crate::sysctl::SCHEDULER;
use guest_memory::GuestMemory;
use ids::{DomainSlot, VcpuSlot};
use sched::CpuSet;
use toolstack_compat::control::{Bitmap, DomainRequest as Request};
use vault::{Apply, Effect, kind};
use xen_abi::Errno;
use xen_abi::domctl::Domctl;
use xen_abi::trace::TRC_SCHED_ADJDOM;

/// The NUMA node that there is.
const NODES: u64 = 1;

/// Carries a change out and replies. `None`: the request is none of these.
pub(crate) fn change<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &Domctl,
    request: Request,
    domain: DomainSlot,
) -> Option<CallResult> {
    Some(match request {
        Request::SetAffinity { vcpu, force, hard, soft } => match vcpu_of(call, domain, vcpu) {
            Ok(vcpu) => set_affinity(call, op, (vcpu, domain), force, [hard, soft]),
            Err(errno) => Err(errno),
        },
        Request::SetShare { scheduler, weight, cap } => set_share(call, op, domain, (scheduler, weight, cap)),
        Request::SetNodes { nodes } => set_nodes(call, op, domain, nodes),
        _ => return None,
    })
}

/// The affinity of a vCPU. While it has to stay on one CPU, that is all it may run on.
pub(crate) fn affinity<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    vcpu: VcpuSlot,
    [hard, soft]: [Option<Bitmap>; 2],
) -> Result<(), Errno> {
    let (region, pin) = (&call.state.sched, call.state.domains.vcpu(vcpu).pin.get());
    if let Some(map) = hard {
        let only = pin.checked_sub(1);
        let set = region.hard(vcpu);
        put_bitmap(call, map, |cpu| only.map_or_else(|| set.has(ids::CpuId(cpu)), |only| only == cpu))?;
    }
    if let Some(map) = soft {
        let set = region.soft(vcpu);
        put_bitmap(call, map, |cpu| set.has(ids::CpuId(cpu)))?;
    }
    Ok(())
}

/// Other CPUs for a vCPU. Told is what counts: of the hard affinity what is in the pool, of the soft one what is in
/// both.
fn set_affinity<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &Domctl,
    (vcpu, domain): (VcpuSlot, DomainSlot),
    force: bool,
    maps: [Option<Bitmap>; 2],
) -> CallResult {
    let (at, state) = (call.args[0], call.state);
    let (region, record) = (state.sched, state.domains.vcpu(vcpu));
    let held = record.pin.get() != 0 && !force;
    if held && maps != [None, None] {
        return Err(Errno::EBUSY);
    }
    let [hard, soft] = maps.map(|map| map.map(|map| get_cpus(call, map)));
    let (hard, soft) = (hard.transpose()?, soft.transpose()?);
    let pool = region.cpus_of(region.pool_of(domain));
    let new = hard.unwrap_or_else(|| region.hard(vcpu));
    if hard.is_some() && new.and(&pool).is_empty() {
        return Err(Errno::EINVAL);
    }
    maps.into_iter().flatten().try_for_each(|map| clear_rest(call, map))?;
    let told = [new.and(&pool), soft.unwrap_or(CpuSet::NONE).and(&new).and(&pool)];
    let (lock, op) = (state.domain_locks.of(domain), *op);
    call.reply_after(|tx| {
        if force && record.pin.get() != 0 {
            tx.lock(lock);
            tx.set(&record.pin, 0);
        }
        region.set_affinity(tx, (vcpu, domain), hard, soft, &CpuSet::ALL).map_err(sched_errno)?;
        tx.publish(Effect { kind: kind::KICK, x: vcpu.0, a: 0, b: 0 });
        for (map, told) in maps.iter().zip(&told) {
            map.map_or(Ok(()), |map| reply_cpus(tx, map, told))?;
        }
        copy_back(tx, at, &op)
    })
}

/// Another weight and cap. A cap is at most all that the domain's vCPUs could use.
fn set_share<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &Domctl,
    domain: DomainSlot,
    (scheduler, weight, cap): (u32, u16, u16),
) -> CallResult {
    let (at, region) = (call.args[0], call.state.sched);
    let most = call.state.domains.domain(domain).vcpus.get().saturating_mul(100);
    if scheduler != SCHEDULER || u32::from(cap) > most {
        return Err(Errno::EINVAL);
    }
    let op = *op;
    call.told().domain(TRC_SCHED_ADJDOM, domain);
    call.reply_after(|tx| {
        region.set_share(tx, domain, weight, cap);
        look_again(tx, domain.0.into());
        copy_back(tx, at, &op)
    })
}

/// The nodes of a domain's memory; all that there may ever be: any.
fn set_nodes<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &Domctl,
    domain: DomainSlot,
    nodes: Bitmap,
) -> CallResult {
    let (at, region) = (call.args[0], call.state.sched);
    let [nodes] = get_bits(call, nodes)?;
    if nodes & NODES == 0 {
        return Err(Errno::EINVAL);
    }
    let op = *op;
    call.reply_after(|tx| {
        region.set_nodes(tx, domain, Some(nodes).filter(|nodes| *nodes != u64::MAX));
        copy_back(tx, at, &op)
    })
}

/// The nodes of a domain's memory.
pub(crate) fn nodes<M, A>(call: &Call<'_, M, A>, domain: DomainSlot) -> u64 {
    call.state.sched.nodes(domain).unwrap_or(NODES)
}

const _: () = assert!(EVERYBODY > u16::MAX as u32, "no domain's slot");
