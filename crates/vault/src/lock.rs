//! The lock that covers words undone by value.

use crate::step;
use core::sync::atomic::{AtomicU32, Ordering};

/// A spinning test-and-set lock, held by a transaction from [`Tx::lock`](crate::Tx::lock) until its
/// outbox is empty. State class: *derived*; a microreboot makes new ones, all free.
#[derive(Debug, Default)]
pub struct LockWord(AtomicU32);

impl LockWord {
    /// A free lock.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    #[inline(always)]
    pub(crate) fn acquire(&self) {
        while self.0.compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            while self.0.load(Ordering::Relaxed) != 0 {
                step::pause();
            }
        }
    }

    #[inline(always)]
    pub(crate) fn release(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Takes the lock for as long as the guard lives: for what no transaction is part of.
    #[inline(always)]
    pub fn hold(&self) -> Hold<'_> {
        self.acquire();
        Hold(self)
    }

    /// Whether somebody holds it (for assertions and the epitaph).
    pub fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
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
