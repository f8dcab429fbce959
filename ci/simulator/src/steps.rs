//! Steps, and what ends a run before its end: unwinding stands for the loss of the stack.

use crate::machine::{Machine, this_cpu};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use system::{Flush, Power};

/// Something that outlives a crash happens here: a word of the vault, of guest memory, of a device.
pub(crate) fn step() {
    vault::step::point();
}

/// What ends a run early. Unwound without a panic's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The hypervisor fails.
    Crash,
    /// The CPU waits for an interrupt.
    Asleep,
    /// The machine goes off.
    Off(Power),
    /// It does not come to an end.
    Endless,
    /// Processors wait for each other.
    Deadlock,
    /// A processor still translates to what is not its guest's to access.
    Stale,
}

/// Leaves the hypervisor.
pub(crate) fn cut(why: Cut) -> ! {
    resume_unwind(Box::new(why))
}

/// Steps after which a run is said to be endless.
const ENDLESS: u64 = 2_000_000;

/// How a run ended, and the steps it took.
#[derive(Debug)]
pub struct Ran<T> {
    /// What it came to, or why it was cut.
    pub result: Result<T, Cut>,
    /// Steps.
    pub steps: u64,
}

/// Runs `f`, which fails at step `at` (the first is 1; 0: never). Panics of `f` go on as such.
pub(crate) fn run<T>(at: u64, f: impl FnOnce() -> T) -> Ran<T> {
    run_watched(at, || (), f)
}

/// The same; calls `watch` at each step.
pub(crate) fn run_watched<T>(at: u64, watch: impl Fn() + 'static, f: impl FnOnce() -> T) -> Ran<T> {
    let seen = Rc::new(Cell::new(0));
    let count = seen.clone();
    vault::step::arm(move || {
        count.set(count.get() + 1);
        watch();
        if count.get() == at {
            cut(Cut::Crash);
        }
        if count.get() > ENDLESS {
            cut(Cut::Endless);
        }
    });
    let result = catch_unwind(AssertUnwindSafe(f));
    vault::step::disarm();
    Ran { result: unwound(result), steps: seen.get() }
}

/// What a run came to that may have been cut. Panics go on as such.
pub(crate) fn unwound<T>(result: std::thread::Result<T>) -> Result<T, Cut> {
    result.map_err(|e| match e.downcast_ref::<Cut>() {
        Some(why) => *why,
        None => resume_unwind(e),
    })
}

impl Machine {
    /// The CPU has nothing to do: the run ends here, and the next interrupt begins another.
    pub(crate) fn sleep(&self) -> ! {
        // It flushes before it does anything else.
        self.tlbs.borrow_mut()[this_cpu() as usize].flush(Flush::All);
        cut(Cut::Asleep)
    }
}
