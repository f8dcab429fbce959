//! A domain's end takes its frames: each loses its allocation, and is free when nobody refers to it any more.
//!
//! Those that the end has been at stand on a list of their own, for some stay: mapped by other domains, or tables of
//! tables that the end has not come to yet. The latter are come by again, in rounds: tables have four levels.

use crate::frame::links;
use crate::usage::Usage;
use crate::{Frame, Frames, Owner};
use ids::{DomainSlot, Mfn};
use vault::Tx;

/// Frames that one step takes: one undo entry and one effect each, and 5 undo entries for all.
const PER_STEP: usize = 16;
/// Rounds after which tables that somebody still uses are left to whoever does. There is none without a defect.
const MOST_ROUNDS: u8 = 8;

/// What a step leaves to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Leaving {
    /// Another step.
    More,
    /// This page table has to be unpinned, or unvalidated if it is not pinned; then another step.
    Table(Mfn),
    /// Nothing: all frames have lost their allocation.
    Done,
}

impl Frames {
    /// One step of taking a domain's frames; repeat it, one transaction each, until `Done`. Nobody runs with the
    /// domain's page tables any more, and its limit is 0.
    pub fn leave_step(&self, tx: &mut Tx<'_>, slot: DomainSlot) -> Leaving {
        tx.lock(&self.locks.heap);
        tx.lock(self.list_lock(slot));
        let list = self.list(slot);
        let first = list.head.get();
        let (mut last, mut next) = (0, first);
        for _ in 0..PER_STEP {
            let Some(frame) = self.linked(next) else { break };
            let mfn = Mfn(next.into());
            match fate(frame.usage(), list.rounds.get()) {
                Fate::Work if last == 0 => return Leaving::Table(mfn),
                Fate::Work => break,
                Fate::Later => tx.set(&list.again, true),
                Fate::Leaves => self.give_up(tx, slot, mfn, frame),
            }
            (last, next) = (next, frame.next());
        }
        if last == 0 {
            return self.end_of_round(tx, slot);
        }
        self.move_over(tx, slot, first, last);
        Leaving::More
    }

    /// All were come by: the next round, or the end.
    fn end_of_round(&self, tx: &mut Tx<'_>, slot: DomainSlot) -> Leaving {
        let list = self.list(slot);
        if !list.again.get() {
            return Leaving::Done;
        }
        tx.set(&list.head, list.leaving.get());
        tx.set(&list.leaving, 0);
        tx.set(&list.again, false);
        tx.set(&list.rounds, list.rounds.get() + 1);
        Leaving::More
    }

    /// The frames from the list's `first` to `last`, from its head to that of the other.
    fn move_over(&self, tx: &mut Tx<'_>, slot: DomainSlot, first: u32, last: u32) {
        let Some(end) = self.linked(last) else { return };
        let list = self.list(slot);
        let (next, second) = (end.next(), list.leaving.get());
        if let Some(after) = self.linked(next) {
            tx.set(&after.links, links(after.next(), 0));
        }
        tx.set(&list.head, next);
        if let Some(after) = self.linked(second) {
            tx.set(&after.links, links(after.next(), last));
        }
        tx.set(&end.links, links(second, end.prev()));
        tx.set(&list.leaving, first);
    }

    /// Drops the allocation's reference, if it still stands; one that nothing refers to at all is freed as well
    /// ([`collect`](Self::collect)).
    fn give_up(&self, tx: &mut Tx<'_>, slot: DomainSlot, mfn: Mfn, frame: &Frame) {
        loop {
            let old = frame.usage();
            let new = if old.is_allocated() {
                old.without_allocation()
            } else if old.is_lost() {
                old.plus_ref()
            } else {
                return;
            };
            debug_assert_eq!(old.owner(), Owner::domain(slot), "it is on the owner's list");
            if tx.exchange(&frame.usage, old.0, new.0) {
                tx.publish(Self::put_ref(mfn));
                return;
            }
        }
    }

    /// A frame that the hypervisor shared with a domain becomes one of its frames that leave: free when nobody refers
    /// to it any more, and counted until then.
    pub fn leave_shared(&self, tx: &mut Tx<'_>, slot: DomainSlot, mfn: Mfn) {
        tx.lock(&self.locks.heap);
        tx.lock(self.list_lock(slot));
        let (list, raw) = (self.list(slot), mfn.0 as u32);
        let Some(frame) = self.frame(mfn).filter(|frame| frame.usage().owner() == Owner::domain(slot)) else {
            return;
        };
        let second = list.leaving.get();
        if let Some(after) = self.linked(second) {
            tx.set(&after.links, links(after.next(), raw));
        }
        tx.set(&frame.links, links(second, 0));
        tx.set(&list.leaving, raw);
        tx.set(&list.pages, list.pages.get() + 1);
        tx.publish(Self::put_shared(mfn));
    }

    /// The slot's list is as in one that was never used. Nothing is on it.
    pub fn end_list(&self, tx: &mut Tx<'_>, slot: DomainSlot) {
        tx.lock(self.list_lock(slot));
        let list = self.list(slot);
        tx.set(&list.max_pages, 0);
        tx.set(&list.again, false);
        tx.set(&list.rounds, 0);
    }
}

/// What becomes of a frame now.
enum Fate {
    /// It is a table that needs work first.
    Work,
    /// It is a table of another table: in the next round.
    Later,
    /// Its allocation ends.
    Leaves,
}

fn fate(usage: Usage, rounds: u8) -> Fate {
    let table = usage.is_validated() || usage.is_in_work();
    if !table || rounds > MOST_ROUNDS {
        Fate::Leaves
    } else if usage.is_pinned() || usage.is_in_work() || usage.typed() == 0 {
        Fate::Work
    } else {
        Fate::Later
    }
}
