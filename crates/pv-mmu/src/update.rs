//! Changing one entry of a live table.

use crate::entry::Refusal;
use crate::pte::{adjusted_l1, adjusted_table, same_but_ad};
use crate::work::is_hypervisor_slot;
use crate::{Mmu, MmuError, Pte, Subject};
use frames::Kind;
use guest_memory::GuestMemory;
use ids::{Maddr, Mfn};
use vault::{Apply, Durable, Effect, Journal, Tx, kind};

/// What becomes of the accessed and dirty bits that hardware may set meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdBits {
    /// The new entry's bits are meant as they are (`MMU_NORMAL_PT_UPDATE`).
    Replace,
    /// The present bits stay (`MMU_PT_UPDATE_PRESERVE_AD`).
    Preserve,
    /// The new entry was made of the old one, or the old one goes to a register: none may be set in between.
    Exact,
}

/// What the processor sets in entries.
const MARKS: u64 = Pte::A | Pte::D;

/// A write of one entry.
#[derive(Debug, Clone, Copy)]
pub struct EntryWrite {
    /// Where the entry is.
    pub at: Maddr,
    /// What it becomes.
    pub new: Pte,
    /// What becomes of its accessed and dirty bits.
    pub ad: AdBits,
}

impl<M: GuestMemory> Mmu<'_, M> {
    /// Writes one entry, whatever the level of the table that holds it, and with an entry of a live L1 table
    /// [those](Self::further_leaves) that `next` names; `done` runs in the transaction that does it (progress, result)
    /// and hears how many. A table that the entry named and that may have lost its last holder is noted in `debt`, a word
    /// of the vCPU that asks, by that transaction, and [settled](Self::settle) before this returns: `done` hears whether
    /// that is still to come.
    ///
    /// # Errors
    /// [`MmuError`]. [`MmuError::Preempted`] also with the write done and the debt not settled.
    #[inline(always)]
    pub fn update<A: Apply>(
        &self,
        j: &mut Journal<A>,
        write: EntryWrite,
        subject: Subject,
        debt: &'static Durable<Mfn>,
        mut next: impl FnMut(u64) -> Option<EntryWrite>,
        mut done: impl FnMut(&mut Tx<'static>, u64, bool),
    ) -> Result<(), MmuError> {
        let EntryWrite { at, new, ad } = write;
        let table = at.mfn();
        let usage = self.frames.frame(table).ok_or(MmuError::Invalid)?.usage();
        if usage.owner() != subject.tables {
            return Err(MmuError::Invalid);
        }
        match usage.kind().level() {
            Some(1) if usage.is_validated() => {
                let mut further = |tx: &mut Tx<'static>| match next(1) {
                    Some(second) => self.further_leaves(tx, at, second, subject, &mut next),
                    None => 1,
                };
                let done = |tx: &mut Tx<'static>| {
                    let count = further(tx);
                    done(tx, count, false);
                };
                self.update_leaf(j, at, ad, subject, |_| Some(new.0), done)
            }
            Some(level) if usage.is_validated() => {
                self.update_table(j, write, level, subject, debt, &mut |tx, owes| done(tx, 1, owes))
            }
            _ if usage.is_in_work() && usage.is_pinned() => Err(MmuError::Invalid),
            _ if usage.is_in_work() => {
                self.reclaim(j, table)?;
                Err(MmuError::Preempted)
            }
            _ => self.write_plain(j, at, new, subject, &mut next, &mut |tx, count| done(tx, count, false)),
        }
    }

    /// Changes one L1 entry by `rewrite` of its present value, under the table's lock; `None` leaves it (a failed
    /// compare-exchange). `done` runs behind it.
    ///
    /// # Errors
    /// [`MmuError`]; [`MmuError::Invalid`] also when the frame is no live L1 table of the subject.
    #[inline(always)]
    pub fn update_leaf<A: Apply>(
        &self,
        j: &mut Journal<A>,
        at: Maddr,
        ad: AdBits,
        subject: Subject,
        mut rewrite: impl FnMut(u64) -> Option<u64>,
        mut done: impl FnMut(&mut Tx<'static>),
    ) -> Result<(), MmuError> {
        let table = at.mfn();
        loop {
            let result = j.transaction(|tx| -> Result<(), Refusal> {
                tx.lock(self.locks.of(table, 1));
                if !self.is_live_table(table, subject.tables, Kind::L1) {
                    return Err(MmuError::Invalid.into());
                }
                let old = Pte(self.memory.load64(at));
                if let Some(new) = rewrite(old.0) {
                    self.replace_leaf(tx, at, old, adjusted_l1(Pte(new)), ad, subject)?;
                }
                done(tx);
                Ok(())
            });
            match result {
                Ok(()) => return Ok(()),
                Err(Refusal::Changed | Refusal::ReadOnly) => {}
                Err(Refusal::Dormant(mfn)) => self.make_way(j, mfn)?,
                Err(Refusal::Final(e)) => return Err(e),
            }
        }
    }

    #[inline(always)]
    pub(crate) fn replace_leaf(
        &self,
        tx: &mut Tx<'static>,
        at: Maddr,
        old: Pte,
        new: Pte,
        ad: AdBits,
        subject: Subject,
    ) -> Result<(), Refusal> {
        // The same frame with the same rights keeps its reference.
        let keeps = keeps_reference(old, new);
        if !keeps {
            match self.get_leaf(tx, new, subject, at.mfn()) {
                Ok(()) => {}
                Err(Refusal::ReadOnly) => return self.replace_by_read_only(tx, at, old, new, ad),
                Err(e) => return Err(e),
            }
        }
        self.write_leaf(tx, at, old, new, ad, keeps)
    }

    #[cold]
    #[inline(never)]
    fn replace_by_read_only(
        &self,
        tx: &mut Tx<'static>,
        at: Maddr,
        old: Pte,
        new: Pte,
        ad: AdBits,
    ) -> Result<(), Refusal> {
        self.write_leaf(tx, at, old, new.read_only(), ad, false)
    }

    /// Writes the new entry, whose reference is held, and drops the old one's unless the new one keeps it.
    #[inline(always)]
    fn write_leaf(
        &self,
        tx: &mut Tx<'static>,
        at: Maddr,
        old: Pte,
        new: Pte,
        ad: AdBits,
        keeps: bool,
    ) -> Result<(), Refusal> {
        // The processor marks nothing in an entry that is not present.
        if ad == AdBits::Exact && old.is_present() {
            self.exchange_leaf(tx, at, old, new)?;
        } else {
            publish_pte(tx, at, new, ad);
        }
        if !keeps && let Some(effect) = self.put_leaf(old) {
            tx.publish(effect);
        }
        Ok(())
    }

    /// Exchanges a live entry before the commit: only the exchange itself says which bits the processor had set.
    /// Another CPU's walk that sets one first makes the transaction begin again.
    #[inline(always)]
    fn exchange_leaf(&self, tx: &mut Tx<'static>, at: Maddr, old: Pte, new: Pte) -> Result<(), Refusal> {
        tx.note_entry(at.0 | hint(old.0, new.0), old.0);
        self.memory.exchange64(at, old.0, new.0).map_err(|_| Refusal::Changed)
    }

    fn update_table<A: Apply>(
        &self,
        j: &mut Journal<A>,
        EntryWrite { at, new, ad }: EntryWrite,
        level: u32,
        subject: Subject,
        debt: &'static Durable<Mfn>,
        done: &mut dyn FnMut(&mut Tx<'static>, bool),
    ) -> Result<(), MmuError> {
        let table = at.mfn();
        if is_hypervisor_slot(level, (at.offset() / 8) as u16) {
            return Err(MmuError::Invalid);
        }
        if new.is_present() && new.0 & Pte::PSE != 0 {
            return Err(MmuError::Invalid);
        }
        let new = adjusted_table(new);
        self.settle(j, debt)?;
        j.check()?;
        let mut owes = false;
        let mut write = |tx: &mut Tx<'static>, took: bool| -> Result<(), MmuError> {
            if !self.is_live_table(table, subject.tables, Kind::table(level)) {
                return Err(MmuError::Invalid);
            }
            let old = Pte(self.memory.load64(at));
            publish_pte(tx, at, new, ad);
            owes = old.is_present() && (took || !keeps_table(old, new));
            if owes {
                self.put_table(tx, old.mfn());
                tx.set(debt, old.mfn());
            }
            done(tx, owes);
            Ok(())
        };
        let old = Pte(self.memory.load64(at));
        if !new.is_present() || keeps_table(old, new) {
            j.transaction(|tx| {
                tx.lock(self.locks.of(table, level));
                let now = Pte(self.memory.load64(at));
                if new.is_present() && !keeps_table(now, new) {
                    return Err(MmuError::Preempted);
                }
                write(tx, false)
            })?;
        } else {
            let outer = Some((table, level));
            self.get_table(j, new.mfn(), level - 1, subject, outer, &mut |tx| write(tx, true))?;
        }
        if owes { self.settle(j, debt) } else { Ok(()) }
    }

    /// Unvalidates the table that is noted in a vCPU's `debt`, if nobody else holds it. What follows from an update or
    /// from a change of roots is settled before the vCPU does anything else to its page tables: what the table maps
    /// must be free for other uses by then.
    ///
    /// # Errors
    /// [`MmuError::Preempted`]: the debt is still there.
    #[inline]
    pub fn settle<A: Apply>(&self, j: &mut Journal<A>, debt: &'static Durable<Mfn>) -> Result<(), MmuError> {
        let table = debt.get();
        if table != Mfn(0) {
            self.retire(j, table)?;
            j.pay(1);
            j.change(|tx| tx.set(debt, Mfn(0)));
        }
        Ok(())
    }

    /// Whether `mfn` is a live L1 table of the subject: what a faulting guest write may be meant for.
    pub fn is_live_l1(&self, mfn: Mfn, subject: Subject) -> bool {
        self.is_live_table(mfn, subject.tables, Kind::L1)
    }
}

