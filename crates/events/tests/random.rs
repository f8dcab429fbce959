//! Random operations against a simple model, with and without crashes: the answers agree, ports are the
//! lowest free ones, and every event owed to a guest reaches it.

mod world;

use events::{Error, Status, audit, is_global};
use ids::{DomId, DomainSlot};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use world::{Answer, DOMAINS, Op, VCPUS, World};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    Unbound(u16),
    Inter(u16, u32),
    Virq(u32),
    Pirq(u32),
    Ipi,
}

#[derive(Default)]
struct Model {
    ports: BTreeMap<(u16, u32), (Bound, u32)>,
    owed: BTreeSet<(u16, u32)>,
    fifo: BTreeSet<u16>,
    controls: BTreeSet<(u16, u32)>,
    arrays: BTreeSet<u16>,
    infos: BTreeSet<(u16, u32)>,
}

impl Model {
    fn lowest(&self, d: u16) -> u32 {
        (1..).find(|port| !self.ports.contains_key(&(d, *port))).unwrap()
    }

    /// What an operation should answer: a value, `None` for whatever port is free, or an error.
    fn expect(&self, op: Op) -> Result<Option<u32>, Error> {
        let valid = |d: u16, p: u32| self.ports.get(&(d, p)).copied().ok_or(Error::Invalid);
        let fresh = |d: u16| if self.fifo.contains(&d) { None } else { Some(self.lowest(d)) };
        let vcpu = |v: u32| if v < VCPUS { Ok(()) } else { Err(Error::NoSuchVcpu) };
        match op {
            Op::AllocUnbound(d, _) | Op::BindPirq(d, _) => Ok(fresh(d)),
            Op::BindIpi(d, v) => vcpu(v).map(|()| fresh(d)),
            Op::BindInterdomain(d, r, p) => match valid(r, p)?.0 {
                Bound::Unbound(who) if who == d => Ok(fresh(d)),
                _ => Err(Error::Invalid),
            },
            Op::BindVirq(d, virq, v) => {
                if virq >= 24 || is_global(virq) && v != 0 {
                    return Err(Error::Invalid);
                }
                vcpu(v)?;
                let holds = |v2: u32| is_global(virq) || v2 == v;
                let taken =
                    self.ports.iter().any(|(k, b)| k.0 == d && b.0 == Bound::Virq(virq) && holds(b.1));
                if taken { Err(Error::Exists) } else { Ok(fresh(d)) }
            }
            Op::Close(d, p) => match valid(d, p)?.0 {
                Bound::Pirq(pirq) => Ok(Some(pirq)),
                _ => Ok(Some(0)),
            },
            Op::Send(d, p) => match valid(d, p)?.0 {
                Bound::Virq(_) | Bound::Pirq(_) => Err(Error::Invalid),
                _ => Ok(Some(0)),
            },
            Op::BindVcpu(d, p, v) => {
                vcpu(v)?;
                match valid(d, p)?.0 {
                    Bound::Ipi => Err(Error::Invalid),
                    Bound::Virq(virq) if !is_global(virq) => Err(Error::Invalid),
                    _ => Ok(Some(0)),
                }
            }
            Op::Unmask(d, p) => valid(d, p).map(|_| Some(0)),
            Op::InitControl(d, v) if self.controls.contains(&(d, v)) => Err(Error::Invalid),
            Op::ExpandArray(d) if !self.fifo.contains(&d) => Err(Error::NotSupported),
            Op::SetVcpuInfo(d, v) if self.infos.contains(&(d, v)) => Err(Error::Invalid),
            _ => Ok(Some(0)),
        }
    }

    fn virq_port(&self, d: u16, v: u32, virq: u32) -> Option<(u16, u32)> {
        let own = |k: &(u16, u32), b: &(Bound, u32)| {
            k.0 == d && b.0 == Bound::Virq(virq) && (if is_global(virq) { v == 0 } else { b.1 == v })
        };
        self.ports.iter().find(|(k, b)| own(k, b)).map(|(k, _)| *k)
    }

