//! Writable mappings of device memory, found when some of it must not be written any more.
//!
//! No count says where a frame of device memory is mapped, so the tables are looked through, those alone that a derived
//! note says may have such mappings.

use crate::work::{ENTRIES, entry_address};
use crate::{Mmu, Pte};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use frames::Kind;
use guest_memory::GuestMemory;
use ids::Mfn;
use vault::Tx;

/// Bits of the note; frames with the same remainder share one.
const BITS: u64 = 4096;
/// Frames that one step passes over at most.
const STEP: u64 = 1 << 16;

/// Which L1 tables may have a writable mapping of device memory. State class: derived; a bit is never cleared, and
/// after a start over used memory every table may.
#[derive(Debug)]
pub struct DeviceTables {
    complete: AtomicBool,
    tables: [AtomicU64; (BITS / 64) as usize],
}

impl DeviceTables {
    /// Knows of no table, and that it does not know.
    pub(crate) const fn new() -> Self {
        Self { complete: AtomicBool::new(false), tables: [const { AtomicU64::new(0) }; (BITS / 64) as usize] }
    }

    /// There are no tables yet: from now on all are known.
    pub fn start(&self) {
        self.complete.store(true, Ordering::SeqCst);
    }

    /// A table gets a writable mapping of device memory.
    pub(crate) fn note(&self, table: Mfn) {
        let (word, bit) = self.place(table.0);
        if word.load(Ordering::Relaxed) & bit == 0 {
            // Ordered before what the caller asks next; the sweep's fence stands between its two.
            word.fetch_or(bit, Ordering::SeqCst);
        }
    }

    fn place(&self, mfn: u64) -> (&AtomicU64, u64) {
        (&self.tables[(mfn % BITS / 64) as usize], 1 << (mfn % 64))
    }

    /// The first table that may be one, in `from..end`, or `end`.
    fn next(&self, mut from: u64, end: u64) -> u64 {
        while from < end && self.complete.load(Ordering::Relaxed) {
            let left = self.place(from).0.load(Ordering::Relaxed) >> (from % 64);
            if left != 0 {
                return (from + u64::from(left.trailing_zeros())).min(end);
            }
            from = (from | 63) + 1;
        }
        from.min(end)
    }
}

impl<M: GuestMemory> Mmu<'_, M> {
    /// A step of the sweep, from frame `from` on: makes guarded device frames read-only in the next table that may map
    /// some writable. Returns the frame to go on from; all is done when that is the end of the frame table and
    /// processors have forgotten. Nothing of it is undone: an entry that maps device memory holds no reference, and is
    /// read-only too early at worst.
    pub fn sweep(&self, tx: &mut Tx<'static>, from: u64) -> u64 {
        // What is guarded is written; what is noted comes after.
        fence(Ordering::SeqCst);
        let end = self.frames.len().min(from.saturating_add(STEP));
        let mut at = from;
        loop {
            at = self.locks.devices.next(at, end);
            if at >= end {
                return end;
            }
            let is_table = self.frames.frame(Mfn(at)).is_some_and(|f| f.usage().kind() == Kind::L1);
            if is_table {
                break;
            }
            at += 1;
        }
        tx.lock(self.locks.of(Mfn(at), 1));
        self.protect_guarded(Mfn(at));
        at + 1
    }

    /// Takes the right to write away from a table's entries that map guarded frames.
    fn protect_guarded(&self, table: Mfn) {
        let in_use = self.frames.frame(table).is_some_and(|frame| {
            let usage = frame.usage();
            usage.kind() == Kind::L1 && (usage.is_validated() || usage.is_in_work())
        });
        if !in_use {
            return;
        }
        for at in (0..ENTRIES).map(|index| entry_address(table, index)) {
            let pte = Pte(self.memory.load64(at));
            let concerned = pte.is_present()
                && pte.is_writable()
                && self.is_io(pte.mfn())
                && self.io.is_guarded(pte.mfn());
            if concerned {
                self.memory.and_not64(at, Pte::RW);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn what_is_noted_is_found_and_little_else() {
        let devices = DeviceTables::new();
        devices.note(Mfn(3));
        assert_eq!(devices.next(7, 20), 7, "whoever does not know all looks everywhere");
        assert_eq!(devices.next(20, 20), 20);
        let devices = DeviceTables::new();
        devices.start();
        assert_eq!(devices.next(0, 1 << 20), 1 << 20);
        for mfn in [3, 64, 4095, 3 * BITS + 70] {
            devices.note(Mfn(mfn));
        }
        let mut found = vec![];
        let mut at = devices.next(0, 2 * BITS);
        while at < 2 * BITS {
            found.push(at);
            at = devices.next(at + 1, 2 * BITS);
        }
        assert_eq!(found, [3, 64, 70, 4095, 3 + BITS, 64 + BITS, 70 + BITS, 4095 + BITS]);
        assert_eq!(devices.next(71, 100), 100);
    }
}
