//! The reverse of validation: a table gives its entries' references back.
//!
//! Nobody writes to a table in work, and its entries say which references it holds. So one effect drops those of many
//! entries: the transaction only says which.

use crate::given::put_entries;
use crate::scan::{Lines, previous_present};
use crate::work::{ENTRIES, entry_address, is_hypervisor_slot};
use crate::{Mmu, MmuError, Pte};
use frames::{Frame, Kind, Owner, Stage};
use guest_memory::GuestMemory;
use ids::Mfn;
use vault::{Apply, Journal, Tx, flush};

enum Step {
    Empty,
    Below(Mfn),
    Gone,
}

impl<M: GuestMemory> Mmu<'_, M> {
    /// Unvalidates a table that nobody refers to any more (dormant), or whose work nobody finished, so
    /// that its frame can be used otherwise. Does nothing if it is neither, or if a pin holds it.
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
        if usage.was_table() {
            self.forget(j, mfn, level, frame);
            return Ok(());
        }
        if usage.is_leaving() {
            // Its last reference goes with the outbox of another processor.
            return Ok(j.spend()?);
        }
        if !usage.is_in_work() {
            let begun = j.change(|tx| {
                tx.lock(self.locks.of(mfn, level));
                self.frames.begin_unwork_dormant(tx, frame, ENTRIES)
            });
            if !begun {
                return Ok(());
            }
        } else if usage.is_pinned() {
            return Ok(());
        }
        self.unwork(j, mfn, level, &mut |_| {}).map(drop)
    }

    /// [`reclaim`](Self::reclaim)s a frame that is in the way, which is paid for: two processors that want it for
    /// different uses may take it from each other again and again.
    ///
    /// # Errors
    /// [`MmuError::Preempted`].
    pub(crate) fn make_way<A: Apply>(&self, j: &mut Journal<A>, mfn: Mfn) -> Result<(), MmuError> {
        self.reclaim(j, mfn)?;
        Ok(j.spend()?)
    }

    /// Makes a frame that was a table one that may be written to: all processors forget it first.
    pub(crate) fn forget<A: Apply>(&self, j: &mut Journal<A>, mfn: Mfn, level: u32, frame: &Frame) {
        loop {
            let done = j.change(|tx| {
                tx.lock(self.locks.of(mfn, level));
                self.frames.forget_table(tx, mfn, frame)
            });
            if done {
                return;
            }
            let gone = self.frames.gone();
            j.change(|tx| tx.publish(flush::EVERYWHERE));
            self.frames.note_forgotten(gone);
        }
    }

    /// Makes a frame of `owner` that nobody uses one that may be written to, if it is or was a table. One whose work was
    /// cut, perhaps this very work, has the reference of who worked.
    ///
    /// # Errors
    /// [`MmuError::Preempted`].
    pub fn make_plain<A: Apply>(&self, j: &mut Journal<A>, mfn: Mfn, owner: Owner) -> Result<(), MmuError> {
        // First no valid table any more, then none that is known as one.
        for _ in 0..2 {
            match self.frames.frame(mfn).map(|frame| frame.usage()) {
                Some(u)
                    if u.owner() == owner
                        && (u.typed() == 0 || u.is_in_work())
                        && u.kind().level().is_some() =>
                {
                    self.make_way(j, mfn)?;
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Moves the cursor of a frame in work down to zero and frees the frame of its kind, running `then` in
    /// the last transaction. `Ok(false)`: somebody else completed or finished it meanwhile.
    ///
    /// # Errors
    /// [`MmuError::Preempted`].
    pub(crate) fn unwork<A: Apply>(
        &self,
        j: &mut Journal<A>,
        mfn: Mfn,
        level: u32,
        then: &mut dyn FnMut(&mut Tx<'static>),
    ) -> Result<bool, MmuError> {
        let frame = self.frames.frame(mfn).ok_or(MmuError::Invalid)?;
        loop {
            let step = j.change(|tx| {
                tx.lock(self.locks.of(mfn, level));
                self.unwork_step(tx, mfn, level, frame, then)
            });
            match step {
                Step::Empty => return Ok(true),
                Step::Gone => return Ok(false),
                Step::Below(child) => {
                    self.unwork(j, child, level - 1, &mut |_| {})?;
                    j.spend()?;
                }
            }
        }
    }

    fn unwork_step(
        &self,
        tx: &mut Tx<'static>,
        mfn: Mfn,
        level: u32,
        frame: &Frame,
        then: &mut dyn FnMut(&mut Tx<'static>),
    ) -> Step {
        let usage = frame.usage();
        if !usage.is_in_work() || usage.kind() != Kind::table(level) {
            return Step::Gone;
        }
        debug_assert_eq!(usage.typed(), 1, "nobody takes references to a table in work");
        if usage.stage() == Stage::UP {
            self.frames.set_stage(tx, frame, Stage::REFUSED);
        }
        if let Some(child) = self.stopped_below(mfn, level, usage.cursor()) {
            return Step::Below(child);
        }
        if let Some(child) = self.give_back(tx, mfn, level, frame, usage.cursor()) {
            return Step::Below(child);
        }
        self.frames.finish_unwork(tx, mfn, frame);
        then(tx);
        Step::Empty
    }

    /// The table below whose work stopped with this one's: the entry at the cursor names it, and holds no
    /// reference any more (or not yet).
    fn stopped_below(&self, mfn: Mfn, level: u32, index: u16) -> Option<Mfn> {
        if level == 1 || index >= ENTRIES || is_hypervisor_slot(level, index) {
            return None;
        }
        let pte = Pte(self.memory.load64(entry_address(mfn, index)));
        let usage = self.frames.frame(pte.mfn())?.usage();
        let stopped = usage.is_in_work() && !usage.is_pinned() && usage.kind() == Kind::table(level - 1);
        (pte.is_present() && stopped).then_some(pte.mfn())
    }

    /// Gives back the entries below `cursor`. A table below that only its entry holds is begun with those above it and
    /// goes before the rest, which stays; its reference belongs to that work from then on.
    #[inline(never)]
    fn give_back(
        &self,
        tx: &mut Tx<'static>,
        mfn: Mfn,
        level: u32,
        frame: &Frame,
        cursor: u16,
    ) -> Option<Mfn> {
        if level == 1 {
            put_entries(tx, mfn, level, 0..cursor, Lines::NONE);
            return None;
        }
        let (mut index, mut lines) = (cursor, Lines::NONE);
        while let Some((present, pte)) = previous_present(self.memory, mfn, index) {
            index = present;
            if !is_hypervisor_slot(level, index) && self.begin_below(tx, pte.mfn(), level - 1) {
                put_entries(tx, mfn, level, index + 1..cursor, lines);
                self.frames.move_cursor(tx, frame, index);
                return Some(pte.mfn());
            }
            lines = lines.with(index);
        }
        put_entries(tx, mfn, level, 0..cursor, lines);
        None
    }

    /// Begins the reverse of validation on a child that only its parent's entry holds.
    fn begin_below(&self, tx: &mut Tx<'static>, child: Mfn, level: u32) -> bool {
        let Some(frame) = self.frames.frame(child) else { return false };
        if !frame.usage().is_held_once() {
            return false;
        }
        tx.lock(self.locks.of(child, level));
        self.frames.begin_unwork(tx, frame, ENTRIES)
    }
}
