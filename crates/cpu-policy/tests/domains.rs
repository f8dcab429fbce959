//! Policies of domains: what the toolstack submits, in random streams, and a crash at every durable step.

use cpu_policy::cpuid::{Leaf, NO_SUBLEAF};
use cpu_policy::domains::Locks;
use cpu_policy::submission::Submission;
use cpu_policy::{Controls, Feature, Policies, Policy, SystemPolicies, control};
use ids::DomainSlot;
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use vault::{Apply, Effect, Ground, Log, Once, Tx, step};

const BYTES: usize = 1 << 16;
const DOMAINS: usize = 3;
const SLOT: DomainSlot = DomainSlot(1);

struct Nothing;

impl Apply for Nothing {
    fn apply(&mut self, _: &Effect, _: &mut Once<'_, '_>) {}
}

const fn leaf(eax: u32, ebx: u32, ecx: u32, edx: u32) -> Leaf {
    Leaf { eax, ebx, ecx, edx }
}

/// A processor of AMD's with every feature, and its caches told in Intel's way too.
fn cpuid(number: u32, subleaf: u32) -> Leaf {
    const ALL: u32 = u32::MAX;
    match (number, subleaf) {
        (0, _) => leaf(0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
        (1, _) => leaf(0x00a0_0f11, 0x0102_0800, ALL, ALL),
        (4, 0..4) => leaf(0x121 + subleaf, 0x01c0_003f, 0x3f, 0),
        (7, 0) => leaf(2, ALL, ALL, ALL & !(1 << 11)),
        (7, 1..=2) => leaf(ALL, ALL, ALL, ALL),
        (0xd, 0) => leaf(0x2e7, 0xa88, 0xa88, 0),
        (0xd, 1) => leaf(0xf, 0xa88, 0, 0),
        (0xd, 2) => leaf(0x100, 0x240, 0, 0),
        (0xd, 5) => leaf(0x40, 0x440, 0, 0),
        (0xd, 6) => leaf(0x200, 0x480, 0, 0),
        (0xd, 7) => leaf(0x400, 0x680, 0, 0),
        (0xd, 9) => leaf(0x8, 0xa80, 0, 0),
        (0x8000_0000, _) => leaf(0x8000_0021, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
        (0x8000_0001, _) => leaf(0x00a0_0f11, 0, ALL, ALL),
        (0x8000_0002..=0x8000_0006, _) => leaf(number, 1, 2, 3),
        (0x8000_0008, _) => leaf(0x3030, ALL, 0x7007, 0),
        (0x8000_0021, _) => leaf(ALL, 0, ALL, 0),
        _ => Leaf::EMPTY,
    }
}

fn system() -> &'static SystemPolicies {
    let controls = Controls { prediction_barrier: true, cpuid_faulting: true, ..Controls::default() };
    Box::leak(Box::new(SystemPolicies::new(cpuid, &controls)))
}

struct World {
    ground: Ground,
    system: &'static SystemPolicies,
    log: &'static Log,
    policies: Policies,
}

impl World {
    fn new() -> Self {
        let (ground, system) = (Ground::leak(BYTES), system());
        let (log, policies) = Self::carve(ground, system);
        Self { ground, system, log, policies }
    }

    fn carve(ground: Ground, system: &'static SystemPolicies) -> (&'static Log, Policies) {
        let mut arena = ground.arena();
        let log = &arena.carve::<Log>(1).expect("room")[0];
        let locks = Box::leak(Box::new(Locks::new()));
        let mut policies = Policies::carve(&mut arena, DOMAINS, locks).expect("room");
        policies.system = system;
        (log, policies)
    }

    fn change<O>(&self, f: impl FnOnce(&Policies, &mut Tx<'static>) -> O) -> O {
        self.log.begin();
        let done: Result<O, ()> = self.log.transaction(&mut Nothing, |tx| Ok(f(&self.policies, tx)));
        self.log.end();
        done.expect("it cannot fail")
    }

    /// What a submission gives over the present policy.
    fn submit(&self, leaves: &[(u32, u32, Leaf)], registers: &[(u32, u64)]) -> Option<Policy> {
        let mut submission = Submission::over(&self.policies.of(SLOT, false));
        leaves.iter().try_for_each(|(leaf, subleaf, value)| submission.leaf(*leaf, *subleaf, value)).ok()?;
        registers.iter().try_for_each(|(index, value)| submission.register(*index, 0, *value)).ok()?;
        submission.finish(self.system.max()).ok()
    }

    /// Everything there is to see of the domains' policies.
    fn seen(&self) -> Vec<(Policy, bool)> {
        let slots = (0..DOMAINS as u16).map(DomainSlot);
        slots.map(|slot| (*self.policies.of(slot, false), self.policies.is_fixed(slot))).collect()
    }
}

fn listed(policy: &Policy) -> Vec<(u32, u32, Leaf)> {
    let mut leaves = Vec::new();
    let all: Result<(), ()> = policy.each_leaf(|leaf, subleaf, value| {
        leaves.push((leaf, subleaf, value));
        Ok(())
    });
    assert_eq!(all, Ok(()));
    leaves
}

/// What must hold of any domain's policy.
fn check(world: &World, policy: &Policy) {
    let max = world.system.max();
    assert!(policy.features().is_subset(max.features()));
    assert_eq!(policy.features().with_requirements_met(), *policy.features());
    assert_eq!(policy.xcr0_mask() & !max.xcr0_mask(), 0);
    assert!(policy.leaf(0, 0).eax <= 0xd && policy.leaf(7, 0).eax <= 2);
    assert_eq!(control::write_cr4(0, u64::MAX, policy) & !control::CR4_GUEST, 0);
    // What the toolstack reads and sends back changes nothing.
    let registers = policy.registers().list();
    let again = {
        let mut submission = Submission::over(policy);
        for (leaf, subleaf, value) in listed(policy) {
            submission.leaf(leaf, subleaf, &value).expect("its own leaf");
        }
        registers.iter().for_each(|(index, value)| {
            submission.register(*index, 0, *value).expect("its own register");
        });
        submission.finish(max)
    };
    // An extended limit above the maximum can come about, as on Xen, and bars everything from then on.
    if policy.leaf(0x8000_0000, 0).eax <= max.leaf(0x8000_0000, 0).eax {
        assert_eq!(again.as_ref(), Ok(policy));
    }
}

#[test]
fn domains_begin_with_the_default() {
    let world = World::new();
    let of = |slot, hardware| *world.policies.of(DomainSlot(slot), hardware);
    assert_eq!((of(0, true), of(1, false)), (*world.system.hardware(), *world.system.default()));
    check(&world, world.system.default());
    check(&world, world.system.hardware());
}

#[test]
fn another_s_policy_stays() {
    let world = World::new();
    let mut wanted = cpuid(1, 0);
    wanted.ecx &= !Feature::XSAVE.mask();
    let policy = world.submit(&[(1, NO_SUBLEAF, wanted)], &[(0xce, 0)]).expect("allowed");
    assert!(!policy.has(Feature::AVX2) && !policy.cpuid_faulting() && policy.xcr0_mask() == 0);
    world.change(|policies, tx| policies.choose(tx, SLOT, &policy));
    assert_eq!(*world.policies.of(SLOT, false), policy);
    assert_eq!(*world.policies.of(DomainSlot(2), false), *world.system.default());
    assert_eq!(control::write_xcr(0, 3, &world.policies.of(SLOT, false)), Err(cpu_policy::GeneralProtection));
    world.change(|policies, tx| policies.reset(tx, SLOT));
    assert_eq!(*world.policies.of(SLOT, false), *world.system.default());
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Choose,
    Fix,
    Reset,
}

fn perform(world: &World, op: Op, policy: &Policy) {
    world.change(|policies, tx| match op {
        Op::Choose => policies.choose(tx, SLOT, policy),
        Op::Fix => policies.fix(tx, SLOT),
        Op::Reset => policies.reset(tx, SLOT),
    });
}

struct Crash;

#[test]
fn a_crash_at_every_step() {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<Crash>() {
            quiet(info);
        }
    }));
    let mut world = World::new();
    let mut lowered = cpuid(1, 0);
    lowered.edx &= !1;
    let first = world.submit(&[(1, NO_SUBLEAF, lowered)], &[]).expect("allowed");
    let second = world.submit(&[(0x8000_0004, NO_SUBLEAF, leaf(9, 8, 7, 6))], &[(0xce, 0)]).expect("allowed");
    for (op, policy) in [
        (Op::Choose, &first),
        (Op::Choose, &second),
        (Op::Fix, &first),
        (Op::Reset, &first),
        (Op::Choose, &first),
    ] {
        let before = world.seen();
        let wanted = match op {
            Op::Choose => (*policy, before[1].1),
            Op::Fix => (before[1].0, true),
            Op::Reset => (*world.system.default(), false),
        };
        let wanted = vec![before[0], wanted, before[2]];
        let mut undone = 0;
        for at in 1.. {
            let mut left = at;
            step::arm(move || {
                left -= 1;
                if left == 0 {
                    std::panic::panic_any(Crash);
                }
            });
            let done = catch_unwind(AssertUnwindSafe(|| perform(&world, op, policy)));
            step::disarm();
            if done.is_ok() {
                break;
            }
            // A start: new locks, nothing derived.
            (world.log, world.policies) = World::carve(world.ground, world.system);
            world.log.roll_back(&mut Nothing);
            world.log.drain(&mut Nothing);
            world.log.end();
            if world.seen() == before {
                undone += 1;
            } else {
                assert!(world.seen() == wanted, "{op:?} in part, crashed at {at}");
            }
        }
        assert!(undone > 2, "{op:?} crashed {undone} times");
        assert!(world.seen() == wanted, "{op:?}");
    }
}

fn any_leaf() -> impl Strategy<Value = (u32, u32, Leaf)> {
    let number = prop_oneof![0..0x10u32, 0x8000_0000..0x8000_0024u32, Just(0x4000_0000), any::<u32>()];
    let subleaf = prop_oneof![Just(NO_SUBLEAF), 0..3u32, 0..70u32];
    let word = || prop_oneof![Just(0), Just(u32::MAX), any::<u32>(), 0..0x20u32, 0x8000_0000..0x8000_0030u32];
    (number, subleaf, word(), word(), word(), word()).prop_map(|(number, subleaf, a, b, c, d)| {
        let subleaf = if [4, 7, 0xb, 0xd].contains(&number) { subleaf % 70 } else { subleaf };
        (number, subleaf, leaf(a, b, c, d))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_is_submitted(streams in prop::collection::vec(prop::collection::vec(any_leaf(), 1..6), 1..12), caps: u64) {
        let world = World::new();
        for leaves in streams {
            if let Some(policy) = world.submit(&leaves, &[(0x10a, caps)]) {
                check(&world, &policy);
                world.change(|policies, tx| policies.choose(tx, SLOT, &policy));
                prop_assert_eq!(*world.policies.of(SLOT, false), policy);
            }
        }
    }
}
