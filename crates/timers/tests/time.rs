//! The arithmetic of time, and the pages that show it.

use guest_memory::{FakeMemory, Fault, GuestMemory};
use ids::{Gva, Maddr};
use proptest::prelude::*;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use timers::{
    Runstate, TSC_STABLE, TimeInfo, TimeScale, UPDATE, WallClock, publish_time, publish_wall_clock,
};

#[test]
fn known_scales() {
    assert_eq!(TimeScale::from_khz(1_000_000), Some(TimeScale { mul_frac: 1 << 31, shift: 1 }));
    assert_eq!(TimeScale::from_khz(2_000_000), Some(TimeScale { mul_frac: 1 << 31, shift: 0 }));
    assert_eq!(TimeScale::from_khz(3_000_000), Some(TimeScale { mul_frac: 0xaaaa_aaab, shift: -1 }));
    assert_eq!((TimeScale::from_khz(0), TimeScale::from_khz(100_000_001)), (None, None));
    let scale = TimeScale::from_khz(2_000_000).unwrap();
    assert_eq!((scale.to_ns(2000), scale.to_count(1000), scale.to_count(u64::MAX)), (1000, 2000, u64::MAX));
}

fn settings() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(17);
    ProptestConfig { cases: 2000, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn conversions_agree(khz in 1_000_001u64..6_000_000, ns in 0u64..1 << 60, more in 0u64..1 << 40) {
        let scale = TimeScale::from_khz(khz).unwrap();
        prop_assert!(scale.mul_frac >= 1 << 31);
        let count = scale.to_count(ns);
        prop_assert!((ns..=ns + 1).contains(&scale.to_ns(count)), "within 1 ns");
        prop_assert!(count == 0 || scale.to_ns(count - 1) <= ns);
        prop_assert!(scale.to_count(ns + more) >= count);
        prop_assert!(scale.to_ns(count.saturating_add(more)) >= scale.to_ns(count));
        let exact = u128::from(count) * 1_000_000 / u128::from(khz);
        let error = exact.abs_diff(scale.to_ns(count).into());
        prop_assert!(error <= exact / (1 << 31) + 2, "rate within 2^-31: {error}");
    }

    #[test]
    fn slow_counters_are_right_to_a_tick(khz in 1u64..1_000_000, ns in 0u64..1 << 50) {
        let scale = TimeScale::from_khz(khz).unwrap();
        let tick = 1_000_000 / khz + 2;
        let shown = scale.to_ns(scale.to_count(ns));
        prop_assert!(shown >= ns && shown <= ns + tick);
    }

    #[test]
    fn extremes_saturate(khz in 1u64..=100_000_000, value: u64) {
        let scale = TimeScale::from_khz(khz).unwrap();
        prop_assert!(scale.to_ns(value) <= scale.to_ns(u64::MAX));
        prop_assert!(scale.to_count(value) <= scale.to_count(u64::MAX));
    }

    #[test]
    fn a_guest_reads_the_hypervisors_time(khz in 1_000_001u64..6_000_000, at in 0u64..1 << 58) {
        let scale = TimeScale::from_khz(khz).unwrap();
        let info = scale.info(TSC_STABLE);
        let guest = info.system_time + info.scale.to_ns(at - info.tsc_timestamp);
        prop_assert_eq!(guest, scale.to_ns(at));
    }
}

struct Crash;

/// Memory that dies before its n-th write.
struct Dying(FakeMemory, Cell<u32>);

impl Dying {
    fn step(&self) {
        self.1.set(self.1.get().wrapping_sub(1));
        if self.1.get() == 0 {
            std::panic::panic_any(Crash);
        }
    }
}

