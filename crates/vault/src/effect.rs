//! Effects: what a committed transaction still has to do.

use crate::cell::{Cell, Durable, Plain, Word};
use crate::head::Head;
use crate::lock::{Held, LockWord};
use crate::log::Log;
use crate::puts::Puts;
use crate::step;
use core::sync::atomic::Ordering;

/// One entry of the outbox. `kind` is one of [`kind`](crate::kind); the composition applies all but
/// [`Effect::STORE`] itself. Effects are idempotent or applied through [`Once`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What to do.
    pub kind: u32,
    /// A 32-bit operand.
    pub x: u32,
    /// A 64-bit operand.
    pub a: u64,
    /// A 64-bit operand.
    pub b: u64,
}

impl Effect {
    /// The vault's own kind: a durable word gets a value (redo).
    pub const STORE: u32 = crate::kind::STORE;
}

/// Applies effects: implemented once, by the composition of the system.
pub trait Apply {
    /// Applies an effect that needs no hold on the log, as most do; may run again after a crash. `false`: nothing was
    /// done, it is for [`apply`](Self::apply).
    #[inline(always)]
    fn apply_plain(&mut self, effect: Effect) -> bool {
        let _ = effect;
        false
    }

    /// Applies one effect. May run again after a crash with the same arguments, unless it ended in
    /// a successful [`Once::exchange`].
    fn apply(&mut self, effect: &Effect, once: &mut Once<'_, '_>);

    /// References that are dropped (by [`PUT_REF`](crate::kind::PUT_REF), [`PUT_TYPED`](crate::kind::PUT_TYPED) or
    /// [`PUT_GRANTED`](crate::kind::PUT_GRANTED)), if that is the exchange of one word and nothing follows from it, as
    /// most often: the word, what it is and what it becomes. What the effect does beside has been done then. `None`: it is
    /// for [`apply`](Self::apply).
    #[inline(always)]
    fn plain_put(&mut self, effect: Effect) -> Option<(&'static Word, u64, u64)> {
        let _ = effect;
        None
    }

    /// Applies an effect [`PUT_ENTRIES`](crate::kind::PUT_ENTRIES).
    fn put_entries(&mut self, effect: &Effect, puts: &mut Puts<'_, '_>) {
        let _ = puts;
        unreachable!("nobody drops references by {effect:?} here");
    }

    /// As [`apply`](Self::apply), of a typed reference that is dropped: the most frequent of those that it has.
    #[inline(always)]
    fn put_typed(&mut self, mfn: u64, once: &mut Once<'_, '_>) {
        self.apply(&Effect { kind: crate::kind::PUT_TYPED, x: 0, a: mfn, b: 0 }, once);
    }

    /// As [`apply`](Self::apply), of a general reference that is dropped.
    #[inline(always)]
    fn put_ref(&mut self, mfn: u64, once: &mut Once<'_, '_>) {
        self.apply(&Effect { kind: crate::kind::PUT_REF, x: 0, a: mfn, b: 0 }, once);
    }

    /// As [`apply`](Self::apply), of flags to be cleared and references to be dropped.
    #[inline(always)]
    fn put_granted(&mut self, effect: &Effect, once: &mut Once<'_, '_>) {
        self.apply(effect, once);
    }

    /// Puts back a live page-table entry that held `old`, but for the accessed and dirty bits it has by now.
    fn restore_entry(&mut self, maddr: u64, old: u64) {
        unreachable!("no transaction here exchanges the page-table entry {old:#x} at {maddr:#x}");
    }

    /// Clears bits of the 32-bit word of guest memory at `maddr`: of a transaction that is undone and had set them.
    fn clear_marks(&mut self, maddr: u64, bits: u32) {
        unreachable!("no transaction here marks {bits:#x} at {maddr:#x}");
    }

    /// A transaction that took references or changed words otherwise is about to be undone, while others are at work.
    fn undoing(&mut self) {}

    /// It is undone, and its locks are free; [`Log::changed_word`] still tells which shared words its first `entries` undo
    /// entries were about.
    fn undone(&mut self, log: &Log, entries: usize) {
        let _ = (log, entries);
    }

