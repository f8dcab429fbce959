//! Entries for granted frames, written and taken away within a transaction that does more than that.
//!
//! The entry holds a reference of its own, like any other: a guest may overwrite it as it overwrites any entry.

use crate::entry::Refusal;
use crate::pte::adjusted_l1;
use crate::{Mmu, MmuError, Pte, Subject};
use frames::{FrameError, Got, Kind, Owner};
use guest_memory::GuestMemory;
use ids::{Maddr, Mfn};
use vault::{Apply, Effect, Journal, Tx, kind};

/// Why it cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// The frame is not that domain's, or used so that it excludes this use; or the entry is in no live L1 table, or
    /// maps something else.
    Refused,
    /// The frame is not that domain's.
    NotOwned,
    /// The frame is a table that nobody uses: [`clear_the_way`](Mmu::clear_the_way), then try again.
    InTheWay(Mfn),
}

impl From<Refusal> for Blocked {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Dormant(mfn) => Self::InTheWay(mfn),
            _ => Self::Refused,
        }
    }
}

impl<M: GuestMemory> Mmu<'_, M> {
    /// Takes a reference to a frame of `owner`: a general one, or one as a writable page.
    ///
    /// # Errors
    /// [`Blocked`].
    #[inline(always)]
    pub fn hold(&self, tx: &mut Tx<'_>, mfn: Mfn, owner: Owner, write: bool) -> Result<(), Blocked> {
        let taken = if write {
            self.frames.get_typed(tx, mfn, owner, Kind::Writable)
        } else {
            self.frames.get_ref(tx, mfn, owner).map(|()| Got::Taken)
        };
        match taken {
            Ok(Got::Taken) => Ok(()),
            Ok(_) => Err(Blocked::InTheWay(mfn)),
            Err(FrameError::NotOwned) => Err(Blocked::NotOwned),
            Err(FrameError::InUse(_)) if self.is_reclaimable(mfn) => Err(Blocked::InTheWay(mfn)),
            Err(FrameError::InUse(_)) => Err(Blocked::Refused),
        }
    }

    /// Unvalidates a table that nobody uses, so that its frame can be had.
    ///
    /// # Errors
    /// [`MmuError::Preempted`].
    pub fn clear_the_way<A: Apply>(&self, j: &mut Journal<A>, mfn: Mfn) -> Result<(), MmuError> {
        self.make_way(j, mfn)
    }

    /// Makes the L1 entry at `at` map what `new` says, which is a frame of `subject.leaves`; what it mapped is dropped.
    ///
    /// # Errors
    /// [`Blocked`].
    pub fn enter(&self, tx: &mut Tx<'static>, at: Maddr, new: Pte, subject: Subject) -> Result<(), Blocked> {
        let old = self.locked_entry(tx, at, subject)?;
        let new = adjusted_l1(new);
        self.get_leaf(tx, new, subject, at.mfn())?;
        publish(tx, at, new);
        if let Some(effect) = self.put_leaf(old) {
            tx.publish(effect);
        }
        Ok(())
    }

    /// Clears the L1 entry at `at`, which must map `mfn`, writable or not as `write` says. The reference that it held is
    /// the caller's now.
    ///
    /// # Errors
    /// [`Blocked::Refused`].
    pub fn leave(
        &self,
        tx: &mut Tx<'static>,
        at: Maddr,
        mfn: Mfn,
        write: bool,
        subject: Subject,
    ) -> Result<(), Blocked> {
        self.check_granted(tx, at, mfn, write, subject)?;
        publish(tx, at, Pte(0));
        Ok(())
    }

    /// As [`leave`](Self::leave); the entry becomes what the one at `from` is, with its reference, and that one is
    /// cleared.
    ///
    /// # Errors
    /// [`Blocked::Refused`].
    pub fn leave_to(
        &self,
        tx: &mut Tx<'static>,
        [at, from]: [Maddr; 2],
        mfn: Mfn,
        write: bool,
        subject: Subject,
    ) -> Result<(), Blocked> {
        if at == from {
            return Err(Blocked::Refused);
        }
        // Two locks of one level: whoever takes two takes them in this order, and nobody waits with one for another.
        let (first, second) = if at.mfn().0 % 64 <= from.mfn().0 % 64 { (at, from) } else { (from, at) };
        self.locked_entry(tx, first, subject)?;
        self.locked_entry(tx, second, subject)?;
        let moved = self.locked_entry(tx, from, subject)?;
        self.check_granted(tx, at, mfn, write, subject)?;
        publish(tx, from, Pte(0));
        publish(tx, at, moved);
        Ok(())
    }

    /// The entry at `at` of a live L1 table, whose lock is taken.
    fn locked_entry(&self, tx: &mut Tx<'static>, at: Maddr, subject: Subject) -> Result<Pte, Blocked> {
        if !at.0.is_multiple_of(8) || self.frames.frame(at.mfn()).is_none() {
            return Err(Blocked::Refused);
        }
        tx.lock(self.locks.of(at.mfn(), 1));
        if !self.is_live_table(at.mfn(), subject.tables, Kind::L1) {
            return Err(Blocked::Refused);
        }
        Ok(Pte(self.memory.load64(at)))
    }

    #[inline(always)]
    fn check_granted(
        &self,
        tx: &mut Tx<'static>,
        at: Maddr,
        mfn: Mfn,
        write: bool,
        subject: Subject,
    ) -> Result<(), Blocked> {
        let old = self.locked_entry(tx, at, subject)?;
        let maps = old.is_present() && old.mfn() == mfn && old.is_writable() == write;
        if maps { Ok(()) } else { Err(Blocked::Refused) }
    }
}

#[inline(always)]
fn publish(tx: &mut Tx<'static>, at: Maddr, new: Pte) {
    tx.publish(Effect { kind: kind::PTE, x: 0, a: at.0, b: new.0 });
}
