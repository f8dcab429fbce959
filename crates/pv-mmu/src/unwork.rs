//! The reverse of validation: a table gives its entries' references back, a few a transaction.

use crate::work::{Outer, entry_address, is_hypervisor_slot};
use crate::{Mmu, MmuError, Pte};
use frames::{Frame, Frames, Kind};
use guest_memory::GuestMemory;
use ids::Mfn;
use vault::{Apply, Journal, Tx};

/// Entries one transaction gives back at most (its effects are bounded).
const BATCH: usize = 48;

enum Step {
    Advanced,
    Empty,
    Below(Mfn),
    Gone,
}

impl<M: GuestMemory> Mmu<'_, M> {
    /// Unvalidates a table that nobody refers to any more (dormant), or whose work nobody finished, so
    /// that its frame can be used otherwise. Does nothing if it is neither.
    ///
    /// # Errors
    /// [`MmuError::Preempted`].
    pub fn reclaim<A: Apply>(&self, j: &mut Journal<A>, mfn: Mfn) -> Result<(), MmuError> {
        let Some(frame) = self.frames.frame(mfn) else { return Ok(()) };
        let usage = frame.usage();
        if usage.kind() == Kind::Descriptors && usage.is_in_work() {
            return self.give_up_descriptors(j, mfn);
        }
        let Some(level) = usage.kind().level() else { return Ok(()) };
        if !usage.is_in_work() {
            let begun = j.change(|tx| {
                tx.lock(self.locks.of(mfn, level));
                usage.typed() == 0 && self.frames.begin_unwork(tx, frame, crate::work::ENTRIES)
            });
            if !begun {
                return Ok(());
            }
        }
        self.unwork(j, mfn, level, None, &mut |_| {})
    }

    /// Moves the cursor of a frame in work down to zero and frees the frame of its kind, running `then` in
    /// the last transaction under the lock of `outer`.
    ///
    /// # Errors
    /// [`MmuError::Preempted`].
    pub(crate) fn unwork<A: Apply>(
        &self,
        j: &mut Journal<A>,
        mfn: Mfn,
        level: u32,
        outer: Outer,
        then: &mut dyn FnMut(&mut Tx<'static>),
    ) -> Result<(), MmuError> {
        let frame = self.frames.frame(mfn).ok_or(MmuError::Invalid)?;
        loop {
            j.spend()?;
            let step = j.change(|tx| {
                self.lock_outer(tx, outer);
                tx.lock(self.locks.of(mfn, level));
                let usage = frame.usage();
                if !usage.is_in_work() || usage.kind() != Kind::table(level) {
                    return Step::Gone;
                }
                if frame.cursor.get() == 0 {
                    self.frames.finish_unwork(tx, mfn, frame);
                    then(tx);
                    return Step::Empty;
                }
                self.give_back(tx, mfn, level, frame)
            });
            match step {
                Step::Advanced => {}
                Step::Empty | Step::Gone => return Ok(()),
                Step::Below(child) => {
                    let index = frame.cursor.get();
                    self.unwork(j, child, level - 1, Some((mfn, level)), &mut |tx| {
                        tx.set(&frame.cursor, index - 1);
                    })?;
                }
            }
        }
    }

    /// Gives back a run of entries below the cursor. A table below that only this entry holds is begun
    /// instead, so that it is never left behind half undone without its parent knowing.
    fn give_back(&self, tx: &mut Tx<'static>, mfn: Mfn, level: u32, frame: &Frame) -> Step {
        let start = frame.cursor.get();
        let (mut index, mut given) = (start, 0);
        while index > 0 && given < BATCH {
            let pte = Pte(self.memory.load64(entry_address(mfn, index - 1)));
            if level == 1 {
                if let Some(effect) = self.put_leaf(pte) {
                    tx.publish(effect);
                    given += 1;
                }
            } else if pte.is_present() && !is_hypervisor_slot(level, index - 1) {
                if self.begin_below(tx, pte.mfn()) {
                    // Stop right above the child: it goes first, its end moves this cursor.
                    if index != start {
                        tx.set(&frame.cursor, index);
                    }
                    return Step::Below(pte.mfn());
                }
                tx.publish(Frames::put_typed(pte.mfn()));
                given += 1;
            }
            index -= 1;
        }
        tx.set(&frame.cursor, index);
        Step::Advanced
    }

    /// Begins the reverse of validation on a child that only its parent's entry holds.
    fn begin_below(&self, tx: &mut Tx<'static>, child: Mfn) -> bool {
        let Some(frame) = self.frames.frame(child) else { return false };
        let usage = frame.usage();
        if usage.is_in_work() {
            return true;
        }
        usage.typed() == 1 && !usage.is_pinned() && self.frames.begin_unwork(tx, frame, crate::work::ENTRIES)
    }
}