#[inline(always)]
fn publish_pte(tx: &mut Tx<'static>, at: Maddr, new: Pte, ad: AdBits) {
    tx.publish(Effect { kind: kind::PTE, x: u32::from(ad == AdBits::Preserve), a: at.0, b: new.0 });
}

/// Whether the new L1 entry holds the very reference of the old one.
fn keeps_reference(old: Pte, new: Pte) -> bool {
    let held = Pte::P | Pte::RW;
    old.is_present() && new.is_present() && old.mfn() == new.mfn() && (old.0 ^ new.0) & held == 0
}

/// Whether the new table entry holds the very reference of the old one.
fn keeps_table(old: Pte, new: Pte) -> bool {
    old.is_present() && new.is_present() && old.mfn() == new.mfn()
}

/// What undoing an exchange has to know of the new entry: its accessed and dirty bits (bits 0 and 1), and whether
/// the two differ in nothing else (bit 2).
const fn hint(old: u64, new: u64) -> u64 {
    (new & MARKS) >> 5 | if same_but_ad(old, new) { 4 } else { 0 }
}

/// What an entry becomes whose exchange is undone, if `found` stands there: `old`, with the bits that the processor
/// set in either. In doubt a page is taken for dirty rather than for clean.
const fn undone(old: u64, found: u64, hint: u64) -> u64 {
    let new_marks = (hint & 3) << 5;
    if hint & 4 != 0 {
        if found & MARKS == new_marks { old } else { old | found & MARKS }
    } else if same_but_ad(old, found) {
        // It was not exchanged.
        found
    } else {
        old | found & MARKS & !new_marks
    }
}

