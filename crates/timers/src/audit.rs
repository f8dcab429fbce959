//! Invariants, checked by code of their own.

use crate::queue::Derived;
use crate::record::Region;
use crate::runstate::State;

/// A broken invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A slot without a vCPU has something left in it.
    Dead(usize),
    /// A vCPU's deadlines contradict each other.
    Deadline(usize),
    /// A vCPU's time is not accounted for.
    Runstate(usize),
    /// The wall clock is none.
    Clock,
    /// A queue does not follow the records.
    Queue,
}

/// Checks every record, and the queues if given, with all outboxes empty. Bounded by the region's size.
///
/// # Errors
/// The first violation found.
pub fn audit(region: &Region, derived: Option<&Derived>) -> Result<(), Violation> {
    for (slot, vcpu) in region.vcpus.iter().enumerate() {
        let spent: u128 = vcpu.spent.iter().map(|time| u128::from(time.get())).sum();
        let [first, second] = &vcpu.watchdogs;
        let words = [&vcpu.singleshot, &vcpu.periodic, &vcpu.poll, &vcpu.period, first, second];
        let armed = words.map(|word| word.get());
        if !vcpu.live.get() {
            // Of one that was there, the times it ran stay.
            let unused = spent == 0 && vcpu.entered.get() == 0 && vcpu.state.get() == 0;
            let rests = unused || vcpu.state.get() == State::Offline as u32;
            let empty = armed == [0; 6] && vcpu.area.get().0 == 0;
            (empty && rests).then_some(()).ok_or(Violation::Dead(slot))?;
            continue;
        }
        if (armed[1] == 0) != (armed[3] == 0) || armed.iter().any(|at| *at > i64::MAX as u64) {
            return Err(Violation::Deadline(slot));
        }
        let age = vcpu.entered.get().checked_sub(vcpu.created.get());
        if vcpu.state.get() > 3 || age.map(u128::from) != Some(spent) {
            return Err(Violation::Runstate(slot));
        }
    }
    if region.clock.nanoseconds.get() >= 1_000_000_000 {
        return Err(Violation::Clock);
    }
    match derived {
        Some(derived) if !derived.agrees_with(region) => Err(Violation::Queue),
        _ => Ok(()),
    }
}
