//! Free frames that some TLB may still translate to.
//!
//! A guest may go on using a mapping that it removed until its CPUs flush. So before a free frame is cleared and
//! handed out, every CPU must have flushed since the frame became free. Frees are counted under the heap's lock;
//! whoever allocates flushes all CPUs first if there was one since the last such flush, and looks again under the
//! lock.
//!
//! The same holds for a table that is one no more ([`Usage::was_table`](crate::Usage::was_table)), under its table's
//! lock: a processor that still knows it as a table would walk through whatever a guest writes there.
//! State class: derived; every CPU flushes on its way into a new life.

use crate::Frames;
use core::sync::atomic::{AtomicU64, Ordering};

/// How many frames became free, and how many of them no TLB knows any more.
#[derive(Debug, Default)]
pub struct Stale {
    freed: AtomicU64,
    forgotten: AtomicU64,
}

impl Stale {
    /// Nothing was freed.
    pub const fn new() -> Self {
        Self { freed: AtomicU64::new(0), forgotten: AtomicU64::new(0) }
    }
}

impl Frames {
    /// How many frames became free so far: read it, make all CPUs forget everything, then say so by
    /// [`note_forgotten`](Self::note_forgotten).
    pub fn freed(&self) -> u64 {
        self.locks.stale.freed.load(Ordering::Acquire)
    }

    /// All CPUs have forgotten their translations since `freed` was read.
    pub fn note_forgotten(&self, freed: u64) {
        self.locks.stale.forgotten.fetch_max(freed, Ordering::AcqRel);
    }

    /// Whether no CPU has a translation to a free frame left. In a transaction that has allocated it holds for
    /// what was allocated, for the heap's lock is held.
    pub fn are_forgotten(&self) -> bool {
        self.locks.stale.forgotten.load(Ordering::Acquire) == self.freed()
    }

    /// A frame becomes free, under the heap's lock, or is a table no more, under the table's.
    pub(crate) fn count_freed(&self) {
        self.locks.stale.freed.fetch_add(1, Ordering::AcqRel);
    }
}
