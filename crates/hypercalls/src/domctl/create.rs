//! A domain comes into being: its slot, its vCPUs, how much memory it may have.

use crate::allocation::allocating;
use crate::call::{Call, timer_errno};
use crate::event_channel::{copy_back, errno};
use domain::{State, clear_shared_info};
use domains::{MAX_VCPUS_PER_DOMAIN, NewDomain, NoSlot};
use frames::NoMemory;
use grants::Limits;
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, FRAME_SIZE, VcpuId, VcpuSlot};
use toolstack_compat::change::{Changed, NewDomain as Wanted};
use vault::{Apply, Tx};
use xen_abi::Errno;
use xen_abi::domctl::Domctl;
use xen_abi::trace::{TRC_DOM0_DOM_ADD, TRC_SCHED_DOM_ADD};
use xen_abi::xen::DOMID_FIRST_RESERVED;
use zerocopy::IntoBytes;

/// vCPUs that one transaction makes.
const BATCH: u32 = 8;

/// Makes a domain with the number `id`, if that is one; the argument says which it got.
///
/// # Errors
/// `EINVAL`: it wants what there is not; `EEXIST`: another has that number; `ESRCH`: no such pool; `ENOMEM`; `ERESTART`.
pub(super) fn create<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: &mut Domctl,
    at: u64,
    id: u16,
    wanted: &Wanted,
) -> Result<(), Errno> {
    check(wanted)?;
    let limits = grant_limits(&call.state.grant_limits(), wanted)?;
    let id = (1..DOMID_FIRST_RESERVED).contains(&id).then_some(DomId(id));
    let (state, memory, reply) = (call.state, call.memory, call.reply);
    let mut handle = [0; 2];
    handle.as_mut_bytes().copy_from_slice(&wanted.handle);
    let told = call.told();
    let made = allocating(call, |tx| {
        let found = state.domains.find_slot(tx, state.domain_locks, id, wanted.vcpus);
        let found = found.map_err(|why| no_slot(state, why))?;
        let (slot, id_found, first_vcpu) = found;
        let shared_info = state.frames.allocate_shared(tx, slot).map_err(|NoMemory| Errno::ENOMEM)?;
        // Behind it: a list's lock comes after the heap's.
        state.frames.set_max_pages(tx, slot, 0);
        clear_shared_info(memory, shared_info.maddr());
        let new = NewDomain { id, vcpus: wanted.vcpus, handle, shared_info };
        state.domains.create(tx, found, &new);
        let new = events::NewDomain {
            domid: id_found,
            first_vcpu,
            max_vcpus: wanted.vcpus,
            max_port: wanted.highest_port,
            shared_info: shared_info.maddr(),
        };
        state.events(memory).create_domain(tx, slot, &new).map_err(errno)?;
        state.policies.reset(tx, slot);
        state.notices[usize::from(slot.0)].reset(tx);
        state.sched.create_domain(tx, slot, wanted.pool).map_err(|_| Errno::ESRCH)?;
        state.grants.open(tx, slot, limits);
        // No map is one that fits.
        let _ = state.maps[usize::from(slot.0)].set(tx, &[]);
        toolstack_compat::domctl::encode_change(op, &Changed::Created(id_found.0));
        copy_back(tx, at, op)?;
        reply.publish(tx, 0);
        Ok(slot)
    });
    made.map(|slot| {
        told.domain(TRC_SCHED_DOM_ADD, slot);
        told.domain(TRC_DOM0_DOM_ADD, slot);
    })
}

/// What Xen refuses on a machine without hardware virtualisation and IOMMU.
fn check(wanted: &Wanted) -> Result<(), Errno> {
    let wants = wanted.wants;
    let has_not = wants.hvm || wants.hap || wants.iommu || wants.nested || wants.counters;
    if has_not
        || !(1..=MAX_VCPUS_PER_DOMAIN).contains(&wanted.vcpus)
        || wanted.trace_bytes != 0
        || wanted.emulated != 0
    {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// The limits of its grant table.
fn grant_limits(most: &Limits, wanted: &Wanted) -> Result<Limits, Errno> {
    let limits = Limits {
        frames: wanted.grant_frames.unwrap_or(most.frames),
        maptrack_frames: wanted.maptrack_frames.unwrap_or(most.maptrack_frames),
        version: wanted.grant_version,
    };
    if most.allow(limits) { Ok(limits) } else { Err(Errno::EINVAL) }
}

fn no_slot(state: &State, why: NoSlot) -> Errno {
    match why {
        NoSlot::Taken => Errno::EEXIST,
        // One is on its way.
        NoSlot::Full if state.domains.has_gone() => Errno::ERESTART,
        NoSlot::Full => Errno::ENOMEM,
    }
}

/// Makes all vCPUs that the domain may have, down; those that there are stay as they are.
///
/// # Errors
/// `EINVAL`: another number, or the caller's own domain; `ERESTART`.
pub(super) fn vcpus<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
    count: u32,
) -> Result<(), Errno> {
    let (state, memory) = (call.state, call.memory);
    let record = state.domains.domain(slot);
    if slot == call.domain || count != record.most_vcpus.get() {
        return Err(Errno::EINVAL);
    }
    loop {
        let (now, reply) = (call.now(), call.reply);
        let all = call.j.transaction(|tx| {
            tx.lock(state.domain_locks.of(slot));
            if record.is_ending() {
                return Err(Errno::EINVAL);
            }
            let first = record.vcpus.get();
            let next = count.min(first + BATCH);
            for id in first..next {
                create_vcpu(state, memory, tx, slot, id, now)?;
            }
            tx.set(&record.vcpus, next);
            if next == count {
                reply.publish(tx, 0);
            }
            Ok(next == count)
        })?;
        if all {
            return Ok(());
        }
        call.j.spend().map_err(|_| Errno::ERESTART)?;
    }
}

fn create_vcpu<M: GuestMemory + 'static>(
    state: &'static State,
    memory: &'static M,
    tx: &mut Tx<'static>,
    domain: DomainSlot,
    id: u32,
    now: u64,
) -> Result<(), Errno> {
    let slot = VcpuSlot(state.domains.domain(domain).first_vcpu.get().0 + id);
    state.domains.create_vcpu(tx, domain, VcpuId(id));
    state.contexts.context(slot).reset(tx);
    state.events(memory).create_vcpu(tx, domain, id).map_err(errno)?;
    state.timers().create_vcpu(tx, slot, now).map_err(timer_errno)
}

/// The most memory that a domain may have; it keeps what it has.
pub(super) fn max_memory<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
    kib: u64,
) -> Result<(), Errno> {
    let (state, reply) = (call.state, call.reply);
    let pages = (kib / (FRAME_SIZE / 1024)).min(u64::from(u32::MAX) - 1);
    call.j.transaction(|tx| {
        // Its end begins under this lock. Nothing is written before: who asks for the limit takes none.
        tx.lock(state.domain_locks.of(slot));
        if state.domains.domain(slot).is_ending() {
            return Err(Errno::EINVAL);
        }
        state.frames.set_max_pages(tx, slot, pages);
        reply.publish(tx, 0);
        Ok(())
    })
}
