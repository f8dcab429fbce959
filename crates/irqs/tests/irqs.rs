//! Interrupts from set-up to teardown, each refusal, and random operations crashed at random steps.

use ids::{DomainSlot, Mfn};
use irqs::{
    Action, Binding, Counts, Derived, Eoi, Error, Irqs, Kind, MsiSource, Polarity, Region, RouteWord, Source,
    Trigger, audit, rebuild,
};
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use vault::{Apply, Arena, Effect, Log, Once, Phase, kind, step};

const GSIS: u32 = 24;
const MSIS: u32 = 8;
const D: [DomainSlot; 2] = [DomainSlot(0), DomainSlot(1)];

struct World {
    log: &'static Log,
    region: Region,
    derived: &'static Derived,
    seen: Vec<Effect>,
}

struct Effects<'w>(&'w mut Vec<Effect>);

impl Apply for Effects<'_> {
    fn apply(&mut self, effect: &Effect, _: &mut Once<'_, '_>) {
        let known = [kind::IRQ_ROUTE, kind::EVENT, kind::GUEST_STORE, kind::PUT_REF, kind::PUT_TYPED];
        assert!(known.contains(&effect.kind));
        self.0.push(*effect);
    }
}

struct Crash;

fn quiet_crashes() {
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref::<Crash>().is_none() {
            eprintln!("{info}");
        }
    }));
}

impl World {
    fn new() -> Self {
        let mut arena = Arena::leak(1 << 15);
        let log = &arena.carve::<Log>(1).unwrap()[0];
        let counts = Counts { domains: 3, tables: 2, gsis: GSIS, msis: MSIS };
        let region = Region::carve(&mut arena, counts).unwrap();
        let derived = Box::leak(Box::new(rebuild(&region)));
        let mut world = Self { log, region, derived, seen: Vec::new() };
        for slot in D {
            world.tx(|i, tx| i.create_domain(tx, slot, 32)).unwrap();
        }
        world
    }

    fn irqs(&self) -> Irqs<'static> {
        Irqs { region: self.region, derived: self.derived }
    }

    fn tx<O>(
        &mut self,
        f: impl FnOnce(&Irqs<'static>, &mut vault::Tx<'static>) -> Result<O, Error>,
    ) -> Result<O, Error> {
        let irqs = self.irqs();
        self.seen.clear();
        self.log.begin();
        let result = self.log.transaction(&mut Effects(&mut self.seen), |tx| {
            tx.advance(1);
            f(&irqs, tx)
        });
        self.log.end();
        assert_eq!(audit(&self.region), Ok(()));
        result
    }

    fn snapshot(&self) -> Vec<(Option<RouteWord>, Option<Binding>)> {
        (0..GSIS + MSIS).map(|irq| (self.irqs().route(irq), self.irqs().binding(irq))).collect()
    }

    fn setup(&mut self, gsi: u32, trigger: Trigger) -> Result<(), Error> {
        self.tx(|i, tx| i.setup_gsi(tx, gsi, trigger, Polarity::Low, 3))
    }

    fn map(&mut self, slot: DomainSlot, source: Source, pirq: Option<u32>) -> Result<(u32, u32), Error> {
        self.tx(|i, tx| i.map_pirq(tx, slot, source, pirq, 1)).map(|mapped| (mapped.pirq, mapped.irq))
    }

    fn interrupt(&mut self, irq: u32) -> Action {
        let vector = self.irqs().route(irq).unwrap().vector;
        self.tx(|i, tx| Ok(i.on_interrupt(tx, vector))).unwrap()
    }

    fn masked(&self, irq: u32) -> bool {
        self.irqs().route(irq).unwrap().masked
    }
}

fn msi(devfn: u8, entry: u16) -> MsiSource {
    MsiSource { segment: 0, bus: 1, devfn, entry, table_base: 0xfebd_0000 }
}

