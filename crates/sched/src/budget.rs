//! Caps: a domain with one has a budget of CPU time, which is filled up every period. Time beyond it is paid back.

use crate::Region;
use ids::DomainSlot;

/// A period, ns (`credit2_cap_period_ms` of Xen).
pub(crate) const PERIOD: u64 = 10_000_000;
/// The least of a budget that is worth a turn, ns.
const LEAST: u64 = 250_000;

/// A domain's budget. Derived: a start fills it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Budget {
    /// The cap that it is for; 0: none, and nothing else counts.
    cap: u16,
    /// ns left; below 0 what was taken too much.
    left: i64,
    /// When it is filled up next.
    fill: u64,
}

impl Budget {
    /// Brings it up to date.
    pub(crate) fn refresh(&mut self, region: &Region, domain: DomainSlot, now: u64) {
        let cap = region.cap(domain);
        if cap != self.cap {
            *self = Self { cap, left: per_period(cap), fill: now.saturating_add(PERIOD) };
        } else if cap != 0 && now >= self.fill {
            let periods = (now - self.fill) / PERIOD + 1;
            let more = per_period(cap).saturating_mul(i64::try_from(periods).unwrap_or(i64::MAX));
            self.left = self.left.saturating_add(more).min(per_period(cap));
            self.fill = self.fill.saturating_add(periods.saturating_mul(PERIOD));
        }
    }

    /// Whether there is none, or something of it left.
    pub(crate) fn has_some(&self) -> bool {
        self.cap == 0 || self.left > 0
    }

    /// When there will be something left again.
    pub(crate) fn comes_back(&self) -> u64 {
        let missing = self.left.min(0).unsigned_abs();
        let periods = missing / per_period(self.cap).unsigned_abs().max(1);
        self.fill.saturating_add(periods.saturating_mul(PERIOD))
    }

    /// Takes time off it.
    pub(crate) fn take(&mut self, ns: u64) {
        if self.cap != 0 {
            self.left = self.left.saturating_sub(i64::try_from(ns).unwrap_or(i64::MAX));
        }
    }

    /// The longest turn, ns, if `runners` vCPUs share what is left.
    pub(crate) fn longest(&self, runners: u32) -> u64 {
        if self.cap == 0 {
            return u64::MAX;
        }
        (self.left.max(0).unsigned_abs() / u64::from(runners.max(1))).max(LEAST)
    }
}

fn per_period(cap: u16) -> i64 {
    i64::from(cap) * (PERIOD / 100) as i64
}
