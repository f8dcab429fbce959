//! Streams of random operations; the audit after each.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::world::World;
use crate::world::ops::{Random, Tried, random_op};

/// Steps one operation may take; more is an endless loop.
const MAX_STEPS: u64 = 3_000_000;

/// Runs an operation; an endless loop or a panic becomes a fault.
fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    let mut left = MAX_STEPS;
    vault::step::arm(move || {
        left -= 1;
        assert!(left > 0, "an endless loop");
    });
    let result = catch_unwind(AssertUnwindSafe(f));
    vault::step::disarm();
    result.map_err(|e| match e.downcast::<String>() {
        Ok(text) => *text,
        Err(e) => e.downcast_ref::<&str>().map_or("a panic".into(), |s| (*s).into()),
    })
}

/// Runs a stream; stops at the first fault and says where.
fn stream(seed: u64, steps: u32, budgets: &[u32], abandon: u64) -> Result<[u32; 3], String> {
    let mut r = Random::new(seed);
    let mut world = World::new();
    let mut seen = [0; 3];
    for step in 0..steps {
        let op = random_op(&mut r);
        let budget = budgets[r.below(budgets.len() as u64) as usize];
        let cpu = r.below(2) as usize;
        let once = r.chance(abandon);
        let at = format!("seed {seed} step {step} {op:x?} budget {budget}");
        let below = world.table_below(&op);
        let tried =
            guarded(|| if once { world.enter(cpu, &op, budget) } else { world.run(cpu, &op, budget) })
                .map_err(|e| format!("{at}: {e}"))?;
        match tried {
            Tried::Done => seen[0] += 1,
            Tried::Refused(_) => seen[1] += 1,
            Tried::Preempted | Tried::Owing => seen[2] += 1,
        }
        world.audit().map_err(|e| format!("{at} {tried:?}: {e}"))?;
        if tried == Tried::Done && below.is_some_and(|mfn| world.is_dormant(mfn)) {
            return Err(format!("{at}: {below:x?} is left dormant"));
        }
    }
    guarded(|| world.tear_down()).and_then(|r| r).map_err(|e| format!("seed {seed} teardown: {e}"))?;
    Ok(seen)
}

fn streams(seeds: std::ops::Range<u64>, steps: u32, budgets: &[u32], abandon: u64) {
    let mut total = [0; 3];
    let mut faults = Vec::new();
    for seed in seeds {
        match stream(seed, steps, budgets, abandon) {
            Ok(seen) => (0..3).for_each(|i| total[i] += seen[i]),
            Err(e) => faults.push(e),
        }
    }
    println!("done, refused, preempted: {total:?}");
    assert!(faults.is_empty(), "{} faults, first: {:#?}", faults.len(), &faults[..faults.len().min(5)]);
}

#[test]
fn undisturbed_streams_keep_the_books() {
    streams(1..40, 1500, &[200], 0);
}

#[test]
fn preempted_streams_keep_the_books() {
    streams(100..140, 1500, &[0, 1, 2, 3, 30], 0);
}

#[test]
fn abandoned_work_is_taken_up_by_others() {
    streams(200..240, 1500, &[0, 0, 1, 2], 60);
}
