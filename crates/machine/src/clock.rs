//! How fast the time stamp counter and the APIC timer run.
#![expect(unsafe_code, reason = "RDTSC")]

use crate::apic::LocalApic;
use crate::hpet::Hpet;
use crate::pit;
use crate::pm_timer::{self, PmTimer};

/// The time stamp counter, read after everything before it (Intel SDM volume 2, RDTSC).
#[inline]
pub fn tsc() -> u64 {
    // SAFETY: a fence.
    unsafe { core::arch::asm!("lfence", options(nostack, preserves_flags)) };
    // SAFETY: ring 0, and CR4.TSD is off.
    unsafe { x86::time::rdtsc() }
}

/// True if the counter runs at one rate in all power states (CPUID 0x80000007 EDX bit 8).
pub fn tsc_is_invariant() -> bool {
    raw_cpuid::CpuId::new().get_advanced_power_mgmt_info().is_some_and(|info| info.has_invariant_tsc())
}

/// A counter of known rate.
#[derive(Clone, Copy, Debug)]
pub enum Reference {
    /// The high precision event timer.
    Hpet(Hpet),
    /// The ACPI timer.
    PmTimer(PmTimer),
}

impl Reference {
    /// The counter and the bits of it that count.
    fn read(self) -> u32 {
        match self {
            Self::Hpet(hpet) => hpet.counter(),
            Self::PmTimer(timer) => timer.counter(),
        }
    }

    fn nanoseconds(self, from: u32, to: u32) -> u64 {
        match self {
            Self::Hpet(hpet) => {
                (u128::from(to.wrapping_sub(from)) * u128::from(hpet.period_fs()) / 1_000_000) as u64
            }
            Self::PmTimer(_) => {
                u64::from(to.wrapping_sub(from) & pm_timer::MASK) * 1_000_000_000 / pm_timer::HZ
            }
        }
    }
}

/// What calibration found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// The time stamp counter, in kHz.
    pub tsc_khz: u64,
    /// The APIC timer at divisor 1, in kHz.
    pub apic_khz: u64,
}

/// Counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sample {
    tsc: u64,
    apic: u32,
    reference: u32,
}

/// How long one measurement takes.
const MEASURE_NS: u64 = 10_000_000;
/// Reads of the reference before it is taken for dead.
const MAX_POLLS: u32 = 20_000_000;

/// Measures both clocks against `reference`, or the interval timer where there is none; `None` if nothing counts.
/// The median of five measurements of 10 ms.
pub fn calibrate(reference: Option<Reference>, apic: LocalApic) -> Option<Rates> {
    let mut found = [Rates { tsc_khz: 0, apic_khz: 0 }; 5];
    for rates in &mut found {
        apic.start_silent_count();
        let (start, end, nanoseconds) = match reference {
            Some(reference) => against(reference, apic)?,
            None => against_pit(apic)?,
        };
        *rates = self::rates(start, end, nanoseconds);
    }
    apic.stop_timer();
    found.sort_unstable_by_key(|rates| rates.tsc_khz);
    Some(found[2]).filter(|rates| rates.tsc_khz > 0 && rates.apic_khz > 0)
}

fn against(reference: Reference, apic: LocalApic) -> Option<(Sample, Sample, u64)> {
    let start = sample(|| reference.read(), apic);
    for _ in 0..MAX_POLLS {
        if reference.nanoseconds(start.reference, reference.read()) >= MEASURE_NS {
            let end = sample(|| reference.read(), apic);
            return Some((start, end, reference.nanoseconds(start.reference, end.reference)));
        }
    }
    None
}

fn against_pit(apic: LocalApic) -> Option<(Sample, Sample, u64)> {
    let ticks = (pit::HZ * MEASURE_NS / 1_000_000_000) as u16;
    let [start, end] = pit::measure(ticks, || sample(|| 0, apic))?;
    Some((start, end, u64::from(ticks) * 1_000_000_000 / pit::HZ))
}

/// Reads all counters; of several tries the one that took least time, so that an interruption (SMI, a busy host) does
/// not count.
fn sample(reference: impl Fn() -> u32, apic: LocalApic) -> Sample {
    let mut best = (u64::MAX, Sample::default());
    for _ in 0..5 {
        let before = tsc();
        let reference = reference();
        let left = apic.timer_left();
        let after = tsc();
        let sample = Sample { tsc: before + (after - before) / 2, apic: left, reference };
        if after - before < best.0 {
            best = (after - before, sample);
        }
    }
    best.1
}

