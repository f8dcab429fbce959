//! A transaction: the only way to write durable words.

use crate::cell::{Cell, Counter, Durable, Plain, Word};
use crate::effect::{Effect, store};
use crate::head::Head;
use crate::lock::{Held, LockWord};
use crate::log::{Log, Noted, OUTBOX_BYTES};
use crate::step;

/// An open transaction on one CPU's log.
pub struct Tx<'l> {
    log: &'l Log,
    head: Head,
    bytes: usize,
    steps: u64,
    in_entry: bool,
    last: bool,
    held: Held<'l>,
}

/// A place in a transaction.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    head: Head,
    bytes: usize,
    steps: u64,
}

impl core::fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Tx({:?})", self.head)
    }
}

impl<'l> Tx<'l> {
    #[inline(always)]
    pub(crate) fn new(log: &'l Log, in_entry: bool) -> Self {
        let head = log.head();
        debug_assert_eq!(head.0, head.emptied().0, "a transaction starts on an open, empty log");
        // It is so already; the compiler does not know, and counts entries and effects at run time otherwise.
        let head = head.emptied();
        Self { log, head, bytes: 0, steps: 0, in_entry, last: false, held: Held::default() }
    }

    /// Takes a lock until the transaction's outbox is empty (or all is undone). Taking it twice is fine.
    #[inline(always)]
    pub fn lock(&mut self, lock: &'l LockWord) {
        self.held.take(lock);
    }

    /// Writes a durable word. The lock its record names must be held.
    #[inline(always)]
    pub fn set<T: Plain>(&mut self, word: &Durable<T>, value: T) {
        let address = core::ptr::from_ref(word) as u64;
        self.log.write_undo_value(self.head.undo(), address, <T::Cell as Cell>::WIDTH, word.cell.load());
        self.head = self.head.one_undo_more();
        self.log.set_head(self.head);
        step::point();
        word.cell.store(value.into_bits());
    }

    /// Writes a durable word that says nothing, and did so before this transaction: a field of a record that is free, or
    /// one that another word says is not in use. What gives it a meaning is set behind it; so nothing need be undone.
    /// The lock its record names must be held.
    #[inline(always)]
    pub fn prepare<T: Plain>(&mut self, word: &Durable<T>, value: T) {
        step::point();
        word.cell.store(value.into_bits());
    }

    /// Adds `delta` (two's complement for a subtraction) to a counter before the commit. What a counter
    /// protects must bear a value too high; take away by publishing an effect.
    #[inline(always)]
    pub fn add(&mut self, counter: &Counter, delta: u64) {
        let address = core::ptr::from_ref(counter) as u64;
        self.log.write_undo_delta(self.head.undo(), address, delta);
        let after = self.head.one_undo_more();
        loop {
            let old = counter.get();
            if step::exchange(&counter.cell, old, old.wrapping_add(delta), &self.log.head, after.0) {
                self.head = after;
                return;
            }
        }
    }

    /// Compare-exchange on a state word, undone by delta. Returns whether it happened.
    #[inline(always)]
    #[must_use]
    pub fn exchange(&mut self, word: &Word, old: u64, new: u64) -> bool {
        let address = core::ptr::from_ref(word) as u64;
        self.log.write_undo_delta(self.head.undo(), address, new.wrapping_sub(old));
        let after = self.head.one_undo_more();
        let done = step::exchange(&word.cell, old, new, &self.log.head, after.0);
        if done {
            self.head = after;
        }
        done
    }

    /// Notes that the live page-table entry at machine address `maddr`, whose low three bits are the caller's to
    /// use, holds `old`, before the caller exchanges it: undone by [`Apply::restore_entry`](crate::Apply::restore_entry). Only the processor may change it
    /// meanwhile, its accessed and dirty bits: the table's lock must be held. What follows the exchange must not
    /// fail, so that only recovery undoes it, with every CPU stopped and all translations forgotten after.
    #[inline(always)]
    pub fn note_entry(&mut self, maddr: u64, old: u64) {
        self.log.write_undo_entry(self.head.undo(), maddr, old);
        self.head = self.head.one_undo_more();
        self.log.set_head(self.head);
    }

    /// Notes that the caller is about to set `bits` in the 32-bit word of guest memory at `maddr`, which are clear:
    /// undone by [`Apply::clear_marks`](crate::Apply::clear_marks). The caller's lock must keep others from setting
    /// them meanwhile.
    #[inline(always)]
    pub fn note_marks(&mut self, maddr: u64, bits: u32) {
        self.log.write_undo_marks(self.head.undo(), maddr, bits);
        self.head = self.head.one_undo_more();
        self.log.set_head(self.head);
    }

    /// Adds an effect to the outbox: it happens if and only if this transaction commits.
    #[inline(always)]
    pub fn publish(&mut self, effect: Effect) {
        self.log.write_effect(self.head.effects(), &effect);
        // Published by the commit; until then only this transaction counts it.
        self.head = self.head.one_effect_more();
    }

    /// Publishes the store of a durable word that others may read without its lock: they never see a
    /// value that is taken back.
    #[inline(always)]
    pub fn publish_set<T: Plain>(&mut self, word: &'static Durable<T>, value: T) {
        self.publish(store(word, value));
    }

    /// Where the transaction stands, to come [back to](Self::back_to).
    #[inline(always)]
    pub fn mark(&self) -> Mark {
        Mark { head: self.head, bytes: self.bytes, steps: self.steps }
    }

    /// Undoes what was written since `mark` and forgets what was published, as if that had not been; what is in guest
    /// memory is undone by `undo`. Locks stay. For one element of several that is refused, and for what is held only
    /// while the transaction works: given back so, it needs no effect. A reference that others drop meanwhile may be
    /// the last one that is taken back.
    #[inline(always)]
    pub fn back_to(&mut self, mark: Mark, undo: impl FnMut(Noted)) {
        let head = self.log.undo_to(self.head, mark.head.undo(), undo);
        self.head = head.with_effects(mark.head.effects());
        (self.bytes, self.steps) = (mark.bytes, mark.steps);
    }

    /// Keeps `bytes` for an effect to refer to; returns their offset, or `None` if the area is full.
    pub fn keep_bytes(&mut self, bytes: &[u8]) -> Option<u32> {
        let offset = self.bytes;
        let end = offset.checked_add(bytes.len())?.checked_next_multiple_of(8)?;
        if end > OUTBOX_BYTES {
            return None;
        }
        self.log.write_bytes(offset, bytes);
        self.bytes = end;
        u32::try_from(offset).ok()
    }

    /// Counts `steps` elements of the entry as done when this transaction commits.
    #[inline(always)]
    pub fn advance(&mut self, steps: u64) {
        self.steps = self.steps.wrapping_add(steps);
    }

    /// Elements of the entry that earlier transactions have committed.
    #[inline(always)]
    pub fn progress(&self) -> u64 {
        self.head.progress()
    }

    /// The entry, if this transaction is part of one, ends with its outbox.
    #[inline(always)]
    pub fn last(&mut self) {
        self.last = self.in_entry;
    }

    #[inline(always)]
    pub(crate) fn commit(self) -> (Head, Held<'l>) {
        let committed = self.head.commit(self.steps, self.last);
        // Without effects, and if nothing ends with it, there is nothing to finish.
        let done = self.head.effects() == 0 && !self.last;
        let head = if done { committed.finished() } else { committed };
        self.log.set_head(head);
        (head, self.held)
    }

    #[inline(always)]
    pub(crate) fn into_held(self) -> Held<'l> {
        self.held
    }
}