impl GuestMemory for Dying {
    fn load64(&self, at: Maddr) -> u64 {
        self.0.load64(at)
    }
    fn store64(&self, at: Maddr, value: u64) {
        self.step();
        self.0.store64(at, value);
    }
    fn exchange64(&self, at: Maddr, old: u64, new: u64) -> Result<(), u64> {
        self.0.exchange64(at, old, new)
    }
    fn exchange32(&self, at: Maddr, old: u32, new: u32) -> Result<(), u32> {
        self.0.exchange32(at, old, new)
    }
    fn load32(&self, at: Maddr) -> u32 {
        self.0.load32(at)
    }
    fn store32(&self, at: Maddr, value: u32) {
        self.step();
        self.0.store32(at, value);
    }
    fn load8(&self, at: Maddr) -> u8 {
        self.0.load8(at)
    }
    fn store8(&self, at: Maddr, value: u8) {
        self.0.store8(at, value);
    }
    fn copy_in(&self, from: Gva, out: &mut [u8]) -> Result<(), Fault> {
        self.0.copy_in(from, out)
    }
    fn copy_out(&self, to: Gva, bytes: &[u8]) -> Result<(), Fault> {
        for (offset, word) in (0..).step_by(8).zip(bytes.chunks(8)) {
            self.step();
            self.0.copy_out(Gva(to.0 + offset), word)?;
        }
        Ok(())
    }
}

/// Publishes with a crash before each write in turn, looks at what is there, publishes again, looks again.
fn crash_each(publish: impl Fn(&Dying), cut: impl Fn(&FakeMemory, u32), whole: impl Fn(&FakeMemory)) {
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref::<Crash>().is_none() {
            eprintln!("{info}");
        }
    }));
    for at in 1.. {
        let mem = Dying(FakeMemory::new(1), Cell::new(at));
        let crashed = catch_unwind(AssertUnwindSafe(|| publish(&mem))).is_err();
        mem.1.set(u32::MAX);
        if !crashed {
            whole(&mem.0);
            assert!(at > 4);
            break;
        }
        cut(&mem.0, at);
        publish(&mem);
        whole(&mem.0);
    }
}

#[test]
fn a_time_page_cut_short_is_repaired_by_publishing() {
    let scale = TimeScale::from_khz(3_000_000).unwrap();
    let info = TimeInfo { tsc_timestamp: 377, system_time: 100, scale, flags: TSC_STABLE };
    let at = Maddr(32);
    crash_each(
        |mem| publish_time(mem, at, &info),
        |mem, step| assert_eq!(mem.load32(at) % 2, u32::from(step > 1), "odd while it changes"),
        |mem| {
            assert_eq!(mem.load32(at) % 2, 0);
            assert_ne!(mem.load32(at), 0);
            let words = [8, 16, 24].map(|offset| mem.load64(Maddr(32 + offset)));
            assert_eq!(words, [377, 100, 0x0000_01ff_aaaa_aaab]);
        },
    );
}

#[test]
fn a_wall_clock_cut_short_is_repaired_by_publishing() {
    let clock = WallClock { seconds: 0x1_2345_6789, nanoseconds: 5 };
    crash_each(
        |mem| publish_wall_clock(mem, Maddr(0), &clock),
        |mem, step| assert_eq!(mem.load32(Maddr(3072)) % 2, u32::from(step > 1)),
        |mem| {
            let words = [3076, 3080, 3084].map(|at| mem.load32(Maddr(at)));
            assert_eq!((words, mem.load32(Maddr(3072)) % 2), ([0x2345_6789, 5, 1], 0));
        },
    );
    assert_eq!(clock.with_offset(-9).seconds, 0x1_2345_6780);
}

#[test]
fn a_runstate_area_cut_short_is_repaired_by_publishing() {
    let state = Runstate { state: 2, entered: 50, spent: [1, 2, 3, 44] };
    crash_each(
        |mem| state.publish(mem, Gva(64), true).unwrap(),
        |mem, step| assert_eq!(mem.load64(Maddr(72)) & UPDATE != 0, step > 1),
        |mem| assert_eq!(mem.read_machine::<[u64; 6]>(Maddr(64)), state.words(false)),
    );
    assert_eq!(state.until(60).spent, [1, 2, 13, 44]);
    assert_eq!(state.bytes(true)[15], 0x80);
}
