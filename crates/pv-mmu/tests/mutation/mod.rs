//! Deliberate mistakes that the audit must notice at once.

use crate::crash::{crashing, quiet};
use crate::world::ops::{Random, random_op};
use crate::world::{Mutation, World};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use vault::kind;

/// Operations within which a mutation armed for the n-th effect of its kind must have struck.
const WITHIN: u32 = 4000;

/// Runs a stream with one mistake in it. Returns whether the audit noticed it after that operation, or nothing came of
/// it: an operation that is made in pieces may do again what was lost.
fn noticed(seed: u64, kind: u32, twice: bool) -> bool {
    let strikes = 1 + Random::new(seed).below(10) as u32;
    let (world, length, fault) = run(seed, Mutation { kind, twice }, strikes, WITHIN);
    assert!(world.strikes.load(Ordering::Relaxed) == 0, "seed {seed}: effect {kind} did not happen in time");
    fault || world.counts() == run(seed, Mutation::default(), 0, length).0.counts()
}

/// Runs a stream up to where the mistake strikes, but at most `most` operations: the world then, how many operations
/// they were, and whether the audit finds a fault.
fn run(seed: u64, mutation: Mutation, strikes: u32, most: u32) -> (World, u32, bool) {
    let mut r = Random::new(seed);
    let mut world = World::new();
    world.mutation = mutation;
    world.strikes.store(strikes, Ordering::Relaxed);
    r.below(10);
    for done in 1..=most {
        let op = random_op(&mut r);
        let budget = [3, 100][r.below(2) as usize];
        // The operation itself may stumble over the mistake.
        let fell = catch_unwind(AssertUnwindSafe(|| world.run(0, &op, budget))).is_err();
        let struck = strikes > 0 && world.strikes.load(Ordering::Relaxed) == 0;
        let fault = fell || world.audit().is_err();
        if struck {
            return (world, done, fault);
        }
        assert!(!fault, "seed {seed}: a fault before the mutation: {op:x?} {:?}", world.audit());
    }
    (world, most, false)
}

#[test]
fn an_effect_lost_or_doubled_is_noticed_at_once() {
    quiet();
    let mutations =
        [kind::PUT_REF, kind::PUT_TYPED, kind::VALID, kind::PTE, kind::M2P].map(|kind| (kind, false));
    for (kind, twice) in mutations.into_iter().chain([(kind::PUT_REF, true), (kind::PUT_TYPED, true)]) {
        for seed in 1..25 {
            assert!(noticed(seed, kind, twice), "seed {seed}: effect {kind}, twice: {twice}");
        }
    }
}

/// A forgotten undo entry is noticed whenever it changes a count.
#[test]
fn a_forgotten_undo_is_noticed() {
    quiet();
    let mut different = 0;
    for seed in 1..12 {
        let mut r = Random::new(seed);
        let mut world = World::new();
        for step in 0..400 {
            let op = random_op(&mut r);
            if step > 100 {
                let saved = world.save();
                let at = 1 + r.below(30);
                let crash = |world: &mut World| {
                    world.logs[0].begin();
                    crashing(at, || world.attempt(0, &op, 3)).0.is_none()
                };
                if crash(&mut world) && world.forget_undo(0) {
                    world.restart();
                    let (counts, fault) = (world.counts(), world.audit());
                    world.restore(&saved);
                    crash(&mut world);
                    world.restart();
                    if world.counts() != counts {
                        different += 1;
                        assert!(fault.is_err(), "seed {seed} step {step} {op:x?} crash at {at}");
                    }
                }
                world.restore(&saved);
            }
            world.run(0, &op, 20);
        }
    }
    assert!(different > 40, "{different} differences only");
}