/// Puts back an entry whose exchange is undone; `noted` is its address with the hint. Idempotent.
pub fn restore_pte<M: GuestMemory>(memory: &M, noted: u64, old: u64) {
    let at = Maddr(noted & !7);
    let mut found = memory.load64(at);
    while let Err(other) = memory.exchange64(at, found, undone(old, found, noted & 7)) {
        found = other;
    }
}

/// Applies a page-table entry's effect. `again`: a crash came between the commit and now; then an entry
/// that is there already, accessed and dirty bits apart, stays, for a guest may have used it meanwhile.
pub fn apply_pte<M: GuestMemory>(memory: &M, at: Maddr, new: u64, ad: AdBits, again: bool) {
    let mut old = memory.load64(at);
    loop {
        if again && same_but_ad(old, new) {
            return;
        }
        let value = match ad {
            AdBits::Preserve => new | old & (Pte::A | Pte::D),
            AdBits::Replace | AdBits::Exact => new,
        };
        match memory.exchange64(at, old, value) {
            Ok(()) => return,
            Err(found) => old = found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MARKS, hint, undone};

    /// An entry's other bits; those of another.
    const HERE: u64 = 0x1234_5007;
    const ELSEWHERE: u64 = 0x4321_6005;

    /// Every old and new entry, with every set of marks that a page walk makes.
    fn each(mut check: impl FnMut(u64, u64, u64)) {
        let marks = || (0..4).map(|bits| bits << 5);
        for (old, new) in marks().flat_map(|old| marks().map(move |new| (old, new))) {
            for walk in marks() {
                check(HERE | old, HERE | new, walk);
                check(HERE | old, ELSEWHERE | new, walk);
            }
        }
    }

    #[test]
    fn what_is_undone_is_the_old_entry_with_the_marks_that_can_be_told() {
        each(|old, new, walk| {
            let [not_yet, exchanged] =
                [old | walk, new | walk].map(|found| undone(old, found, hint(old, new)));
            if (old ^ new) & !MARKS != 0 {
                assert_eq!(not_yet, old | walk);
                assert_eq!(exchanged, old | walk & !new);
                return;
            }
            // The two differ in marks alone: with no walk it is the old one.
            assert!(walk & !new != 0 || exchanged == old, "{old:#x} {new:#x} {walk:#x}");
            for (result, found) in [(not_yet, old | walk), (exchanged, new | walk)] {
                assert_eq!(result & !MARKS, old & !MARKS);
                // A mark is lost only where the entry is the new one, which the repetition makes it again.
                assert!(result | found == result || found == new, "{old:#x} {new:#x} {walk:#x}");
            }
        });
    }

    #[test]
    fn undoing_again_changes_nothing() {
        each(|old, new, walk| {
            for found in [old | walk, new | walk] {
                let hint = hint(old, new);
                let once = undone(old, found, hint);
                assert_eq!(undone(old, once, hint) & !MARKS, once & !MARKS);
                assert!((old ^ new) & !MARKS == 0 || undone(old, once, hint) == once);
            }
        });
    }
}
