//! Pinning: a guest keeps a table valid whether or not it is in use.

use crate::work::ENTRIES;
use crate::{Mmu, MmuError, Subject};
use frames::{Frames, Stage};
use guest_memory::GuestMemory;
use ids::Mfn;
use vault::{Apply, Journal, Tx};

impl<M: GuestMemory> Mmu<'_, M> {
    /// Pins a table of `level`, validating it if need be; `done` runs in the transaction that does it.
    ///
    /// # Errors
    /// [`MmuError::Invalid`] also when it is pinned already.
    pub fn pin<A: Apply>(
        &self,
        j: &mut Journal<A>,
        mfn: Mfn,
        level: u32,
        subject: Subject,
        done: impl Fn(&mut Tx<'static>),
    ) -> Result<(), MmuError> {
        j.check()?;
        let frame = self.frames.frame(mfn).ok_or(MmuError::Invalid)?;
        self.get_table(j, mfn, level, subject, None, &mut |tx| {
            if frame.usage().is_pinned() {
                return Err(MmuError::Invalid);
            }
            self.frames.pin(tx, mfn, frame);
            done(tx);
            Ok(())
        })
    }

    /// Unpins a table; if nothing else holds it, it is unvalidated. `done` runs in the last transaction.
    ///
    /// # Errors
    /// [`MmuError::Invalid`] when the frame is no pinned table of the subject.
    pub fn unpin<A: Apply>(
        &self,
        j: &mut Journal<A>,
        mfn: Mfn,
        subject: Subject,
        done: impl Fn(&mut Tx<'static>),
    ) -> Result<(), MmuError> {
        j.check()?;
        let frame = self.frames.frame(mfn).ok_or(MmuError::Invalid)?;
        let usage = frame.usage();
        let level = usage.kind().level().ok_or(MmuError::Invalid)?;
        if usage.owner() != subject.tables || !usage.is_pinned() {
            return Err(MmuError::Invalid);
        }
        loop {
            let begun = j.transaction(|tx| {
                tx.lock(self.locks.of(mfn, level));
                let usage = frame.usage();
                if !usage.is_pinned() {
                    return Err(MmuError::Invalid);
                }
                if usage.is_in_work() || self.frames.begin_unwork(tx, frame, ENTRIES) {
                    return Ok(true);
                }
                self.frames.unpin(tx, frame);
                tx.publish(Frames::put_typed(mfn));
                done(tx);
                Ok(false)
            })?;
            // The pin stays until the work ends, so that a stopped unpin is taken up by its repetition.
            // Somebody else may have completed the table meanwhile, for a reference of its own.
            if !begun || self.unwork(j, mfn, level, &mut |tx| done(tx))? {
                j.pay(1);
                return Ok(());
            }
        }
    }

    /// Drops a typed reference to a table that an entry or a register held until now, in the transaction
    /// that published it; call [`retire`](Self::retire) afterwards.
    pub fn put_table(&self, tx: &mut Tx<'static>, mfn: Mfn) {
        tx.publish(Frames::put_typed(mfn));
    }

    /// Unvalidates a table that has just lost a reference, if it was the last.
    ///
    /// # Errors
    /// [`MmuError::Preempted`]: the rest is done when somebody needs the frame.
    pub fn retire<A: Apply>(&self, j: &mut Journal<A>, mfn: Mfn) -> Result<(), MmuError> {
        match self.frames.frame(mfn).map(|f| f.usage()) {
            Some(u) if u.typed() == 0 && u.is_validated() => self.reclaim(j, mfn),
            Some(u) if u.is_in_work() && self.is_going(mfn) => self.reclaim(j, mfn),
            _ => Ok(()),
        }
    }

    fn is_going(&self, mfn: Mfn) -> bool {
        self.frames.frame(mfn).is_some_and(|f| f.usage().stage() != Stage::UP)
    }
}
