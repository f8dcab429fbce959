//! Deadlines against a simple model, each refusal, and every step of every operation crashed.

use ids::{CpuId, VcpuSlot};
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use timers::{
    Derived, Error, FUTURE_ONLY, Fired, Region, Runstate, State, Timers, WallClock, audit, rebuild,
};
use vault::{Apply, Arena, Effect, Log, Once, Phase, kind, step};

const CPUS: u32 = 3;
const VCPUS: u32 = 8;

struct World {
    log: &'static Log,
    region: Region,
    derived: &'static Derived,
    changed: Vec<CpuId>,
}

struct Effects<'w> {
    timers: Timers<'static>,
    changed: &'w mut Vec<CpuId>,
}

impl Apply for Effects<'_> {
    fn apply(&mut self, effect: &Effect, _: &mut Once<'_, '_>) {
        match effect.kind {
            kind::TIMER => self.changed.extend(self.timers.apply(VcpuSlot(effect.x))),
            other => panic!("effect {other}"),
        }
    }
}

struct Crash;

fn home(slot: VcpuSlot) -> CpuId {
    CpuId(slot.0 % CPUS)
}

impl World {
    fn new() -> Self {
        let mut arena = Arena::leak(1 << 15);
        let log = &arena.carve::<Log>(1).unwrap()[0];
        let region = Region::carve(&mut arena, VCPUS as usize).unwrap();
        let derived = Box::leak(Box::new(rebuild(&region, CPUS, home)));
        let mut world = Self { log, region, derived, changed: Vec::new() };
        for slot in 0..VCPUS - 1 {
            world.tx(|t, tx| t.create_vcpu(tx, VcpuSlot(slot), 10)).unwrap();
        }
        world
    }

    fn timers(&self) -> Timers<'static> {
        Timers { region: self.region, derived: self.derived }
    }

    fn tx<O>(
        &mut self,
        f: impl FnOnce(&Timers<'static>, &mut vault::Tx<'static>) -> Result<O, Error>,
    ) -> Result<O, Error> {
        let timers = self.timers();
        self.log.begin();
        let mut effects = Effects { timers, changed: &mut self.changed };
        let result = self.log.transaction(&mut effects, |tx| {
            tx.advance(1);
            f(&timers, tx)
        });
        self.log.end();
        assert_eq!(audit(&self.region, Some(self.derived)), Ok(()));
        result
    }

    fn snapshot(&self) -> Vec<(u64, Result<Runstate, Error>)> {
        let slots = (0..VCPUS).map(VcpuSlot);
        slots.map(|slot| (self.region.earliest_of(slot), self.timers().runstate(slot))).collect()
    }
}

#[test]
fn deadlines_fire_once() {
    let mut w = World::new();
    let v = VcpuSlot(1);
    w.tx(|t, tx| t.set_singleshot(tx, v, 100, FUTURE_ONLY, 50)).unwrap();
    w.tx(|t, tx| t.set_poll(tx, v, 90)).unwrap();
    let cpu = home(v);
    assert_eq!((w.derived.earliest(cpu), w.derived.earliest(CpuId(0))), (90, u64::MAX));
    assert_eq!(w.timers().due(cpu, 89), None);
    assert_eq!(w.timers().due(cpu, 95), Some(v));
    assert_eq!(w.tx(|t, tx| t.fire(tx, v, 95)), Ok(Fired { poll: true, ..Fired::default() }));
    assert_eq!(w.changed, [cpu; 3], "each deadline in turn was the earliest");
    assert_eq!(w.timers().due(cpu, 99), None);
    w.timers().set_home(v, CpuId(0));
    assert_eq!((w.timers().due(cpu, 200), w.timers().due(CpuId(0), 200)), (None, Some(v)));
    assert_eq!(w.tx(|t, tx| t.fire(tx, v, 200)), Ok(Fired { timer: true, ..Fired::default() }));
    assert_eq!(w.tx(|t, tx| t.fire(tx, v, 200)), Ok(Fired::default()));
    assert_eq!(w.derived.earliest(CpuId(0)), u64::MAX);
    w.tx(|t, tx| t.set_singleshot(tx, v, 0, 0, 300)).unwrap();
    assert_eq!(w.timers().due(CpuId(0), 300), Some(v), "the past is now");
    w.tx(|t, tx| t.stop_singleshot(tx, v)).unwrap();
    w.tx(|t, tx| t.set_poll(tx, v, 400)).unwrap();
    w.changed.clear();
    w.tx(|t, tx| t.set_singleshot(tx, v, 500, 0, 300)).unwrap();
    assert!(w.changed.is_empty(), "a later one changes no CPU's timer");
    w.tx(|t, tx| t.stop_singleshot(tx, v)).unwrap();
    w.tx(|t, tx| t.stop_poll(tx, v)).unwrap();
    assert_eq!(w.timers().due(CpuId(0), u64::MAX - 1), None);
}

