//! The lock that covers words undone by value.
#![expect(unsafe_code, reason = "held locks form a chain of pointers")]

use crate::step;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// A spinning test-and-set lock, held by a transaction from [`Tx::lock`](crate::Tx::lock) until its
/// outbox is empty. State class: *derived*; a microreboot makes new ones, all free.
#[derive(Debug, Default)]
pub struct LockWord {
    held: AtomicU32,
    /// The lock that its holder took before it; means something to the holder alone.
    before: AtomicPtr<LockWord>,
}

impl LockWord {
    /// A free lock.
    pub const fn new() -> Self {
        Self { held: AtomicU32::new(0), before: AtomicPtr::new(core::ptr::null_mut()) }
    }

    #[inline(always)]
    fn acquire(&self) {
        while self.held.compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            while self.held.load(Ordering::Relaxed) != 0 {
                step::pause();
            }
        }
    }

    /// Takes the lock for as long as the guard lives: for what no transaction is part of.
    #[inline(always)]
    pub fn hold(&self) -> Hold<'_> {
        self.acquire();
        Hold(self)
    }

    #[inline(always)]
    fn release(&self) {
        self.held.store(0, Ordering::Release);
    }

    /// Whether somebody holds it (for assertions and the epitaph).
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed) != 0
    }
}

/// The locks a transaction holds, newest first: a chain through the locks themselves, so that neither taking one
/// nor a transaction that takes none costs more than that.
#[derive(Default)]
pub(crate) struct Held<'l> {
    newest: Option<&'l LockWord>,
}

impl<'l> Held<'l> {
    /// Takes a lock; one that is held already stays so.
    #[inline(always)]
    pub(crate) fn take(&mut self, lock: &'l LockWord) {
        let mut held = self.newest;
        while let Some(other) = held {
            if core::ptr::eq(other, lock) {
                return;
            }
            held = Self::before(other);
        }
        lock.acquire();
        let before = self.newest.map_or(core::ptr::null_mut(), |l| core::ptr::from_ref(l).cast_mut());
        lock.before.store(before, Ordering::Relaxed);
        self.newest = Some(lock);
    }

    #[inline(always)]
    pub(crate) fn release_all(&mut self) {
        while let Some(lock) = self.newest {
            // Before it is free, for the next holder writes the same word.
            self.newest = Self::before(lock);
            lock.release();
        }
    }

    /// The lock taken before `lock`, which is in this chain.
    #[inline(always)]
    fn before(lock: &'l LockWord) -> Option<&'l LockWord> {
        // SAFETY: (1) null, or what `take` of this chain made of a `&'l LockWord`; (2) the word is written with
        // the lock held alone, and the chain's holder holds it.
        unsafe { lock.before.load(Ordering::Relaxed).as_ref() }
    }
}

/// A lock that is held outside of a transaction.
#[derive(Debug)]
#[must_use]
pub struct Hold<'a>(&'a LockWord);

impl Drop for Hold<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.release();
    }
}
