//! Two processors: the second runs a whole operation between two durable steps of the first, which then
//! goes on, or crashes.

mod claims;
mod marks;

use crate::crash::{Crash, quiet};
use crate::world::World;
use crate::world::ops::{Op, Random, Tried, random_op};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::mpsc::{channel, sync_channel};
use std::time::Duration;

/// How long the first processor waits for the second, which says so if it waits for a lock of the first.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Met {
    /// `None`: it crashed.
    first: Option<Tried>,
    /// `None`: the first ended before its turn came.
    second: Option<Tried>,
}

/// Runs `first` on CPU 0 and, at its durable step `at`, `second` on CPU 1. The crash comes so many steps
/// later, unless the second still waits.
fn meet(world: &World, ops: [&Op; 2], budget: u32, at: u64, crash: Option<u64>) -> Met {
    let [first, second] = ops;
    beside(world, || world.attempt(0, first, budget), (second, budget), at, crash)
}

/// The same of whatever is done on CPU 0.
fn beside(
    world: &World,
    first: impl FnOnce() -> Tried,
    (second, budget): (&Op, u32),
    at: u64,
    crash: Option<u64>,
) -> Met {
    world.logs.iter().for_each(vault::Log::begin);
    std::thread::scope(|scope| {
        let (go, start) = channel::<()>();
        // Whether it is over, or waits.
        let (finish, finished) = sync_channel::<bool>(1);
        let other = scope.spawn(move || {
            let waiting = finish.clone();
            vault::step::arm_pause(move || {
                let _ = waiting.try_send(false);
                std::thread::yield_now();
            });
            let tried = start.recv().ok().map(|()| world.attempt(1, second, budget));
            vault::step::disarm();
            // The first may have ended without waiting, or gone on.
            let _ = finish.try_send(true);
            tried
        });
        let mut go = Some(go);
        let (mut steps, mut over) = (0, false);
        vault::step::arm(move || {
            steps += 1;
            if steps == at
                && let Some(go) = go.take()
            {
                go.send(()).expect("the other waits");
                over = finished.recv_timeout(PATIENCE) == Ok(true);
            }
            if over && crash.is_some_and(|later| steps == at + later) {
                panic_any(Crash);
            }
        });
        let result = catch_unwind(AssertUnwindSafe(first));
        vault::step::disarm();
        let first = match result {
            Ok(tried) => Some(tried),
            Err(e) if e.is::<Crash>() => None,
            Err(e) => resume_unwind(e),
        };
        Met { first, second: other.join().expect("the other processor") }
    })
}

/// All meetings of two operations from one state.
fn meetings(world: &mut World, ops: [&Op; 2], crash: Option<u64>) -> Result<u64, String> {
    let saved = world.save();
    let mut count = 0;
    for at in 1..60 {
        world.restore(&saved);
        let before = world.owners();
        let met = meet(world, ops, [0, 2, 30][at as usize % 3], at, crash);
        if met.second.is_none() {
            break;
        }
        count += 1;
        if met.first.is_none() {
            world.restart();
        }
        for (cpu, op) in ops.iter().enumerate() {
            if world.logs[cpu].head().progress() > 0 {
                world.book(op, &before);
            }
            world.logs[cpu].end();
        }
        world.audit().map_err(|e| format!("{ops:x?} at {at}: {met:x?}: {e}"))?;
        world.run(0, ops[0], 30);
        world.audit().map_err(|e| format!("{ops:x?} at {at}: {met:x?}, repeated: {e}"))?;
    }
    world.restore(&saved);
    Ok(count)
}

/// Allocations are told apart by who got which frame, which two at once blur; and a reference undone after
/// all others went leaves a frame to nobody, which the audit says.
fn is_left_out(op: &Op) -> bool {
    matches!(op, Op::Allocate { .. } | Op::Free { .. } | Op::Settle { .. } | Op::Fill { .. })
}