#[test]
fn missed_periods_fire_once() {
    let mut w = World::new();
    let v = VcpuSlot(0);
    w.tx(|t, tx| t.set_periodic(tx, v, 1_000_000, 5)).unwrap();
    assert!(w.tx(|t, tx| t.fire(tx, v, 3_500_000)).unwrap().timer);
    assert_eq!(w.derived.earliest(home(v)), 4_000_005);
    w.tx(|t, tx| t.stop_periodic(tx, v)).unwrap();
    w.tx(|t, tx| t.stop_periodic(tx, v)).unwrap();
    assert_eq!(w.derived.earliest(home(v)), u64::MAX);
}

#[test]
fn watchdogs_bite_once() {
    let mut w = World::new();
    let v = VcpuSlot(0);
    w.tx(|t, tx| t.set_watchdog(tx, v, 1, 700)).unwrap();
    assert_eq!((w.timers().watchdogs(v), w.derived.earliest(home(v))), (Ok([0, 700]), 700));
    assert_eq!(w.tx(|t, tx| t.set_watchdog(tx, v, 2, 700)), Err(Error::Invalid));
    assert_eq!(w.tx(|t, tx| t.fire(tx, v, 700)), Ok(Fired { watchdog: true, ..Fired::default() }));
    assert_eq!((w.timers().watchdogs(v), w.derived.earliest(home(v))), (Ok([0, 0]), u64::MAX));
}

#[test]
fn refusals() {
    let mut w = World::new();
    let (v, none) = (VcpuSlot(0), VcpuSlot(VCPUS - 1));
    assert_eq!(w.tx(|t, tx| t.set_singleshot(tx, v, 49, FUTURE_ONLY, 50)), Err(Error::Past));
    assert_eq!(w.tx(|t, tx| t.set_singleshot(tx, v, 50, FUTURE_ONLY, 50)), Ok(()));
    assert_eq!(w.tx(|t, tx| t.set_periodic(tx, v, 999_999, 50)), Err(Error::Invalid));
    assert_eq!(w.tx(|t, tx| t.set_periodic(tx, v, u64::MAX, 50)), Err(Error::Invalid));
    assert_eq!(w.tx(|t, tx| t.create_vcpu(tx, v, 50)), Err(Error::Exists));
    assert_eq!(w.tx(|t, tx| t.create_vcpu(tx, VcpuSlot(VCPUS), 50)), Err(Error::NoSuchVcpu));
    assert_eq!(w.tx(|t, tx| t.set_wall_clock(tx, 1, 0, 1_000_000_001)), Err(Error::Invalid));
    assert_eq!(w.tx(|t, tx| t.set_wall_clock(tx, 5, 1, 1_000_000_002)), Ok(()));
    assert_eq!(w.timers().wall_clock(), WallClock { seconds: 3, nanoseconds: 999_999_999 });
    for slot in [none, VcpuSlot(99)] {
        assert_eq!(w.tx(|t, tx| t.set_singleshot(tx, slot, 9, 0, 0)), Err(Error::NoSuchVcpu));
        assert_eq!(w.tx(|t, tx| t.stop_singleshot(tx, slot)), Err(Error::NoSuchVcpu));
        assert_eq!(w.tx(|t, tx| t.set_periodic(tx, slot, 2_000_000, 0)), Err(Error::NoSuchVcpu));
        assert_eq!(w.tx(|t, tx| t.stop_periodic(tx, slot)), Err(Error::NoSuchVcpu));
        assert_eq!(w.tx(|t, tx| t.set_poll(tx, slot, 1)), Err(Error::NoSuchVcpu));
        assert_eq!(w.tx(|t, tx| t.fire(tx, slot, 1).map(drop)), Err(Error::NoSuchVcpu));
        assert_eq!(w.tx(|t, tx| t.set_runstate(tx, slot, State::Running, 1)), Err(Error::NoSuchVcpu));
        assert_eq!(w.timers().runstate(slot).err(), Some(Error::NoSuchVcpu));
    }
    w.timers().set_home(v, CpuId(99));
    assert_eq!(w.timers().due(home(v), 50), Some(v));
    while !w.tx(|t, tx| t.teardown_step(tx, 0..VCPUS)).unwrap() {}
    assert_eq!(w.timers().due(home(v), u64::MAX), None);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Singleshot(u32, u64),
    Stop(u32),
    Periodic(u32, u64),
    StopPeriodic(u32),
    Poll(u32, u64),
    Watchdog(u32, usize, u64),
    Fire(u32, u64),
    Runstate(u32, u32, u64),
    Home(u32, u32),
    Forget(u32),
    Create(u32),
}

