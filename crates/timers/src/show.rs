//! Time pages: words that a guest reads under a version, odd while they change.

use crate::{TimeScale, WallClock};
use guest_memory::GuestMemory;
use ids::Maddr;

/// `XEN_PVCLOCK_TSC_STABLE_BIT`: time stamps of all CPUs agree.
pub const TSC_STABLE: u8 = 1;

const WC_VERSION: u64 = 3072;
const WC_SEC: u64 = 3076;
const WC_NSEC: u64 = 3080;
const WC_SEC_HI: u64 = 3084;

/// The contents of a vcpu_time_info.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeInfo {
    /// Time stamp of the reference point.
    pub tsc_timestamp: u64,
    /// System time of the reference point.
    pub system_time: u64,
    /// Scale from there on.
    pub scale: TimeScale,
    /// [`TSC_STABLE`] or 0.
    pub flags: u8,
}

impl TimeScale {
    /// The time page whose reference point is system time 0. What a guest computes from it never jumps
    /// against what it computed before, and is what the hypervisor computes. It never changes.
    pub const fn info(self, flags: u8) -> TimeInfo {
        TimeInfo { tsc_timestamp: 0, system_time: 0, scale: self, flags }
    }
}

/// The odd version under which to write, whatever was left there.
fn begin(mem: &impl GuestMemory, version: Maddr) -> u32 {
    let odd = mem.load32(version).wrapping_add(1) | 1;
    mem.store32(version, odd);
    odd
}

/// Writes a vcpu_time_info at `at` (8-aligned; 32 bytes at vcpu_info + 32). It may be cut short anywhere, and
/// is then repaired by publishing again: an odd version left behind is followed by another odd one.
pub fn publish_time(mem: &impl GuestMemory, at: Maddr, info: &TimeInfo) {
    let odd = begin(mem, at);
    mem.store64(Maddr(at.0 + 8), info.tsc_timestamp);
    mem.store64(Maddr(at.0 + 16), info.system_time);
    let tail = u64::from(info.scale.shift as u8) | u64::from(info.flags) << 8;
    mem.store64(Maddr(at.0 + 24), u64::from(info.scale.mul_frac) | tail << 32);
    mem.store32(at, odd.wrapping_add(1));
}

/// Writes the wall clock into the shared_info page at `shared_info`. Repaired as [`publish_time`] is.
pub fn publish_wall_clock(mem: &impl GuestMemory, shared_info: Maddr, clock: &WallClock) {
    let at = |offset: u64| Maddr(shared_info.0 + offset);
    let odd = begin(mem, at(WC_VERSION));
    mem.store32(at(WC_SEC), clock.seconds as u32);
    mem.store32(at(WC_NSEC), clock.nanoseconds);
    mem.store32(at(WC_SEC_HI), (clock.seconds >> 32) as u32);
    mem.store32(at(WC_VERSION), odd.wrapping_add(1));
}