#[test]
fn a_level_interrupt_waits_for_its_end() {
    let mut w = World::new();
    w.setup(9, Trigger::Level).unwrap();
    assert!(w.masked(9));
    assert_eq!(w.map(D[0], Source::Gsi(9), Some(9)), Ok((9, 9)));
    w.tx(|i, tx| i.bind(tx, D[0], 9, 5, true)).unwrap();
    assert!(!w.masked(9));
    let route = w.irqs().route(9).unwrap();
    assert_eq!(route.redirection_entry(), u64::from(route.vector) | 1 << 13 | 1 << 15 | 3 << 56);
    let raised = Action::Raised { irq: 9, domain: D[0], port: 5, masked: true };
    assert_eq!(w.interrupt(9), raised);
    assert!(w.seen.contains(&Effect { kind: kind::EVENT, x: 5, a: 0, b: 0 }));
    assert!(w.seen.contains(&Effect { kind: kind::IRQ_ROUTE, x: 9, a: 0, b: 0 }));
    assert!(w.masked(9));
    assert_eq!(w.interrupt(9), raised, "found in service by recovery");
    assert_eq!(w.tx(|i, tx| i.eoi(tx, D[0], 9)), Ok(Eoi { unmask: None, reopened: true }));
    assert!(!w.masked(9));
    assert_eq!(w.tx(|i, tx| i.eoi(tx, D[0], 9)), Ok(Eoi { unmask: None, reopened: false }));
    w.interrupt(9);
    w.tx(|i, tx| i.unbind(tx, D[0], 9)).unwrap();
    assert!(w.masked(9));
    assert_eq!(w.interrupt(9), Action::Unbound(9));
    assert_eq!(w.irqs().status(D[0], 9), Ok(1));
}

#[test]
fn edges_and_messages_need_no_end() {
    let mut w = World::new();
    w.setup(1, Trigger::Edge).unwrap();
    w.map(D[0], Source::Gsi(1), Some(1)).unwrap();
    assert_eq!(w.map(D[0], Source::Msi(msi(8, 0)), None), Ok((31, 24)));
    assert_eq!(w.map(D[0], Source::MultiMsi(msi(8, 1), 1), None), Ok((30, 25)));
    for (pirq, irq) in [(1, 1), (31, 24)] {
        w.tx(|i, tx| i.bind(tx, D[0], pirq, pirq, false)).unwrap();
        assert_eq!(w.interrupt(irq), Action::Raised { irq, domain: D[0], port: pirq, masked: false });
        assert!(!w.masked(irq));
    }
    let route = w.irqs().route(24).unwrap();
    assert_eq!((route.kind, route.msi), (Kind::Msi, Some(msi(8, 0))));
    assert_eq!((route.message_address(), route.message_data()), (0xfee0_1000, u32::from(route.vector)));
    assert_eq!(w.tx(|i, tx| i.unmap_pirq(tx, D[0], 31)), Ok(Some(31)));
    assert_eq!(w.irqs().route(24), None);
    assert_eq!(w.irqs().irq_of(route.vector), None);
    w.tx(|i, tx| i.set_affinity(tx, 1, 2)).unwrap();
    assert_eq!(w.irqs().route(1).unwrap().dest, 2);
}