    fn happened(&mut self, op: Op, port: u32) {
        match op {
            Op::AllocUnbound(d, r) => self.ports.extend([((d, port), (Bound::Unbound(r), 0))]),
            Op::BindPirq(d, pirq) => self.ports.extend([((d, port), (Bound::Pirq(pirq), 0))]),
            Op::BindIpi(d, v) => self.ports.extend([((d, port), (Bound::Ipi, v))]),
            Op::BindVirq(d, virq, v) => self.ports.extend([((d, port), (Bound::Virq(virq), v))]),
            Op::BindInterdomain(d, r, p) => {
                self.ports.insert((d, port), (Bound::Inter(r, p), 0));
                self.ports.get_mut(&(r, p)).unwrap().0 = Bound::Inter(d, port);
                self.owed.insert((d, port));
            }
            Op::Close(d, p) => {
                if let Some((Bound::Inter(r, q), _)) = self.ports.remove(&(d, p)) {
                    self.ports.get_mut(&(r, q)).unwrap().0 = Bound::Unbound(d);
                }
                self.owed.remove(&(d, p));
            }
            Op::Send(d, p) => match self.ports[&(d, p)].0 {
                Bound::Inter(r, q) => self.owed.extend([(r, q)]),
                Bound::Ipi => self.owed.extend([(d, p)]),
                _ => {}
            },
            Op::Virq(d, v, virq) => self.owed.extend(self.virq_port(d, v, virq)),
            Op::BindVcpu(d, p, v) => self.ports.get_mut(&(d, p)).unwrap().1 = v,
            Op::InitControl(d, v) => {
                self.fifo.insert(d);
                self.controls.insert((d, v));
            }
            Op::ExpandArray(d) => self.arrays.extend([d]),
            Op::SetVcpuInfo(d, v) => self.infos.extend([(d, v)]),
            _ => {}
        }
    }

    fn check(&self, world: &World) {
        for d in 0..DOMAINS {
            for p in 1..64 {
                let expected = self.ports.get(&(d, p)).map_or((Status::Closed, 0), |(bound, v)| {
                    let status = match *bound {
                        Bound::Unbound(r) => Status::Unbound { domain: DomId(r + 100) },
                        Bound::Inter(r, q) => Status::Interdomain { domain: DomId(r + 100), port: q },
                        Bound::Virq(virq) => Status::Virq(virq),
                        Bound::Pirq(pirq) => Status::Pirq(pirq),
                        Bound::Ipi => Status::Ipi,
                    };
                    (status, *v)
                });
                let found = world.events().status(DomainSlot(d), p).unwrap_or((Status::Closed, 0));
                assert_eq!(found, expected, "port {p} of {d}");
            }
        }
    }

    /// The port of `d` that is bound though the model does not know it.
    fn new_port(&self, world: &World, d: u16) -> Option<u32> {
        let bound = |p: &u32| {
            let status = world.events().status(DomainSlot(d), *p);
            matches!(status, Ok((status, _)) if status != Status::Closed)
        };
        (1..160).filter(bound).find(|p| !self.ports.contains_key(&(d, *p)))
    }
}

fn step(world: &mut World, model: &mut Model, op: Op, crash: u64) {
    let expected = model.expect(op);
    let (_, first) = world.run_crashing(op, crash, 1 + crash % 11);
    let answer = first.unwrap_or_else(|| world.run(op));
    if let Answer::Consumed(ports) = &answer {
        let Op::Consume(d, _) = op else { unreachable!() };
        model.owed.retain(|(owner, port)| *owner != d || !ports.contains(port));
        return;
    }
    match (answer, expected) {
        (Answer::Consumed(_), _) => {}
        (Answer::Error(error), expected) => assert_eq!(Err(error), expected, "{op:?}"),
        (Answer::Value(_), Err(error)) => panic!("{op:?} should fail with {error:?}"),
        (Answer::Value(value), Ok(wanted)) => {
            let new = match op {
                Op::AllocUnbound(d, _)
                | Op::BindPirq(d, _)
                | Op::BindIpi(d, _)
                | Op::BindVirq(d, ..)
                | Op::BindInterdomain(d, ..) => model.new_port(world, d),
                _ => None,
            };
            if value != u32::MAX && !matches!(op, Op::Virq(..)) {
                assert_eq!(Some(value), wanted.or(new), "{op:?}");
            }
            model.happened(op, new.unwrap_or(0));
        }
    }
}

