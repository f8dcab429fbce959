//! Crashes a transaction at every durable step and checks that it happened wholly or not at all.
#![cfg(feature = "crash-points")]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use vault::{Apply, Arena, Counter, Durable, Effect, LockWord, Log, Once, Phase, Word, record, step};

record! {
    /// A test record. Lock: the test's. Rebuild: nothing.
    struct Sample {
        small: Durable<u8>,
        used: Durable<bool>,
        record: Durable<u32>,
        big: Durable<u64>,
        later: Durable<u32>,
        count: Counter,
        state: Word,
        outside: Word,
    }
}

const DROP: u32 = 1;

struct Effects(&'static Sample);

impl Apply for Effects {
    fn apply(&mut self, effect: &Effect, once: &mut Once<'_, '_>) {
        assert_eq!(effect.kind, DROP);
        loop {
            let old = self.0.outside.get();
            once.then_set(&self.0.later, 77);
            if once.exchange(&self.0.outside, old, old - effect.a) {
                return;
            }
        }
    }
}

struct Crash;

fn crash_after(steps: u64) -> Rc<Cell<u64>> {
    let seen = Rc::new(Cell::new(0));
    let counter = seen.clone();
    step::arm(move || {
        counter.set(counter.get() + 1);
        if counter.get() == steps {
            std::panic::panic_any(Crash);
        }
    });
    seen
}

fn change(log: &'static Log, s: &'static Sample, lock: &'static LockWord, fail: bool) -> Result<(), ()> {
    log.transaction(&mut Effects(s), |tx| {
        tx.lock(lock);
        // `record` says something if `used` is set.
        tx.prepare(&s.record, 33);
        tx.set(&s.used, true);
        tx.set(&s.small, 9);
        // As if it had not been.
        let mark = tx.mark();
        tx.set(&s.small, 200);
        tx.add(&s.count, 1000);
        assert!(tx.exchange(&s.state, s.state.get(), 0x7777));
        tx.publish(Effect { kind: DROP, x: 0, a: 50, b: 0 });
        tx.advance(7);
        tx.back_to(mark, |noted| panic!("{noted:?}"));
        tx.set(&s.big, u64::MAX);
        tx.add(&s.count, 5);
        assert!(tx.exchange(&s.state, s.state.get(), 0x1_0001));
        tx.set(&s.small, 11);
        tx.publish(Effect { kind: DROP, x: 0, a: 3, b: 0 });
        tx.publish(Effect { kind: DROP, x: 0, a: 4, b: 0 });
        tx.advance(1);
        if fail { Err(()) } else { Ok(()) }
    })
}

fn values(s: &Sample) -> [u64; 7] {
    let record = if s.used.get() { s.record.get() } else { 0 };
    [
        record.into(),
        s.small.get().into(),
        s.big.get(),
        s.later.get().into(),
        s.count.get(),
        s.state.get(),
        s.outside.get(),
    ]
}

const BEFORE: [u64; 7] = [0, 0, 0, 0, 0, 0, 100];
const AFTER: [u64; 7] = [33, 11, u64::MAX, 77, 5, 0x1_0001, 93];

/// A log and a record whose `outside` is 100.
fn world() -> (&'static Log, &'static Sample) {
    let mut arena = Arena::leak(1 << 16);
    let log = &arena.carve::<Log>(1).unwrap()[0];
    let s = &arena.carve::<Sample>(1).unwrap()[0];
    log.begin();
    let _ = log.transaction(&mut Effects(s), |tx| -> Result<(), ()> {
        assert!(tx.exchange(&s.outside, 0, 100));
        Ok(())
    });
    (log, s)
}

/// Runs one change that crashes at step `first`, recovers with a crash at step `second`, recovers again.
/// Returns false when `first` lies behind the last step.
fn run(first: u64, second: u64, fail: bool) -> bool {
    std::panic::set_hook(Box::new(|_| {}));
    let (log, s) = world();
    let lock: &'static LockWord = Box::leak(Box::default());
    crash_after(first);
    let crashed = catch_unwind(AssertUnwindSafe(|| change(log, s, lock, fail))).is_err();
    crash_after(second);
    let recover = || {
        log.roll_back(&mut Effects(s));
        log.drain(&mut Effects(s));
    };
    let again = catch_unwind(AssertUnwindSafe(recover)).is_err();
    step::disarm();
    if again {
        recover();
    }
    let progress = log.head().progress();
    assert_eq!(log.head().phase(), Phase::Undo);
    let got = values(s);
    match progress {
        0 => assert_eq!(got, BEFORE, "undone, crash at {first}/{second}"),
        1 => assert_eq!(got, AFTER, "done, crash at {first}/{second}"),
        other => panic!("progress {other}"),
    }
    assert!(!(fail && progress == 1), "an error never commits");
    assert!(crashed || lock_free(lock));
    crashed
}

fn lock_free(lock: &LockWord) -> bool {
    !lock.is_held()
}

#[test]
fn every_step_of_a_change_and_of_its_recovery() {
    for fail in [false, true] {
        let mut first = 1;
        while run(first, u64::MAX, fail) {
            for second in 1..60 {
                run(first, second, fail);
            }
            first += 1;
        }
        assert!(first > 12, "the change has {first} steps only");
    }
}

#[test]
fn an_outbox_that_is_given_up_keeps_what_was_exchanged_and_its_consequences() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut given_up = 0;
    for first in 1.. {
        let (log, s) = world();
        let lock: &'static LockWord = Box::leak(Box::default());
        crash_after(first);
        let crashed = catch_unwind(AssertUnwindSafe(|| change(log, s, lock, false))).is_err();
        step::disarm();
        if !crashed {
            break;
        }
        if log.head().phase() == Phase::Outbox {
            log.abandon(&mut Effects(s));
            assert_eq!((log.head().phase(), log.head().undo()), (Phase::Undo, 0), "crash at {first}");
            assert!([100, 97, 93].contains(&s.outside.get()));
            assert_eq!(s.later.get() == 77, s.outside.get() < 100, "crash at {first}");
            given_up += 1;
        }
    }
    assert!(given_up > 4);
}