#[test]
fn refusals() {
    let mut w = World::new();
    assert_eq!(w.setup(24, Trigger::Edge), Err(Error::Invalid));
    w.setup(4, Trigger::Edge).unwrap();
    assert_eq!(w.setup(4, Trigger::Edge), Err(Error::Exists));
    let reserved = w.tx(|i, tx| i.reserve_gsi(tx, 5, Trigger::Edge, Polarity::High, 0));
    assert_eq!((reserved, w.setup(5, Trigger::Edge)), (Ok(()), Err(Error::Exists)));
    assert_eq!(w.interrupt(5), Action::Own(5));
    assert_eq!(w.map(D[0], Source::Gsi(5), Some(5)), Ok((5, 5)));
    assert_eq!(w.tx(|i, tx| i.bind(tx, D[0], 5, 7, false)), Err(Error::Busy), "the hypervisor's own");
    assert_eq!(w.tx(|i, tx| i.unmap_pirq(tx, D[0], 5)), Ok(None));
    assert!(!w.masked(5));
    assert_eq!(w.map(DomainSlot(2), Source::Gsi(4), None), Err(Error::NoSuchDomain));
    assert_eq!(w.map(D[0], Source::Gsi(24), None), Err(Error::Invalid));
    assert_eq!(w.map(D[0], Source::Gsi(4), Some(32)), Err(Error::Invalid));
    assert_eq!(w.map(D[0], Source::Gsi(4), None), Ok((16, 4)));
    assert_eq!(w.map(D[0], Source::Gsi(4), None), Ok((16, 4)), "again: the name it has");
    assert_eq!(w.map(D[0], Source::Gsi(4), Some(17)), Err(Error::Exists));
    assert_eq!(w.map(D[1], Source::Gsi(4), None), Err(Error::Busy));
    w.map(D[0], Source::Msi(msi(1, 1)), None).unwrap();
    assert_eq!(w.map(D[0], Source::Msi(msi(1, 1)), None), Err(Error::Exists));
    assert_eq!(w.map(D[0], Source::Msi(msi(1, 2)), Some(16)), Err(Error::Exists));
    assert_eq!(w.map(D[0], Source::MultiMsi(msi(1, 3), 4), None), Err(Error::NotSupported));
    assert_eq!(w.map(D[0], Source::MultiMsi(msi(1, 3), 0), None), Err(Error::OutOfDomain));
    for entry in 2..9 {
        w.map(D[0], Source::Msi(msi(2, entry)), None).unwrap();
    }
    assert_eq!(w.map(D[1], Source::Msi(msi(3, 0)), None), Err(Error::Invalid), "no slot left");
    assert_eq!(w.irqs().get_free_pirq(D[0], true), Err(Error::NoSpace));
    assert_eq!(w.tx(|i, tx| i.unmap_pirq(tx, D[0], 3)), Err(Error::Invalid));
    assert_eq!(w.tx(|i, tx| i.bind(tx, D[0], 3, 1, false)), Err(Error::Invalid));
    assert_eq!(w.map(D[0], Source::Gsi(7), Some(7)), Ok((7, 7)));
    assert_eq!(w.tx(|i, tx| i.bind(tx, D[0], 7, 9, false)), Ok(7), "an ISA pin");
    assert_eq!(w.irqs().route(7).map(|route| (route.trigger, route.masked)), Some((Trigger::Edge, false)));
    assert_eq!(w.setup(7, Trigger::Level), Err(Error::Exists));
    assert_eq!(w.map(D[1], Source::Gsi(20), Some(20)), Ok((20, 20)));
    assert_eq!(w.tx(|i, tx| i.bind(tx, D[1], 20, 1, false)), Err(Error::Invalid), "not set up");
    w.tx(|i, tx| i.bind(tx, D[0], 16, 1, false)).unwrap();
    assert_eq!(w.tx(|i, tx| i.bind(tx, D[0], 16, 2, false)), Err(Error::Exists));
    assert_eq!(w.tx(|i, tx| i.eoi(tx, D[0], 99)).err(), Some(Error::Invalid));
    assert_eq!(w.irqs().status(D[0], 32), Err(Error::Invalid));
    assert_eq!(w.tx(|i, tx| i.create_domain(tx, D[0], 9)), Err(Error::Exists));
    assert_eq!(w.tx(|i, tx| i.create_domain(tx, DomainSlot(2), 9)), Err(Error::NoMemory));
    assert_eq!(w.tx(|i, tx| i.create_domain(tx, DomainSlot(3), 9)), Err(Error::NoSuchDomain));
    assert_eq!(w.tx(|i, tx| i.set_affinity(tx, 20, 1)), Err(Error::Invalid));
    assert_eq!(w.tx(|i, tx| Ok(i.on_interrupt(tx, 0xdf))), Ok(Action::Spurious));
}