    /// The outbox that ends an entry is empty; the log closes next. Whatever marks the entry as pending
    /// must be gone when this returns, so that a closed log with a pending entry means: not begun.
    fn ended(&mut self) {}

    /// A transaction's outbox is empty and its locks are free: what was to be waited for is waited for here.
    fn settled(&mut self) {}

    /// Whether copying out to the guest faulted in this entry, also before a crash that it outlived.
    fn take_fault(&mut self) -> bool {
        false
    }

    /// What effects in parts have done since this was asked last ([`Puts::work`]).
    fn take_work(&mut self) -> u32 {
        0
    }
}

/// The hold an effect has on the log while it is applied: for changes that must happen exactly once, and
/// for consequences that follow from them.
pub struct Once<'l, 'h> {
    pub(crate) log: &'l Log,
    pub(crate) head: Head,
    /// What the head becomes by the exchange, consequences apart.
    pub(crate) after: Head,
    pub(crate) chained: usize,
    pub(crate) held: &'h mut Held<'l>,
}

impl core::fmt::Debug for Once<'_, '_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Once({:?}, chained {})", self.head, self.chained)
    }
}

impl<'l> Once<'l, '_> {
    /// Exchanges `word` from `old` to `new` exactly once whatever crashes, and publishes with it the
    /// effects queued by [`then`](Self::then). On failure (the word had changed) those are dropped.
    pub fn exchange(&mut self, word: &Word, old: u64, new: u64) -> bool {
        let after = self.after.with_chained(self.chained);
        self.chained = 0;
        let done = step::exchange(&word.cell, old, new, &self.log.head, after.0);
        if done {
            self.head = after;
        }
        done
    }

    /// Queues an idempotent effect to be published by the coming [`exchange`](Self::exchange) and applied
    /// right after it.
    pub fn then(&mut self, effect: Effect) {
        self.log.write_chained(self.chained, &effect);
        self.chained += 1;
    }

    /// Queues the store of a durable word; the word must be covered by a lock taken with
    /// [`lock`](Self::lock) or by the transaction.
    pub fn then_set<T: Plain>(&mut self, word: &'static Durable<T>, value: T) {
        self.then(store(word, value));
    }

    /// Reads bytes that the effect refers to; see [`Log::read_bytes`].
    pub fn read_bytes(&self, offset: usize, out: &mut [u8]) {
        self.log.read_bytes(offset, out);
    }

    /// Takes a lock until the outbox is empty.
    pub fn lock(&mut self, lock: &'l LockWord) {
        self.held.take(lock);
    }
}

/// The effect that stores `value` in `word`.
pub(crate) fn store<T: Plain>(word: &Durable<T>, value: T) -> Effect {
    Effect {
        kind: Effect::STORE,
        x: <T::Cell as Cell>::WIDTH as u32,
        a: core::ptr::from_ref(word) as u64,
        b: value.into_bits(),
    }
}

/// Puts a value of `width` bytes at the durable word whose address an undo entry or store effect holds.
#[expect(unsafe_code, reason = "log entries hold addresses of durable words")]
pub(crate) fn poke(address: u64, width: u64, bits: u64) {
    use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};
    step::point();
    macro_rules! put {
        ($atomic:ty) => {{
            // SAFETY: (1) the address was taken from a reference to a durable word of this width, which
            // lives in an arena for the life of the vault; (2) all access to such words is atomic.
            let word = unsafe { &*(address as *const $atomic) };
            Cell::store(word, bits);
        }};
    }
    match width {
        1 => put!(AtomicU8),
        2 => put!(AtomicU16),
        4 => put!(AtomicU32),
        _ => put!(AtomicU64),
    }
}

/// Takes `delta` off the shared word whose address an undo entry holds, together with the log head.
#[expect(unsafe_code, reason = "log entries hold addresses of durable words")]
pub(crate) fn take_back(address: u64, delta: u64, log: &Log, after: Head) {
    // SAFETY: as in `poke`: the address of a Word or Counter in an arena, accessed atomically only.
    let word = unsafe { &*(address as *const Word) };
    loop {
        let old = word.cell.load(Ordering::Acquire);
        if step::exchange(&word.cell, old, old.wrapping_sub(delta), &log.head, after.0) {
            return;
        }
    }
}
