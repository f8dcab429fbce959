//! Crashes an outbox whose effects have parts at every durable step, and its recovery: each part happens exactly once.
#![cfg(feature = "crash-points")]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::rc::Rc;
use vault::{Apply, Arena, Durable, Effect, Log, Once, Phase, Puts, Word, kind, record, step};

record! {
    /// A test record. Lock: the test's. Rebuild: nothing.
    struct Sample {
        told: Durable<u64>,
        counted: Word,
    }
}

/// Parts of an effect. Every third does nothing; of the others, which count up a digit each, the odd ones have a consequence.
const PARTS: u32 = 8;

struct Effects(&'static Sample);

impl Apply for Effects {
    fn plain_put(&mut self, effect: Effect) -> Option<(&'static Word, u64, u64)> {
        let (part, old) = (effect.a, self.0.counted.get());
        part.is_multiple_of(2).then_some((&self.0.counted, old, old + (1 << (4 * part))))
    }

    fn put_entries(&mut self, effect: &Effect, puts: &mut Puts<'_, '_>) {
        for part in puts.done()..PARTS {
            if !part.is_multiple_of(3) {
                puts.put(self, part + 1, kind::PUT_TYPED, effect.a + u64::from(part));
            }
        }
    }

    fn apply(&mut self, effect: &Effect, once: &mut Once<'_, '_>) {
        assert_eq!(effect.kind, kind::PUT_TYPED);
        let old = self.0.counted.get();
        once.then_set(&self.0.told, effect.a);
        assert!(once.exchange(&self.0.counted, old, old + (1 << (4 * effect.a))));
    }
}

struct Crash;

/// Whether `f` crashes at its step `at`.
fn crashes(at: u64, f: impl FnOnce()) -> bool {
    let seen = Rc::new(Cell::new(0));
    step::arm(move || {
        seen.set(seen.get() + 1);
        if seen.get() == at {
            panic_any(Crash);
        }
    });
    let crashed = catch_unwind(AssertUnwindSafe(f)).is_err();
    step::disarm();
    crashed
}

fn change(log: &'static Log, s: &'static Sample) {
    let done: Result<(), ()> = log.transaction(&mut Effects(s), |tx| {
        tx.publish_set(&s.told, 99);
        // Two in a row, and one behind what is not counted by the head.
        for first in [0, u64::from(PARTS)] {
            tx.publish(Effect { kind: kind::PUT_ENTRIES, x: 0, a: first, b: 0 });
        }
        tx.advance(1);
        Ok(())
    });
    assert_eq!(done, Ok(()));
}

/// Runs the change with a crash at step `first` and one of its recovery at `second`. False: it has no such step.
fn run(first: u64, second: u64) -> bool {
    let mut arena = Arena::leak(1 << 16);
    let log = &arena.carve::<Log>(1).expect("room")[0];
    let s = &arena.carve::<Sample>(1).expect("room")[0];
    log.begin();
    let crashed = crashes(first, || change(log, s));
    let recover = || {
        log.roll_back(&mut Effects(s));
        log.drain(&mut Effects(s));
    };
    if crashes(second, recover) {
        recover();
    }
    assert_eq!(log.head().phase(), Phase::Undo);
    let parts = (0..PARTS).filter(|part| !part.is_multiple_of(3)).map(|part| 1 << (4 * part));
    let once: u64 = parts.sum();
    let (counted, told) = (s.counted.get(), s.told.get());
    match log.head().progress() {
        0 => assert_eq!((counted, told), (0, 0), "undone, crash at {first}/{second}"),
        _ => assert_eq!((counted, told), (once | once << 32, 15), "done, crash at {first}/{second}"),
    }
    crashed
}

#[test]
fn each_part_happens_once_wherever_it_crashes() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut first = 1;
    while run(first, u64::MAX) {
        for second in 1..50 {
            run(first, second);
        }
        first += 1;
    }
    assert!(first > 20, "{first} steps only");
}