#[test]
fn the_bitmap_tells_who_needs_an_end() {
    let mut w = World::new();
    for gsi in [1, 9] {
        w.setup(gsi, Trigger::Level).unwrap();
        w.map(D[0], Source::Gsi(gsi), Some(gsi)).unwrap();
    }
    w.tx(|i, tx| i.bind(tx, D[0], 9, 2, true)).unwrap();
    w.tx(|i, tx| i.set_eoi_page(tx, D[0], Mfn(7), true)).unwrap();
    let word = |bits| Effect { kind: kind::GUEST_STORE, x: 8, a: 7 << 12, b: bits };
    assert_eq!(w.seen, [word(1 << 9)]);
    w.tx(|i, tx| i.bind(tx, D[0], 1, 3, false)).unwrap();
    assert!(w.seen.contains(&word(1 << 9)), "edge drivers do not share");
    assert_eq!(w.tx(|i, tx| i.eoi(tx, D[0], 1)).unwrap().unmask, Some(3));
    w.tx(|i, tx| i.unbind(tx, D[0], 9)).unwrap();
    assert!(w.seen.contains(&word(0)));
    assert_eq!(w.tx(|i, tx| i.set_eoi_page(tx, D[0], Mfn(8), false)), Err(Error::Busy));
    assert_eq!(w.tx(|i, tx| i.teardown_step(tx, D[0])), Ok(false));
    assert_eq!(w.seen.iter().map(|effect| (effect.kind, effect.a)).collect::<Vec<_>>(), [(2, 7), (1, 7)]);
    while !w.tx(|i, tx| i.teardown_step(tx, D[0])).unwrap() {}
    assert_eq!(w.irqs().status(D[0], 1), Err(Error::NoSuchDomain));
    assert!(w.masked(1) && w.masked(9));
}

