//! A CPU's turn: who runs, since when, and for how long.

use crate::pay::{price, time_for};
use ids::VcpuSlot;

/// No time.
pub(crate) const NEVER: u64 = u64::MAX;
/// How much more than its rival a vCPU may pay before the rival gets its turn, ns of its own time.
const MORE: u64 = 3_000_000;
/// The longest turn while others wait, ns.
const LONGEST: u64 = 10_000_000;
/// The shortest turn, ns, even if none is asked for (`CSCHED2_MIN_TIMER` of Xen).
const SHORTEST: u64 = 500_000;
/// What counts of the time that was not used while sleeping, ns.
const SAVED: u64 = 2_000_000;
/// What counts of the time that was had before others wanted it, ns: more than a turn.
const OWED: u64 = 20_000_000;

/// A CPU's turn. Derived: a start begins all anew.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Turn {
    /// Who runs.
    pub(crate) running: Option<VcpuSlot>,
    /// When the turn began; paid for until then.
    pub(crate) since: u64,
    /// The least that somebody who wanted this CPU and others wanted too had paid; never goes back.
    pub(crate) level: u128,
}

impl Turn {
    /// What a vCPU has paid, as far as it counts on this CPU.
    pub(crate) fn counts(&self, paid: u128, weight: u16) -> u128 {
        let least = self.level.saturating_sub(price(SAVED, weight));
        let most = self.level.saturating_add(price(OWED, weight));
        paid.clamp(least, most)
    }
}

/// How long a turn is, ns, of who has paid `paid`, if a rival has paid `rival`; `shortest` is the pool's, µs.
pub(crate) fn length(paid: u128, weight: u16, rival: u128, shortest: u32) -> u64 {
    let least = (u64::from(shortest) * 1000).max(SHORTEST);
    let level = time_for(rival.saturating_sub(paid), weight).saturating_add(MORE);
    // Further behind: as short as can be.
    let behind = time_for(paid.saturating_sub(rival), weight);
    level.saturating_sub(behind).clamp(least, LONGEST.max(least))
}
