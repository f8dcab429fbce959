//! The durable records.

use crate::Error;
use ids::{Gva, VcpuSlot};
use vault::{Arena, Durable, record};

record! {
    /// A vCPU's deadlines, its runstate, and where its kernel wants to be shown time.
    ///
    /// Lock: `Derived::vcpu`. Rebuild: the queue of its CPU ([`rebuild`](crate::rebuild)).
    pub struct VcpuTimer {
        /// It exists.
        pub(crate) live: Durable<bool>,
        /// Deadline of the single-shot timer; 0 none.
        pub(crate) singleshot: Durable<u64>,
        /// Period of the periodic timer; 0 none.
        pub(crate) period: Durable<u64>,
        /// When the periodic timer fires next; 0 none.
        pub(crate) periodic: Durable<u64>,
        /// When a poll for events gives up; 0 none.
        pub(crate) poll: Durable<u64>,
        /// When its domain's watchdogs bite; 0 for those not in use. The domain's vCPU 0 keeps them.
        pub(crate) watchdogs: [Durable<u64>; WATCHDOGS],
        /// Runstate: one of `RUNSTATE_*`.
        pub(crate) state: Durable<u32>,
        /// When that state was entered.
        pub(crate) entered: Durable<u64>,
        /// When the vCPU came into being.
        pub(crate) created: Durable<u64>,
        /// Time spent in each state.
        pub(crate) spent: [Durable<u64>; 4],
        /// Guest address of its runstate area; 0 none.
        pub(crate) area: Durable<Gva>,
    }
}

/// Watchdogs a domain has (`SCHEDOP_watchdog`).
pub const WATCHDOGS: usize = 2;

record! {
    /// The wall clock. Lock: `Derived::clock`. Rebuild: nothing.
    pub struct Clock {
        /// Seconds since 1970 (UTC) at system time 0.
        pub(crate) seconds: Durable<u64>,
        /// And nanoseconds.
        pub(crate) nanoseconds: Durable<u32>,
    }
}

/// The durable state of all timers.
#[derive(Clone, Copy)]
pub struct Region {
    pub(crate) vcpus: &'static [VcpuTimer],
    pub(crate) clock: &'static Clock,
}

impl core::fmt::Debug for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Region({})", self.vcpus.len())
    }
}

impl Region {
    /// Carves the region out; `None` when the arena is too small.
    pub fn carve(arena: &mut Arena, vcpus: usize) -> Option<Self> {
        u32::try_from(vcpus).ok()?;
        Some(Self { clock: arena.carve::<Clock>(1)?.first()?, vcpus: arena.carve(vcpus)? })
    }

    pub(crate) fn vcpu(&self, slot: VcpuSlot) -> Result<&'static VcpuTimer, Error> {
        let vcpu = self.vcpus.get(slot.0 as usize).ok_or(Error::NoSuchVcpu)?;
        if vcpu.live.get() { Ok(vcpu) } else { Err(Error::NoSuchVcpu) }
    }

    /// A vCPU's earliest deadline; `u64::MAX` when it has none.
    pub fn earliest_of(&self, slot: VcpuSlot) -> u64 {
        let Ok(vcpu) = self.vcpu(slot) else { return u64::MAX };
        let [first, second] = &vcpu.watchdogs;
        let deadlines = [&vcpu.singleshot, &vcpu.periodic, &vcpu.poll, first, second];
        // No deadline is 0, which so becomes the greatest.
        deadlines
            .into_iter()
            .fold(u64::MAX, |least, word| least.min(word.get().wrapping_sub(1)))
            .saturating_add(1)
    }
}