fn rates(start: Sample, end: Sample, nanoseconds: u64) -> Rates {
    let khz = |ticks: u64| {
        let scaled = u128::from(ticks) * 1_000_000;
        u64::try_from(scaled.checked_div(u128::from(nanoseconds)).unwrap_or(0)).unwrap_or(u64::MAX)
    };
    Rates {
        tsc_khz: khz(end.tsc.wrapping_sub(start.tsc)),
        apic_khz: khz(u64::from(start.apic.wrapping_sub(end.apic))),
    }
}

/// Spins for `nanoseconds` on a counter of `tsc_khz`.
pub fn delay(nanoseconds: u64, tsc_khz: u64) {
    wait_until(nanoseconds, tsc_khz, || false);
}

/// Spins until `done`, at most for `nanoseconds`; false if it took longer. In a function of its own, by which those who
/// count instructions know that they only wait.
#[inline(never)]
pub fn wait_until(nanoseconds: u64, tsc_khz: u64, done: impl Fn() -> bool) -> bool {
    wait_on(tsc, u128::from(nanoseconds) * u128::from(tsc_khz) / 1_000_000, done)
}

/// Spins until `done`, at most for `ticks` of the counter that `now` reads.
#[inline(always)]
fn wait_on(now: impl Fn() -> u64, ticks: u128, done: impl Fn() -> bool) -> bool {
    let start = now();
    loop {
        // Before the question: a CPU that its host kept from running asks once more.
        let late = u128::from(now().wrapping_sub(start)) >= ticks;
        if done() {
            return true;
        }
        if late {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// Nanoseconds in `ticks` of a counter of `khz`; 0 if that is 0.
pub fn nanoseconds(ticks: u64, khz: u64) -> u64 {
    let scaled = (u128::from(ticks) * 1_000_000).checked_div(u128::from(khz)).unwrap_or(0);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Ticks of a timer of `khz` in `nanoseconds`, rounded up and cut to what the timer can take.
pub fn ticks_for(nanoseconds: u64, khz: u64) -> u32 {
    let ticks = (u128::from(nanoseconds) * u128::from(khz)).div_ceil(1_000_000);
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// Ticks of a counter per nanosecond, with 32 fractional bits, rounded up: for conversions without a division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u64);

impl Rate {
    /// The rate of a counter of `khz`.
    pub const fn from_khz(khz: u64) -> Self {
        Self((khz << 32).div_ceil(1_000_000))
    }

    /// Ticks in `nanoseconds`, rounded up.
    #[inline]
    pub fn ticks(self, nanoseconds: u64) -> u64 {
        let scaled = (u128::from(nanoseconds) * u128::from(self.0)) >> 32;
        u64::try_from(scaled).unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn rates_follow_from_two_samples() {
        let start = Sample { tsc: 1000, apic: u32::MAX, reference: 0 };
        let end = Sample { tsc: 1000 + 24_500_000, apic: u32::MAX - 10_000_000, reference: 0 };
        assert_eq!(rates(start, end, 10_000_000), Rates { tsc_khz: 2_450_000, apic_khz: 1_000_000 });
        assert_eq!(rates(start, end, 0), Rates { tsc_khz: 0, apic_khz: 0 });
    }

    #[test]
    fn one_kept_from_running_asks_once_more() {
        let (now, asked) = (Cell::new(0), Cell::new(0));
        // The first question takes longer than the limit; the answer has come then.
        let answered = || {
            now.set(now.get() + 5000);
            asked.replace(asked.get() + 1) > 0
        };
        assert!(wait_on(|| now.get(), 1000, answered));
        assert_eq!((now.get(), asked.get()), (10_000, 2));
        let tick = || now.replace(now.get() + 1);
        assert!(!wait_on(tick, 1000, || false));
        assert_eq!(now.get(), 11_001);
    }

    #[test]
    fn a_rate_is_never_early() {
        for (khz, ns) in [(1_000_000, 1000), (62_500, 1), (2_445_407, 4_294_967_295), (24_000, 7)] {
            let (exact, ticks) = (ns * khz, Rate::from_khz(khz).ticks(ns) * 1_000_000);
            assert!(ticks >= exact && ticks <= exact + 3_000_000, "{khz} {ns}");
        }
    }

    #[test]
    fn ticks_never_come_early_nor_overflow() {
        assert_eq!(ticks_for(1000, 1_000_000), 1000);
        assert_eq!(ticks_for(1, 62_500), 1);
        assert_eq!(ticks_for(0, 62_500), 0);
        assert_eq!((nanoseconds(2600, 2_600_000), nanoseconds(1, 0)), (1000, 0));
        assert_eq!(ticks_for(u64::MAX, u64::MAX), u32::MAX);
    }
}
