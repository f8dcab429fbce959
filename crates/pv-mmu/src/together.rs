//! Entries of one live L1 table that are changed in one transaction, a single one or several, and words of a page that is
//! no table.

use crate::pte::adjusted_l1;
use crate::{EntryWrite, Mmu, MmuError, Pte, Subject};
use frames::{Frames, Got, Kind};
use guest_memory::GuestMemory;
use ids::Maddr;
use vault::{Apply, Journal, Tx};

/// Entries that one transaction changes at most: each publishes two effects and holds one reference.
const TOGETHER: u64 = 16;

impl<M: GuestMemory> Mmu<'_, M> {
    /// Writes one entry of a live L1 table, and runs `done` in the transaction, if it can be done at once. False: nothing
    /// was done, it is for [`update`](Self::update).
    #[inline(always)]
    pub fn update_at_once<A: Apply>(
        &self,
        j: &mut Journal<A>,
        EntryWrite { at, new, ad }: EntryWrite,
        subject: Subject,
        done: impl FnOnce(&mut Tx<'static>),
    ) -> bool {
        let table = at.mfn();
        let written = j.transaction(|tx| {
            tx.lock(self.locks.of(table, 1));
            if !self.is_live_table(table, subject.tables, Kind::L1) {
                return Err(());
            }
            let old = Pte(self.memory.load64(at));
            self.replace_leaf(tx, at, old, adjusted_l1(new), ad, subject).map_err(drop)?;
            done(tx);
            Ok(())
        });
        written.is_ok()
    }

    /// Goes on, in the transaction that has changed the entry at `first` and holds its table's lock, with `second` and
    /// with those that `next` names, by how many were before, as long as each is allowed and is behind the one before in
    /// the same table: the changes are not there before the commit, so that an entry which is named twice has to wait for
    /// it. What is not taken is for another transaction, which says why. The answer is how many were changed, the first
    /// one included.
    #[inline(never)]
    pub(crate) fn further_leaves(
        &self,
        tx: &mut Tx<'static>,
        first: Maddr,
        second: EntryWrite,
        subject: Subject,
        next: &mut impl FnMut(u64) -> Option<EntryWrite>,
    ) -> u64 {
        let (mut count, mut last, mut coming) = (1, first, Some(second));
        while let Some(EntryWrite { at, new, ad }) = coming
            && at > last
            && at.mfn() == first.mfn()
        {
            let old = Pte(self.memory.load64(at));
            // A refusal has written nothing.
            if self.replace_leaf(tx, at, old, adjusted_l1(new), ad, subject).is_err() {
                break;
            }
            (count, last) = (count + 1, at);
            coming = if count < TOGETHER { next(count) } else { None };
        }
        count
    }

    /// `mmu_update` of words in a page that is no table: of that at `at`, and of those in the same page that `next` names.
    /// They are plain writes, if the page may be written. The guest asked for these bytes, and nobody else has a say in
    /// them; so they are written before the commit, and again by a repetition.
    pub(crate) fn write_plain<A: Apply>(
        &self,
        j: &mut Journal<A>,
        at: Maddr,
        new: Pte,
        subject: Subject,
        next: &mut dyn FnMut(u64) -> Option<EntryWrite>,
        done: &mut dyn FnMut(&mut Tx<'static>, u64),
    ) -> Result<(), MmuError> {
        let page = at.mfn();
        self.make_plain(j, page, subject.tables)?;
        j.transaction(|tx| {
            match self.frames.get_typed(tx, page, subject.tables, Kind::Writable)? {
                Got::Taken => {}
                _ => return Err(MmuError::Preempted),
            }
            self.memory.store64(at, new.0);
            let mut count = 1;
            while let Some(further) =
                next(count).filter(|further| further.at.mfn() == page && count < TOGETHER)
            {
                self.memory.store64(further.at, further.new.0);
                count += 1;
            }
            tx.publish(Frames::put_typed(page));
            done(tx, count);
            Ok(())
        })
    }

    /// Makes the subject's page that an entry is to map writable one that may be so, if it was a table: the entry's
    /// transaction would be refused else, and made again after this.
    ///
    /// # Errors
    /// [`MmuError::Preempted`].
    #[inline(always)]
    pub fn expect_writable<A: Apply>(
        &self,
        j: &mut Journal<A>,
        new: Pte,
        subject: Subject,
    ) -> Result<(), MmuError> {
        let Some(frame) = self.frames.frame(new.mfn()) else { return Ok(()) };
        let usage = frame.usage();
        if usage.was_table()
            && usage.owner() == subject.leaves
            && new.is_present()
            && new.is_writable()
            && let Some(level) = usage.kind().level()
        {
            self.forget(j, new.mfn(), level, frame);
            j.spend()?;
        }
        Ok(())
    }
}
