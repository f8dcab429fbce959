//! Crashes at every durable step of random operations in random states, and inside the recovery.

use crate::world::World;
use crate::world::ops::{MAX_TRIES, Op, Random, Tried, random_op};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::rc::Rc;

pub(crate) struct Crash;

/// Runs `f`, which crashes at durable step `at`; `None` when it did. Also the steps it took.
pub(crate) fn crashing<T>(at: u64, f: impl FnOnce() -> T) -> (Option<T>, u64) {
    let seen = Rc::new(Cell::new(0));
    let count = seen.clone();
    vault::step::arm(move || {
        count.set(count.get() + 1);
        if count.get() == at {
            panic_any(Crash);
        }
    });
    let result = catch_unwind(AssertUnwindSafe(f));
    vault::step::disarm();
    match result {
        Ok(value) => (Some(value), seen.get()),
        Err(e) if e.is::<Crash>() => (None, seen.get()),
        Err(e) => resume_unwind(e),
    }
}

/// Where an operation crashes: which of its entries, at which step of it, and at which step of recovery.
#[derive(Clone, Copy, Debug)]
struct At {
    entry: u32,
    step: u64,
    recovery: u64,
}

/// What a crashed operation came to.
struct Ran {
    crashed: bool,
    ended: Tried,
}

/// Runs an operation to its end with one crash in it. As a guest does, whose entry is repeated unless it
/// was committed.
fn run_crashing(world: &mut World, op: &Op, budget: u32, at: At) -> Result<Ran, String> {
    let (mut crashed, mut op) = (false, op);
    for entry in 0..MAX_TRIES {
        let tried = if entry == at.entry {
            let before = world.owners();
            world.logs[0].begin();
            let (tried, _) = crashing(at.step, || world.attempt(0, op, budget));
            if tried.is_none() {
                crashed = true;
                if crashing(at.recovery, || world.restart()).0.is_none() {
                    world.restart();
                }
            }
            let done = world.logs[0].head().progress() > 0;
            if done {
                world.book(op, &before);
            }
            world.logs[0].end();
            world.audit().map_err(|e| format!("after the crash: {e}"))?;
            match tried {
                Some(tried) if tried != Tried::Preempted => tried,
                _ if done => Tried::Owing,
                _ => Tried::Preempted,
            }
        } else {
            world.enter(0, op, budget)
        };
        if tried == Tried::Owing {
            op = &Op::Rest;
        } else if tried != Tried::Preempted {
            return Ok(Ran { crashed, ended: tried });
        }
    }
    Err("no end".into())
}

/// All crashes of one operation from one state. Returns how many there were.
fn every_crash(world: &mut World, op: &Op, budget: u32, r: &mut Random) -> Result<u64, String> {
    let saved = world.save();
    let ended = world.run(0, op, budget);
    let outcome = world.outcome();
    let mut crashes = 0;
    'entries: for entry in 0..4 {
        for step in 1.. {
            let at = At { entry, step, recovery: 1 + r.below(12) };
            world.restore(&saved);
            let fail = |e: String| format!("{at:?}: {e}");
            let ran = run_crashing(world, op, budget, at).map_err(fail)?;
            if !ran.crashed {
                if step == 1 {
                    break 'entries;
                }
                break;
            }
            crashes += 1;
            world.audit().map_err(|e| fail(format!("at the end: {e}")))?;
            if ran.ended != ended {
                return Err(fail(format!("ended {:?}, without a crash {ended:?}", ran.ended)));
            }
            if world.debts[0].table.get() != ids::Mfn(0) {
                return Err(fail("a debt stays".into()));
            }
            compare(&world.outcome(), &outcome).map_err(fail)?;
        }
    }
    Ok(crashes)
}

type Outcome = (Vec<String>, Vec<u64>, Vec<u64>, u64);

fn compare(got: &Outcome, wanted: &Outcome) -> Result<(), String> {
    for (mfn, (a, b)) in got.0.iter().zip(&wanted.0).enumerate() {
        if a != b {
            return Err(format!("frame {mfn:#x} is {a}, without a crash {b}"));
        }
    }
    if let Some(i) = got.1.iter().zip(&wanted.1).position(|(a, b)| a != b) {
        return Err(format!("memory {:#x} is {:#x}, without a crash {:#x}", i * 8, got.1[i], wanted.1[i]));
    }
    if got.2 != wanted.2 || got.3 != wanted.3 {
        return Err("M2P or the heap's counter differs".into());
    }
    Ok(())
}

/// Random states; in each, one operation crashes everywhere and then once more somewhere for good.
fn crashes(seed: u64, rounds: u32) -> Result<u64, String> {
    let mut r = Random::new(seed);
    let mut world = World::new();
    let mut crashes = 0;
    for round in 0..rounds {
        for _ in 0..if round == 0 { 120 } else { 12 } {
            let op = random_op(&mut r);
            if r.chance(25) {
                world.enter(1, &op, r.below(3) as u32);
            } else {
                world.run(1, &op, 40);
            }
        }
        let op = random_op(&mut r);
        let budget = [0, 1, 3, 40][r.below(4) as usize];
        let at = format!("seed {seed} round {round} {op:x?} budget {budget}");
        crashes += every_crash(&mut world, &op, budget, &mut r).map_err(|e| format!("{at} {e}"))?;
    }
    world.tear_down().map_err(|e| format!("seed {seed} teardown: {e}"))?;
    Ok(crashes)
}

/// Crashes are no news; other panics are.
pub(crate) fn quiet() {
    std::panic::set_hook(Box::new(|info| {
        if !info.payload().is::<Crash>() {
            eprintln!("{info}");
        }
    }));
}

#[test]
fn a_crash_at_every_step_changes_nothing_in_the_end() {
    quiet();
    let mut total = 0;
    let mut faults = Vec::new();
    for seed in 1000..1022 {
        match crashes(seed, 150) {
            Ok(n) => total += n,
            Err(e) => faults.push(e),
        }
    }
    println!("crashes: {total}");
    assert!(faults.is_empty(), "{} faults, first: {:#?}", faults.len(), &faults[..faults.len().min(5)]);
    assert!(total > 10_000, "{total} crashes only");
}