#[test]
fn vectors_run_out() {
    let mut arena = Arena::leak(1 << 17);
    let log = &arena.carve::<Log>(1).unwrap()[0];
    let region = Region::carve(&mut arena, Counts { domains: 1, tables: 1, gsis: 200, msis: 0 }).unwrap();
    let derived = Box::leak(Box::new(rebuild(&region)));
    let mut w = World { log, region, derived, seen: Vec::new() };
    let all = 0xdf - 0x30 + 1 - 1;
    for gsi in 0..all {
        w.setup(gsi, Trigger::Edge).unwrap();
    }
    assert_eq!(w.setup(all, Trigger::Edge), Err(Error::NoSpace));
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Setup(u32, bool),
    MapGsi(usize, u32, Option<u32>),
    MapMsi(usize, u16),
    Unmap(usize, u32),
    Bind(usize, u32, u32, bool),
    Unbind(usize, u32),
    Interrupt(u32),
    Eoi(usize, u32),
    EoiPage(usize),
    Teardown(usize),
    Create(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let d = || 0usize..2;
    let p = || prop_oneof![0u32..6, 16u32..20, 28u32..32];
    prop_oneof![
        4 => (0u32..6, any::<bool>()).prop_map(|(a, b)| Op::Setup(a, b)),
        4 => (d(), 0u32..6, prop::option::of(p())).prop_map(|(a, b, c)| Op::MapGsi(a, b, c)),
        3 => (d(), 0u16..12).prop_map(|(a, b)| Op::MapMsi(a, b)),
        2 => (d(), p()).prop_map(|(a, b)| Op::Unmap(a, b)),
        8 => (d(), p(), 1u32..9, any::<bool>()).prop_map(|(a, b, c, e)| Op::Bind(a, b, c, e)),
        1 => (d(), p()).prop_map(|(a, b)| Op::Unbind(a, b)),
        8 => (0..GSIS + MSIS).prop_map(Op::Interrupt),
        4 => (d(), p()).prop_map(|(a, b)| Op::Eoi(a, b)),
        1 => d().prop_map(Op::EoiPage),
        1 => d().prop_map(Op::Teardown),
        1 => d().prop_map(Op::Create),
    ]
}

fn perform(w: &mut World, op: Op) -> Result<u64, Error> {
    w.tx(|i, tx| match op {
        Op::Setup(gsi, level) => {
            let trigger = if level { Trigger::Level } else { Trigger::Edge };
            i.setup_gsi(tx, gsi, trigger, Polarity::High, 0).map(|()| 0)
        }
        Op::MapGsi(d, gsi, pirq) => i.map_pirq(tx, D[d], Source::Gsi(gsi), pirq, 0).map(|m| m.pirq.into()),
        Op::MapMsi(d, entry) => {
            i.map_pirq(tx, D[d], Source::Msi(msi(9, entry)), None, 0).map(|m| m.irq.into())
        }
        Op::Unmap(d, pirq) => i.unmap_pirq(tx, D[d], pirq).map(|port| port.unwrap_or(0).into()),
        Op::Bind(d, pirq, port, share) => i.bind(tx, D[d], pirq, port, share).map(u64::from),
        Op::Unbind(d, pirq) => i.unbind(tx, D[d], pirq).map(|()| 0),
        Op::Interrupt(irq) => {
            let vector = i.route(irq).map_or(0, |route| route.vector);
            Ok(u64::from(matches!(i.on_interrupt(tx, vector), Action::Raised { .. })))
        }
        Op::Eoi(d, pirq) => i.eoi(tx, D[d], pirq).map(|eoi| eoi.reopened.into()),
        Op::EoiPage(d) => i.set_eoi_page(tx, D[d], Mfn(3), false).map(|()| 0),
        Op::Teardown(d) => i.teardown_step(tx, D[d]).map(u64::from),
        Op::Create(d) => i.create_domain(tx, D[d], 32).map(|()| 0),
    })
}

/// Crashes `op` at every step from `start` until one attempt is committed or refused without a crash; compares with a world
/// that never crashes.
fn crash_everywhere(
    w: &mut World,
    op: Op,
    start: u64,
    before: &[(Option<RouteWord>, Option<Binding>)],
    wanted: &World,
) -> Option<u64> {
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
            return answer.ok();
        }
        w.derived = Box::leak(Box::new(rebuild(&w.region)));
        w.log.roll_back(&mut Effects(&mut w.seen));
        if w.log.head().phase() == Phase::Outbox {
            w.seen.clear();
        }
        w.log.drain(&mut Effects(&mut w.seen));
        assert_eq!(audit(&w.region), Ok(()));
        let committed = w.log.head().phase() == Phase::Undo && w.log.head().progress() == 1;
        w.log.end();
        if committed {
            assert_eq!(w.snapshot(), wanted.snapshot(), "{op:?} done, crashed at {at}");
            return Some(u64::MAX);
        }
        assert_eq!(w.snapshot(), before, "{op:?} undone, crashed at {at}");
    }
    None
}

fn settings() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(11);
    ProptestConfig { cases: 150, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn wholly_or_not_at_all(ops in prop::collection::vec((op(), 1u64..16), 1..80)) {
        quiet_crashes();
        let (mut plain, mut crashed) = (World::new(), World::new());
        for (op, start) in ops {
            let before = crashed.snapshot();
            let answer = perform(&mut plain, op);
            let effects = plain.seen.clone();
            let other = crash_everywhere(&mut crashed, op, start, &before, &plain);
            prop_assert_eq!(other.is_some(), answer.is_ok());
            if other == Some(u64::MAX) {
                // Recovery repeats the outbox whole, or from where it was known to be done.
                prop_assert!(effects.ends_with(&crashed.seen));
                prop_assert!(crashed.seen.iter().filter(|e| e.kind == kind::EVENT).count() == effects.iter().filter(|e| e.kind == kind::EVENT).count());
            }
            prop_assert_eq!(crashed.snapshot(), plain.snapshot());
        }
    }
}