fn perform(w: &mut World, op: Op) -> Result<bool, Error> {
    let v = VcpuSlot;
    w.tx(|t, tx| match op {
        Op::Singleshot(s, at) => t.set_singleshot(tx, v(s), at, 0, 0).map(|()| false),
        Op::Stop(s) => t.stop_singleshot(tx, v(s)).map(|()| false),
        Op::Periodic(s, ms) => t.set_periodic(tx, v(s), ms * 1_000_000, 0).map(|()| false),
        Op::StopPeriodic(s) => t.stop_periodic(tx, v(s)).map(|()| false),
        Op::Poll(s, at) => t.set_poll(tx, v(s), at).map(|()| false),
        Op::Watchdog(s, which, at) => t.set_watchdog(tx, v(s), which, at).map(|()| false),
        Op::Fire(s, now) => t.fire(tx, v(s), now).map(|fired| fired.timer),
        Op::Runstate(s, state, now) => {
            let states = [State::Running, State::Runnable, State::Blocked, State::Offline];
            t.set_runstate(tx, v(s), states[state as usize], now).map(|()| false)
        }
        Op::Home(s, cpu) => {
            t.set_home(v(s), CpuId(cpu));
            Ok(false)
        }
        Op::Forget(s) => t.teardown_step(tx, s..s + 1),
        Op::Create(s) => t.create_vcpu(tx, v(s), 7).map(|()| false),
    })
}

fn op() -> impl Strategy<Value = Op> {
    let s = || 0..VCPUS;
    let at = || 0u64..20_000_000;
    prop_oneof![
        6 => (s(), at()).prop_map(|(a, b)| Op::Singleshot(a, b)),
        2 => s().prop_map(Op::Stop),
        2 => (s(), 0u64..9).prop_map(|(a, b)| Op::Periodic(a, b)),
        1 => s().prop_map(Op::StopPeriodic),
        3 => (s(), at()).prop_map(|(a, b)| Op::Poll(a, b)),
        2 => (s(), 0usize..2, at()).prop_map(|(a, b, c)| Op::Watchdog(a, b, c)),
        5 => (s(), at()).prop_map(|(a, b)| Op::Fire(a, b)),
        3 => (s(), 0u32..4, at()).prop_map(|(a, b, c)| Op::Runstate(a, b, c)),
        2 => (s(), 0..CPUS).prop_map(|(a, b)| Op::Home(a, b)),
        1 => s().prop_map(Op::Forget),
        1 => s().prop_map(Op::Create),
    ]
}

type Snapshot = Vec<(u64, Result<Runstate, Error>)>;

/// Crashes `op` at every step from `start` until one attempt is committed or ends without a crash.
fn crash_everywhere(w: &mut World, op: Op, start: u64, before: &Snapshot, wanted: &Snapshot) -> bool {
    for at in start.. {
        let mut seen = 0;
        step::arm(move || {
            seen += 1;
            if seen == at {
                std::panic::panic_any(Crash);
            }
        });
        let result = catch_unwind(AssertUnwindSafe(|| perform(w, op)));
        step::disarm();
        if let Ok(answer) = result {
            return answer.is_ok();
        }
        w.derived = Box::leak(Box::new(rebuild(&w.region, CPUS, home)));
        w.log.roll_back(&mut Effects { timers: w.timers(), changed: &mut w.changed });
        w.derived = Box::leak(Box::new(rebuild(&w.region, CPUS, home)));
        let mut effects = Effects { timers: w.timers(), changed: &mut w.changed };
        w.log.drain(&mut effects);
        assert_eq!(audit(&w.region, Some(w.derived)), Ok(()));
        let committed = w.log.head().phase() == Phase::Undo && w.log.head().progress() == 1;
        w.log.end();
        assert_eq!(&w.snapshot(), if committed { wanted } else { before }, "{op:?} crashed at {at}");
        if committed {
            return true;
        }
    }
    false
}

fn settings() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(13);
    ProptestConfig { cases: 150, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn wholly_or_not_at_all(ops in prop::collection::vec((op(), 1u64..12), 1..100)) {
        std::panic::set_hook(Box::new(|info| {
            if info.payload().downcast_ref::<Crash>().is_none() {
                eprintln!("{info}");
            }
        }));
        let (mut plain, mut crashed) = (World::new(), World::new());
        for (op, start) in ops {
            let before = crashed.snapshot();
            let answer = perform(&mut plain, op);
            let done = crash_everywhere(&mut crashed, op, start, &before, &plain.snapshot());
            prop_assert_eq!(done, answer.is_ok());
            prop_assert_eq!(crashed.snapshot(), plain.snapshot());
        }
        // The queues hand out deadlines in order, each once.
        for cpu in 0..CPUS {
            let mut last = 0;
            while let Some(slot) = plain.timers().due(CpuId(cpu), 1 << 40) {
                let at = plain.region.earliest_of(slot);
                prop_assert!(at >= last && plain.derived.earliest(CpuId(cpu)) == at);
                last = at;
                plain.tx(|t, tx| t.stop_periodic(tx, slot)).unwrap();
                plain.tx(|t, tx| t.fire(tx, slot, at).map(drop)).unwrap();
            }
        }
    }
}
