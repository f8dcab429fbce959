//! Entries for granted frames, written and taken away within a transaction that does more than that.
//!
//! The entry holds a reference of its own, like any other: a guest may overwrite it as it overwrites any entry.

use crate::pte::adjusted_l1;
use crate::{Mmu, MmuError, Pte};
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

impl<M: GuestMemory> Mmu<'_, M> {
    /// Takes a reference to a frame of `owner`, a general one or one as a writable page, or `both` of two: for an entry
    /// that maps it as well.
    ///
    /// # Errors
    /// [`Blocked`].
    #[inline(always)]
    pub fn hold(
        &self,
        tx: &mut Tx<'_>,
        mfn: Mfn,
        owner: Owner,
        write: bool,
        both: bool,
    ) -> Result<(), Blocked> {
        match self.frames.get_granted(tx, mfn, owner, write, both) {
            Ok(Got::Taken) => Ok(()),
            Ok(_) => Err(Blocked::InTheWay(mfn)),
            Err(why) => Err(self.not_held(mfn, why)),
        }
    }

    #[cold]
    #[inline(never)]
    fn not_held(&self, mfn: Mfn, why: FrameError) -> Blocked {
        match why {
            FrameError::NotOwned => Blocked::NotOwned,
            FrameError::InUse(_) if self.is_reclaimable(mfn) => Blocked::InTheWay(mfn),
            FrameError::InUse(_) => Blocked::Refused,
        }
    }

    /// Unvalidates a table that nobody uses, so that its frame can be had.
    ///
    /// # Errors
    /// [`MmuError::Preempted`].
    pub fn clear_the_way<A: Apply>(&self, j: &mut Journal<A>, mfn: Mfn) -> Result<(), MmuError> {
        self.make_way(j, mfn)
    }

    /// An L1 table of `owner`'s, if it is live: its lock is taken.
    #[inline]
    pub fn live_table(&self, tx: &mut Tx<'static>, table: Mfn, owner: Owner) -> Option<LiveTable> {
        self.frames.frame(table)?;
        tx.lock(self.locks.of(table, 1));
        self.is_live_table(table, owner, Kind::L1).then_some(LiveTable(table))
    }

    /// Makes an entry map what `new` says, whose reference the caller has [taken](Self::hold) for it; what it mapped is
    /// dropped.
    #[inline(always)]
    pub fn enter(&self, tx: &mut Tx<'static>, at: Leaf, new: Pte) {
        let old = self.entry_at(at);
        publish(tx, at, adjusted_l1(new));
        if old.is_present() {
            self.drop_entry(tx, old);
        }
    }

    /// Apart, for it is rare.
    #[inline(never)]
    fn drop_entry(&self, tx: &mut Tx<'static>, old: Pte) {
        if let Some(effect) = self.put_leaf(old) {
            tx.publish(effect);
        }
    }

    /// Clears an entry, which must map `mfn`, writable or not as `write` says. The reference that it held is the caller's
    /// now.
    ///
    /// # Errors
    /// [`Blocked::Refused`].
    #[inline(always)]
    pub fn leave(&self, tx: &mut Tx<'static>, at: Leaf, mfn: Mfn, write: bool) -> Result<(), Blocked> {
        self.check_granted(at, mfn, write)?;
        publish(tx, at, Pte(0));
        Ok(())
    }

    /// As [`leave`](Self::leave) of the entry at `at`, a table's of `owner`; it becomes what the one at `from` is, with its
    /// reference, and that one is cleared.
    ///
    /// # Errors
    /// [`Blocked::Refused`].
    pub fn leave_to(
        &self,
        tx: &mut Tx<'static>,
        [at, from]: [Maddr; 2],
        mfn: Mfn,
        write: bool,
        owner: Owner,
    ) -> Result<(), Blocked> {
        if at == from {
            return Err(Blocked::Refused);
        }
        // Two locks of one level: whoever takes two takes them in this order, and nobody waits with one for another.
        let first = at.mfn().0 % 64 <= from.mfn().0 % 64;
        let mut leaf = |at: Maddr| {
            let table = self.live_table(tx, at.mfn(), owner);
            table.and_then(|table| table.leaf(at)).ok_or(Blocked::Refused)
        };
        let (at, from) = if first {
            let at = leaf(at)?;
            (at, leaf(from)?)
        } else {
            let from = leaf(from)?;
            (leaf(at)?, from)
        };
        let moved = self.entry_at(from);
        self.check_granted(at, mfn, write)?;
        publish(tx, from, Pte(0));
        publish(tx, at, moved);
        Ok(())
    }

    #[inline(always)]
    fn entry_at(&self, at: Leaf) -> Pte {
        Pte(self.memory.load64(at.0))
    }

    #[inline(always)]
    fn check_granted(&self, at: Leaf, mfn: Mfn, write: bool) -> Result<(), Blocked> {
        let old = self.entry_at(at);
        let maps = old.is_present() && old.mfn() == mfn && old.is_writable() == write;
        if maps { Ok(()) } else { Err(Blocked::Refused) }
    }
}

/// A live L1 table: it stays so until the transaction that has found it has ended, for that holds its lock.
#[derive(Debug, Clone, Copy)]
pub struct LiveTable(Mfn);

impl LiveTable {
    /// One of its entries; they are counted modulo their number.
    #[inline(always)]
    pub fn entry(self, index: usize) -> Leaf {
        Leaf(Maddr(self.0.maddr().0 | (index as u64 % 512) << 3))
    }

    /// The entry at a machine address, if it is one of this table's.
    #[inline(always)]
    pub fn leaf(self, at: Maddr) -> Option<Leaf> {
        (at.mfn() == self.0 && at.0.is_multiple_of(8)).then_some(Leaf(at))
    }
}

/// An entry of a [`LiveTable`].
#[derive(Debug, Clone, Copy)]
pub struct Leaf(Maddr);

impl Leaf {
    /// Which of the table's it is.
    #[inline(always)]
    pub fn index(self) -> usize {
        self.0.offset() as usize / 8
    }
}

#[inline(always)]
fn publish(tx: &mut Tx<'static>, at: Leaf, new: Pte) {
    tx.publish(Effect { kind: kind::PTE, x: 0, a: at.0.0, b: new.0 });
}