fn races(seeds: std::ops::Range<u64>, rounds: u32, crash: bool) {
    quiet();
    let (mut total, mut faults) = (0, Vec::new());
    for seed in seeds {
        let mut r = Random::new(seed);
        let mut world = World::new();
        let mut round = 0;
        while round < rounds {
            for _ in 0..if round == 0 { 150 } else { 10 } {
                let (op, budget) = (random_op(&mut r), [0, 40][r.below(2) as usize]);
                if r.chance(30) {
                    world.enter(1, &op, budget);
                } else {
                    world.run(1, &op, budget);
                }
            }
            let (first, mut second) = (random_op(&mut r), random_op(&mut r));
            if r.chance(50) {
                second = near(&mut r, &first).unwrap_or(second);
            }
            let drops = |op: &Op| matches!(op, Op::DropBase { .. } | Op::DropSegments { .. });
            if is_left_out(&first) || is_left_out(&second) || drops(&first) && drops(&second) {
                continue;
            }
            round += 1;
            match meetings(&mut world, [&first, &second], crash.then(|| r.below(4))) {
                Ok(n) => total += n,
                Err(e) => {
                    faults.push(format!("seed {seed} round {round}: {e}"));
                    break;
                }
            }
        }
    }
    println!("meetings: {total}");
    assert!(faults.is_empty(), "{} faults, first: {:#?}", faults.len(), &faults[..faults.len().min(5)]);
}

/// An operation on what another is about.
fn near(r: &mut Random, op: &Op) -> Option<Op> {
    (0..200).map(|_| random_op(r)).find(|other| subject_of(other).is_some_and(|s| Some(s) == subject_of(op)))
}

fn subject_of(op: &Op) -> Option<u64> {
    match *op {
        Op::Pin { mfn, .. } | Op::Unpin { mfn, .. } | Op::Base { mfn, .. } | Op::DropBase { mfn } => {
            Some(mfn)
        }
        Op::Update { new, at, .. } => Some(if new & 1 == 1 { new >> 12 & 0xffff } else { at >> 12 }),
        Op::Leaf { at, .. } => Some(at >> 12),
        _ => None,
    }
}

/// A table whose completion is undone after another processor has linked it stays a table.
#[test]
fn a_table_is_linked_only_when_its_completion_is_committed() {
    quiet();
    let mut world = World::new();
    let Tried::Done = world.run(0, &Op::Allocate { domain: 0, order: 1 }, 30) else { panic!("memory") };
    let first = world.frames.list(ids::DomainSlot(0)).first().expect("two frames").0;
    let (low, high) = (first, first + 1);
    let entry = |mfn: u64| vec![(3, mfn << 12 | 0x23)];
    world.run(0, &Op::Fill { domain: 0, mfn: high, words: entry(low) }, 30);
    let ops = [&Op::Pin { domain: 0, mfn: low, level: 1 }, &Op::Pin { domain: 0, mfn: high, level: 2 }];
    let saved = world.save();
    for (at, later) in (1..30).flat_map(|at| (0..4).map(move |later| (at, later))) {
        world.restore(&saved);
        let met = meet(&world, ops, 30, at, Some(later));
        if met.first.is_some() || met.second != Some(Tried::Done) {
            continue;
        }
        world.restart();
        world.audit().unwrap_or_else(|e| panic!("{at} {later}: {e}"));
        let frame = world.frames.frame(ids::Mfn(low)).expect("a frame");
        assert!(frame.usage().is_validated(), "{at} {later}: {:?}", frame.usage());
        // Somebody wants it for something else.
        let (mmu, mut j) = world.parts(0, 30);
        mmu.reclaim(&mut j, ids::Mfn(low)).expect("no long work");
        world.audit().unwrap_or_else(|e| panic!("{at} {later}, reclaimed: {e}"));
        assert!(frame.usage().is_validated(), "{at} {later}: {:?}", frame.usage());
    }
}

#[test]
fn operations_that_meet_keep_the_books() {
    races(1..15, 60, false);
}

#[test]
fn operations_that_meet_a_crash_keep_the_books() {
    races(100..118, 60, true);
}
