//! Invariants of the durable records, checked by code of their own.

use crate::record::{NO_POOL, Region};
use ids::DomainSlot;

/// A broken invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A CPU is in a pool that there is not.
    Cpu(usize),
    /// Two pools have this number.
    Pool(u32),
    /// A domain is in a pool that there is not.
    Domain(usize),
    /// An affinity has CPUs that there are not, but not all of them.
    Affinity(usize),
}

/// Checks every record, with all outboxes empty. Bounded by the region's size.
///
/// # Errors
/// The first violation found.
pub fn audit(region: &Region, is_live: impl Fn(DomainSlot) -> bool) -> Result<(), Violation> {
    let ids: alloc::vec::Vec<u32> = region.pools.iter().map(|pool| pool.id.get()).collect();
    if ids.first().is_some_and(|id| *id != 0) {
        return Err(Violation::Pool(0));
    }
    let is_pool = |slot: u32| slot == 0 || ids.get(slot as usize).is_some_and(|id| *id != 0);
    for (index, id) in ids.iter().enumerate().filter(|(_, id)| **id != 0) {
        if ids[..index].contains(id) {
            return Err(Violation::Pool(*id));
        }
    }
    for (number, cpu) in region.cpus.iter().enumerate() {
        if cpu.pool.get() != NO_POOL && !is_pool(cpu.pool.get()) {
            return Err(Violation::Cpu(number));
        }
    }
    for (slot, share) in region.shares.iter().enumerate() {
        if is_live(DomainSlot(slot as u16)) && !is_pool(share.pool.get()) {
            return Err(Violation::Domain(slot));
        }
    }
    for (slot, vcpu) in region.vcpus.iter().enumerate() {
        for words in [&vcpu.not_hard, &vcpu.not_soft] {
            let beyond = |bit: usize| bit >= region.cpus.len();
            let set = |bit: usize| words[bit / 64].get() >> (bit % 64) & 1 != 0;
            let all = (0..crate::MAX_CPUS as usize).filter(|bit| beyond(*bit));
            let clear = all.clone().all(|bit| !set(bit));
            if !clear && !all.clone().all(set) {
                return Err(Violation::Affinity(slot));
            }
        }
    }
    Ok(())
}
