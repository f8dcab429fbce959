//! Several processors at once: each is a thread, and one baton goes round. Who has it runs; it passes on at the
//! steps that a plan names, when its holder waits for a lock, and at the end. So a plan fixes the run.
//!
//! When a processor crashes, the others stop where they are, in the middle of an entry, whatever locks they hold.

use crate::machine::become_cpu;
use crate::steps::{Cut, cut, unwound};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Waits for locks without a step of anybody's in between, after which they wait for each other.
const PATIENCE: u32 = 64;
/// Steps after which a run is said to be endless.
const ENDLESS: u64 = 1_000_000;

/// What a run does when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schedule {
    /// The processor that begins.
    pub first: u32,
    /// Steps of the run, in order, at which the baton passes on.
    pub switches: Vec<u64>,
    /// The step at which its processor crashes; 0: none.
    pub crash: u64,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Together<T> {
    /// By processor: its result, or why it was cut. One that was stopped because another crashed is cut like it.
    pub results: Vec<Result<T, Cut>>,
    /// Who crashed.
    pub crashed: Option<u32>,
}

#[derive(Debug)]
struct State {
    schedule: Schedule,
    /// The next of the switches.
    next: usize,
    /// Who has the baton; nobody's number when all are done.
    turn: u32,
    done: Vec<bool>,
    steps: u64,
    waits: u32,
    crashed: Option<u32>,
}

#[derive(Debug)]
struct Baton {
    state: Mutex<State>,
    passed: Condvar,
}

impl State {
    /// Passes the baton to the next processor that is not done.
    fn pass_on(&mut self, from: u32) {
        let cpus = self.done.len() as u32;
        let next = (1..=cpus).map(|step| (from + step) % cpus).find(|cpu| !self.done[*cpu as usize]);
        self.turn = next.unwrap_or(cpus);
    }
}

impl Baton {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of a processor; stops it there if another has crashed.
    fn wait(&self, mut state: MutexGuard<'_, State>, cpu: u32) {
        self.passed.notify_all();
        while state.turn != cpu {
            state = self.passed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let stopped = state.crashed.is_some();
        drop(state);
        if stopped {
            cut(Cut::Crash);
        }
    }

    fn step(&self, cpu: u32) {
        let mut state = self.state();
        state.steps += 1;
        state.waits = 0;
        let now = state.steps;
        if now > ENDLESS {
            drop(state);
            cut(Cut::Endless);
        }
        if now == state.schedule.crash {
            state.crashed = Some(cpu);
            drop(state);
            cut(Cut::Crash);
        }
        if state.schedule.switches.get(state.next) == Some(&now) {
            state.next += 1;
            state.pass_on(cpu);
            if state.turn != cpu {
                self.wait(state, cpu);
            }
        }
    }

    /// The processor waits for what another one holds.
    fn pause(&self, cpu: u32) {
        let mut state = self.state();
        state.waits += 1;
        let stuck = state.waits > PATIENCE;
        state.pass_on(cpu);
        if stuck {
            drop(state);
            cut(Cut::Deadlock);
        }
        self.wait(state, cpu);
    }

    fn finish(&self, cpu: u32) {
        let mut state = self.state();
        state.done[cpu as usize] = true;
        state.waits = 0;
        state.pass_on(cpu);
        self.passed.notify_all();
    }
}

/// Runs `f` on all processors. `watch` is called at each step, by the processor that makes it; `busy` when a
/// processor begins and when it is over.
pub(crate) fn together<T: Send>(
    cpus: u32,
    schedule: Schedule,
    watch: impl Fn() + Clone + Send + Sync + 'static,
    busy: impl Fn(bool) + Sync,
    f: impl Fn(u32) -> T + Sync,
) -> Together<T> {
    let state = State {
        next: 0,
        turn: schedule.first,
        schedule,
        done: vec![false; cpus as usize],
        steps: 0,
        waits: 0,
        crashed: None,
    };
    let baton = Arc::new(Baton { state: Mutex::new(state), passed: Condvar::new() });
    let run = |cpu: u32| {
        become_cpu(cpu);
        let (stepping, pausing, watch) = (baton.clone(), baton.clone(), watch.clone());
        vault::step::arm(move || {
            watch();
            stepping.step(cpu);
        });
        vault::step::arm_pause(move || pausing.pause(cpu));
        let result = catch_unwind(AssertUnwindSafe(|| {
            baton.wait(baton.state(), cpu);
            busy(true);
            f(cpu)
        }));
        busy(false);
        vault::step::disarm();
        baton.finish(cpu);
        result
    };
    let run = &run;
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..cpus).map(|cpu| scope.spawn(move || run(cpu))).collect();
        let own = run(0);
        let others = threads.into_iter().map(|thread| thread.join().unwrap_or_else(Err));
        std::iter::once(own).chain(others).map(unwound).collect()
    });
    let state = baton.state();
    Together { results, crashed: state.crashed }
}