fn finale(world: &mut World, model: &mut Model) {
    for d in 0..DOMAINS {
        for v in 0..VCPUS {
            if model.fifo.contains(&d) && !model.controls.contains(&(d, v)) {
                step(world, model, Op::InitControl(d, v), u64::MAX);
            }
        }
        if model.fifo.contains(&d) && !model.arrays.contains(&d) {
            step(world, model, Op::ExpandArray(d), u64::MAX);
        }
        for p in 1..64 {
            world.run(Op::Unmask(d, p));
        }
        for v in 0..VCPUS {
            step(world, model, Op::Consume(d, v), u64::MAX);
        }
    }
    assert!(model.owed.is_empty(), "never delivered: {:?}", model.owed);
}

fn op() -> impl Strategy<Value = Op> {
    let d = || 0..DOMAINS;
    let p = || 1u32..14;
    let v = || 0..VCPUS + 1;
    let virq = || prop_oneof![Just(0u32), Just(1), Just(2), Just(9), Just(24)];
    prop_oneof![
        4 => (d(), d()).prop_map(|(a, b)| Op::AllocUnbound(a, b)),
        8 => (d(), d(), p()).prop_map(|(a, b, c)| Op::BindInterdomain(a, b, c)),
        3 => (d(), virq(), v()).prop_map(|(a, b, c)| Op::BindVirq(a, b, c)),
        2 => (d(), v()).prop_map(|(a, b)| Op::BindIpi(a, b)),
        1 => (d(), 0u32..40).prop_map(|(a, b)| Op::BindPirq(a, b)),
        3 => (d(), p()).prop_map(|(a, b)| Op::Close(a, b)),
        16 => (d(), p()).prop_map(|(a, b)| Op::Send(a, b)),
        3 => (d(), p()).prop_map(|(a, b)| Op::Unmask(a, b)),
        2 => (d(), p()).prop_map(|(a, b)| Op::Mask(a, b)),
        3 => (d(), p(), v()).prop_map(|(a, b, c)| Op::BindVcpu(a, b, c)),
        1 => (d(), 0..VCPUS).prop_map(|(a, b)| Op::InitControl(a, b)),
        1 => d().prop_map(Op::ExpandArray),
        1 => (d(), 0..VCPUS).prop_map(|(a, b)| Op::SetVcpuInfo(a, b)),
        6 => (d(), 0..VCPUS, virq()).prop_map(|(a, b, c)| Op::Virq(a, b, c)),
        6 => (d(), 0..VCPUS).prop_map(|(a, b)| Op::Consume(a, b)),
    ]
}

fn run(ops: &[(Op, u64)]) {
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref::<world::Crash>().is_none() {
            eprintln!("{info}");
        }
    }));
    let mut world = World::new();
    let mut model = Model::default();
    for (op, crash) in ops {
        step(&mut world, &mut model, *op, *crash);
        assert_eq!(audit(&world.region), Ok(()), "{op:?}");
    }
    model.check(&world);
    finale(&mut world, &mut model);
}

fn settings() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(7);
    ProptestConfig { cases: 400, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn agrees_with_the_model(ops in prop::collection::vec(op(), 1..120)) {
        run(&ops.iter().map(|op| (*op, u64::MAX)).collect::<Vec<_>>());
    }

    #[test]
    fn agrees_with_the_model_through_crashes(ops in prop::collection::vec((op(), 1u64..30), 1..120)) {
        run(&ops);
    }
}
