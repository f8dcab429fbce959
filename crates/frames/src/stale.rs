//! What some TLB may still translate to though no page table says so any more.
//!
//! A guest may go on using a mapping that it removed until its CPUs flush. So before a free frame is cleared and
//! handed out, every CPU must have flushed since the frame became free. Frees are counted under the heap's lock;
//! whoever allocates flushes all CPUs first if there was one since the last such flush, and looks again under the
//! lock.
//!
//! The same holds for a table that is one no more ([`Usage::was_table`](crate::Usage::was_table)), under its table's
//! lock: a processor that still knows it as a table would walk through whatever a guest writes there. And for a page
//! that nobody maps writable any more, when it becomes a table: those are counted apart, for there are many.
//! State class: derived; every CPU flushes on its way into a new life.

use crate::Frames;
use core::sync::atomic::{AtomicU64, Ordering};

/// How often something was taken away, and how many of those no TLB knows any more.
#[derive(Debug)]
struct Taken {
    times: AtomicU64,
    forgotten: AtomicU64,
}

impl Taken {
    const fn new() -> Self {
        Self { times: AtomicU64::new(0), forgotten: AtomicU64::new(0) }
    }

    fn times(&self) -> u64 {
        self.times.load(Ordering::Acquire)
    }

    fn are_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Acquire) == self.times()
    }

    fn count(&self) {
        self.times.fetch_add(1, Ordering::AcqRel);
    }

    fn note(&self, times: u64) {
        self.forgotten.fetch_max(times, Ordering::AcqRel);
    }
}

/// Frames that became free, or are tables no more; pages that nobody may write to any more.
#[derive(Debug)]
pub struct Stale {
    freed: Taken,
    unwritable: Taken,
}

impl Default for Stale {
    fn default() -> Self {
        Self::new()
    }
}

impl Stale {
    /// Nothing was taken away.
    pub const fn new() -> Self {
        Self { freed: Taken::new(), unwritable: Taken::new() }
    }
}

/// What was taken away before all CPUs began to flush.
#[derive(Clone, Copy, Debug)]
pub struct Gone {
    freed: u64,
    unwritable: u64,
}

impl Frames {
    /// What was taken away so far: read it, make all CPUs forget everything, then say so by
    /// [`note_forgotten`](Self::note_forgotten).
    pub fn gone(&self) -> Gone {
        let stale = &self.locks.stale;
        Gone { freed: stale.freed.times(), unwritable: stale.unwritable.times() }
    }

    /// All CPUs have forgotten their translations since `gone` was read.
    pub fn note_forgotten(&self, gone: Gone) {
        self.locks.stale.freed.note(gone.freed);
        self.locks.stale.unwritable.note(gone.unwritable);
    }

    /// Whether no CPU has a translation to a free frame left. In a transaction that has allocated it holds for
    /// what was allocated, for the heap's lock is held.
    pub fn are_forgotten(&self) -> bool {
        self.locks.stale.freed.are_forgotten()
    }

    /// Whether the same holds for writable translations to all pages that nobody maps writable. It does for one that
    /// was found so before.
    pub fn are_unwritable(&self) -> bool {
        self.are_forgotten() && self.locks.stale.unwritable.are_forgotten()
    }

    /// A frame becomes free, under the heap's lock, or is a table no more, under the table's.
    pub(crate) fn count_freed(&self) {
        self.locks.stale.freed.count();
    }

    /// References are about to be taken back. One of them may be a page's last writable one by now: the others, which
    /// were mappings, went meanwhile and did not count as the last.
    pub fn note_undone(&self) {
        self.count_unwritable();
    }

    /// A page's last writable reference is about to go: the entry that had it is changed already, the frame not yet.
    pub(crate) fn count_unwritable(&self) {
        self.locks.stale.unwritable.count();
    }
}
