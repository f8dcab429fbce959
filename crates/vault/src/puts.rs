//! An effect in parts: references that are dropped one after the other.

use crate::cell::Word;
use crate::effect::{Apply, Effect, Once};
use crate::head::Head;
use crate::lock::Held;
use crate::log::Log;
use crate::{kind, step};

/// A reference from whose end something follows, mostly that a frame is free: so many parts are done meanwhile.
const FOLLOWED: u32 = 4;

/// The hold that an effect [`PUT_ENTRIES`](kind::PUT_ENTRIES) has on the log: each of its references is dropped exactly
/// once, for the head says with each how many parts of the effect are done, 65,535 at most.
pub struct Puts<'l, 'h> {
    log: &'l Log,
    pub(crate) head: Head,
    done: u32,
    /// The head when no part is done.
    none: Head,
    /// What followed, in parts.
    followed: u32,
    held: &'h mut Held<'l>,
}

impl core::fmt::Debug for Puts<'_, '_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Puts({:?}, done {})", self.head, self.done)
    }
}

impl<'l, 'h> Puts<'l, 'h> {
    pub(crate) fn new(log: &'l Log, head: Head, index: usize, held: &'h mut Held<'l>) -> Self {
        // Effects before this one that may be repeated are not counted by the head.
        let done = if head.applied() == index { head.parts() } else { 0 };
        Self { log, head, done, none: head.with_applied(index), followed: 0, held }
    }

    /// Parts that were done before a crash.
    pub const fn done(&self) -> u32 {
        self.done
    }

    /// How long this took, in parts: nothing is counted with each, so one that dropped no reference is as long as one that
    /// did.
    pub const fn work(&self) -> u32 {
        let parts = if self.head.applied() == self.none.applied() { self.head.parts() } else { self.done };
        parts.saturating_sub(self.done) + self.followed
    }

    /// Drops a reference by the exchange of `word`, from which nothing follows; afterwards `parts` parts are done. False:
    /// the word was not `old`.
    #[inline(always)]
    pub fn exchange(&mut self, parts: u32, (word, old, new): (&Word, u64, u64)) -> bool {
        step::point();
        let after = self.none.with_parts(parts);
        let done = step::exchange(&word.cell, old, new, &self.log.head, after.0);
        if done {
            self.head = after;
        }
        done
    }

    /// Drops a reference (`what` is [`PUT_REF`](kind::PUT_REF) or [`PUT_TYPED`](kind::PUT_TYPED)), with all that follows.
    #[inline(always)]
    pub fn put(&mut self, apply: &mut impl Apply, parts: u32, what: u32, mfn: u64) {
        if let Some(plain) = apply.plain_put(Effect { kind: what, x: 0, a: mfn, b: 0 })
            && self.exchange(parts, plain)
        {
            return;
        }
        self.followed += FOLLOWED;
        let after = self.none.with_parts(parts);
        let mut once = Once { log: self.log, head: self.head, after, chained: 0, held: &mut *self.held };
        match what {
            kind::PUT_REF => apply.put_ref(mfn, &mut once),
            _ => apply.put_typed(mfn, &mut once),
        }
        let head = once.head;
        self.head = self.log.drain_chained(apply, head, self.held);
    }
}
