//! Validation of a table, a few entries a transaction.

use crate::entry::Refusal;
use crate::root::M2P_SLOT;
use crate::runs::Run;
use crate::{Mmu, MmuError, Pte, Subject, adjusted_table};
use frames::{Frame, FrameError, Got, Kind, Stage};
use guest_memory::GuestMemory;
use ids::{Maddr, Mfn};
use vault::{Apply, Journal, Tx, flush};

/// Entries of a table.
pub(crate) const ENTRIES: u16 = 512;
/// Root entries that belong to the hypervisor.
pub(crate) const HYPERVISOR_SLOTS: core::ops::Range<u16> = 256..272;

/// What comes of one transaction of work.
enum Step {
    Advanced,
    Complete,
    Below(Mfn),
    InTheWay(Mfn),
    Gone,
}

/// What came of asking for a table.
enum Begun {
    Taken,
    /// It is in work; what came of its first transaction, if that was this one.
    Work(Option<Step>),
    /// It is in work, and all processors have forgotten their translations.
    Flushed,
    Refused,
}

/// What a refusal of a table says: what its stage cannot say is not said, for a repetition answers the same.
fn said(e: MmuError) -> MmuError {
    if e == MmuError::Busy { MmuError::Invalid } else { e }
}

/// A table (frame and level) to lock before the one worked on.
pub type Outer = Option<(Mfn, u32)>;

#[inline(always)]
pub(crate) fn entry_address(table: Mfn, index: u16) -> Maddr {
    Maddr(table.maddr().0.wrapping_add(8 * u64::from(index)))
}

/// Whether entry `index` of a table of `level` is the hypervisor's.
pub(crate) fn is_hypervisor_slot(level: u32, index: u16) -> bool {
    level == 4 && HYPERVISOR_SLOTS.contains(&index)
}

impl<M: GuestMemory> Mmu<'_, M> {
    /// As [`get_table`](Self::get_table), for a table that is valid already, with nothing to lock before it. False:
    /// nothing was done, for it is not.
    #[inline(always)]
    pub fn take_table<A: Apply>(
        &self,
        j: &mut Journal<A>,
        mfn: Mfn,
        level: u32,
        subject: Subject,
        then: impl FnOnce(&mut Tx<'static>),
    ) -> bool {
        let taken = j.transaction(|tx| {
            tx.lock(self.locks.of(mfn, level));
            match self.frames.get_typed(tx, mfn, subject.tables, Kind::table(level)) {
                Ok(Got::Taken) => {
                    then(tx);
                    Ok(())
                }
                _ => Err(()),
            }
        });
        taken.is_ok()
    }

    /// Gets a typed reference to `mfn` as a table of `level`, validating it if need be, and runs `then` in
    /// the transaction that takes (or completes) it, under the lock of `outer`, the table above that
    /// `then` changes. If `then` refuses, the reference is not taken.
    ///
    /// # Errors
    /// [`MmuError`]: what `then` says, or why the table is invalid.
    pub fn get_table<A: Apply>(
        &self,
        j: &mut Journal<A>,
        mfn: Mfn,
        level: u32,
        subject: Subject,
        outer: Outer,
        then: &mut dyn FnMut(&mut Tx<'static>) -> Result<(), MmuError>,
    ) -> Result<(), MmuError> {
        let kind = Kind::table(level);
        loop {
            let gone = self.frames.gone();
            let begun = j.transaction(|tx| -> Result<Begun, Refusal> {
                self.lock_outer(tx, outer);
                // What others have begun or completed here is committed before it is built upon.
                tx.lock(self.locks.of(mfn, level));
                let got = match self.frames.get_typed(tx, mfn, subject.tables, kind) {
                    Ok(got) => got,
                    Err(FrameError::InUse(_)) if self.is_in_the_way(mfn, outer) => {
                        return Err(Refusal::Dormant(mfn));
                    }
                    Err(e) => return Err(MmuError::from(e).into()),
                };
                let mut fresh = None;
                let may_be_stale = match got {
                    Got::Taken => {
                        then(tx)?;
                        return Ok(Begun::Taken);
                    }
                    Got::InWork if self.refusal(mfn).is_some() => return Ok(Begun::Refused),
                    // Who began it may still wait for the flush.
                    Got::InWork => self.frames.frame(mfn).is_some_and(|f| f.usage().cursor() == 0),
                    Got::MustValidate => {
                        fresh = self.frames.frame(mfn);
                        let was = fresh.map_or(Kind::None, |f| f.usage().kind());
                        self.frames.begin_work(tx, mfn, subject.tables, kind).map_err(MmuError::from)?;
                        was != Kind::None && was != kind
                    }
                };
                if may_be_stale && !self.frames.are_unwritable() {
                    // A processor may still write to the former page, or take it for another table.
                    tx.publish(flush::EVERYWHERE);
                    return Ok(Begun::Flushed);
                }
                let Some(frame) = fresh else { return Ok(Begun::Work(None)) };
                match self.advance(tx, (mfn, level, frame), 0, subject, outer, then) {
                    Ok(Step::Complete) => Ok(Begun::Taken),
                    Ok(step) => Ok(Begun::Work(Some(step))),
                    Err(e) => Err(said(e).into()),
                }
            });
            match begun {
                Ok(Begun::Taken) => {
                    j.pay(1);
                    return Ok(());
                }
                Ok(Begun::Refused) => {
                    let e = self.refusal(mfn).unwrap_or(MmuError::Invalid);
                    self.unwork(j, mfn, level, &mut |_| {})?;
                    return Err(e);
                }
                Ok(begun @ (Begun::Work(_) | Begun::Flushed)) => {
                    let first = match begun {
                        Begun::Work(first) => first,
                        _ => {
                            self.frames.note_forgotten(gone);
                            None
                        }
                    };
                    if self.work_to_end(j, (mfn, level), subject, outer, first, then)? {
                        return Ok(());
                    }
                }
                Err(Refusal::Dormant(m)) => self.make_way(j, m)?,
                Err(Refusal::Changed | Refusal::ReadOnly) => {}
                Err(Refusal::Final(e)) => return Err(e),
            }
        }
    }

    /// Validates a table in work and completes it with `then`; one that turns out invalid is unvalidated again.
    /// `Ok(false)`: somebody else completed or gave up the frame meanwhile.
    #[inline(never)]
    fn work_to_end<A: Apply>(
        &self,
        j: &mut Journal<A>,
        table: (Mfn, u32),
        subject: Subject,
        outer: Outer,
        first: Option<Step>,
        then: &mut dyn FnMut(&mut Tx<'static>) -> Result<(), MmuError>,
    ) -> Result<bool, MmuError> {
        let (mfn, level) = table;
        match self.work(j, table, subject, outer, first, then) {
            Ok(complete) => Ok(complete),
            Err(MmuError::Preempted) => Err(MmuError::Preempted),
            Err(e) => {
                let e = said(e);
                if self.refuse(j, mfn, level, e) {
                    self.unwork(j, mfn, level, &mut |_| {})?;
                }
                Err(e)
            }
        }
    }

    /// Notes that a table in work is invalid, so that a repetition unvalidates it and then says so again,
    /// rather than validate anew what was given back. Returns whether it is to be unvalidated now; one that
    /// is pinned waits for its unpinning.
    fn refuse<A: Apply>(&self, j: &mut Journal<A>, mfn: Mfn, level: u32, e: MmuError) -> bool {
        let Some(frame) = self.frames.frame(mfn) else { return false };
        j.change(|tx| {
            tx.lock(self.locks.of(mfn, level));
            let usage = frame.usage();
            let refused = usage.is_in_work() && usage.kind() == Kind::table(level) && !usage.is_pinned();
            if refused {
                let refusal = if e == MmuError::NotPermitted { Stage::NOT_PERMITTED } else { Stage::REFUSED };
                self.frames.set_stage(tx, frame, refusal);
            }
            refused
        })
    }

    /// Why a table in work was refused.
    fn refusal(&self, mfn: Mfn) -> Option<MmuError> {
        match self.frames.frame(mfn)?.usage().stage() {
            Stage::NOT_PERMITTED => Some(MmuError::NotPermitted),
            stage => stage.is_refused().then_some(MmuError::Invalid),
        }
    }

    pub(crate) fn lock_outer(&self, tx: &mut Tx<'static>, outer: Outer) {
        if let Some((mfn, level)) = outer {
            tx.lock(self.locks.of(mfn, level));
        }
    }

    /// Whether unvalidating `mfn` makes it usable; never so for the table that is being worked on.
    fn is_in_the_way(&self, mfn: Mfn, outer: Outer) -> bool {
        outer.is_none_or(|(above, _)| above != mfn) && self.is_reclaimable(mfn)
    }

    /// Moves the cursor of a frame in work to the end and completes it with `then`; `first` came of the first transaction
    /// of this, if that is over. `Ok(false)`: somebody else completed or gave up the frame meanwhile.
    fn work<A: Apply>(
        &self,
        j: &mut Journal<A>,
        (mfn, level): (Mfn, u32),
        subject: Subject,
        outer: Outer,
        mut first: Option<Step>,
        then: &mut dyn FnMut(&mut Tx<'static>) -> Result<(), MmuError>,
    ) -> Result<bool, MmuError> {
        let frame = self.frames.frame(mfn).ok_or(MmuError::Invalid)?;
        loop {
            let step = match first.take() {
                Some(step) => step,
                None => j.transaction(|tx| {
                    self.lock_outer(tx, outer);
                    tx.lock(self.locks.of(mfn, level));
                    let usage = frame.usage();
                    if !usage.is_in_work() || usage.kind() != Kind::table(level) {
                        return Ok(Step::Gone);
                    }
                    if let Some(e) = self.refusal(mfn) {
                        return Err(e);
                    }
                    if usage.stage() != Stage::UP {
                        self.frames.set_stage(tx, frame, Stage::UP);
                    }
                    self.advance(tx, (mfn, level, frame), usage.cursor(), subject, outer, then)
                })?,
            };
            match step {
                // Paid for what is done, so that every entry gets on however deep it must descend first.
                Step::Advanced => j.spend()?,
                Step::Complete => {
                    j.pay(1);
                    return Ok(true);
                }
                Step::Gone => return Ok(false),
                Step::InTheWay(m) => self.make_way(j, m)?,
                Step::Below(child) => {
                    self.get_table(j, child, level - 1, subject, Some((mfn, level)), &mut |tx| {
                        self.child_done(tx, mfn, level, frame, child)
                    })?;
                    j.check()?;
                }
            }
        }
    }

    /// The work of one transaction on a table in work, whose lock is held, from its cursor on; `then` if that is all.
    #[inline(never)]
    fn advance(
        &self,
        tx: &mut Tx<'static>,
        (mfn, level, frame): (Mfn, u32, &Frame),
        start: u16,
        subject: Subject,
        outer: Outer,
        then: &mut dyn FnMut(&mut Tx<'static>) -> Result<(), MmuError>,
    ) -> Result<Step, MmuError> {
        let run = match level {
            _ if start == ENTRIES => Run::To(ENTRIES),
            1 => self.work_leaves(tx, mfn, start, subject, outer)?,
            _ => self.work_tables(tx, mfn, level, start, subject)?,
        };
        let to = match run {
            Run::To(ENTRIES) => {
                // The cursor goes with the work.
                self.complete(tx, mfn, level, frame, then)?;
                return Ok(Step::Complete);
            }
            Run::InTheWay(m) => return Ok(Step::InTheWay(m)),
            Run::To(index) | Run::Below(_, index) => index,
        };
        if to != start {
            self.frames.move_cursor(tx, frame, to);
        }
        Ok(if let Run::Below(child, _) = run { Step::Below(child) } else { Step::Advanced })
    }

    /// A child table is valid: its reference becomes that of the parent's entry at the cursor.
    fn child_done(
        &self,
        tx: &mut Tx<'static>,
        parent: Mfn,
        level: u32,
        frame: &Frame,
        child: Mfn,
    ) -> Result<(), MmuError> {
        // The parent is in work and its entry names the child, or somebody else got here first: went on
        // with it, or took it away.
        let usage = frame.usage();
        let index = usage.cursor();
        if usage.kind() != Kind::table(level) || !usage.is_in_work() && !usage.is_validated() {
            return Err(MmuError::Invalid);
        }
        if usage.is_in_work() && usage.stage().is_refused() {
            return Err(MmuError::Invalid);
        }
        if !usage.is_in_work() || index >= ENTRIES {
            return Err(MmuError::Preempted);
        }
        let at = entry_address(parent, index);
        let pte = Pte(self.memory.load64(at));
        if pte.mfn() != child {
            return Err(MmuError::Preempted);
        }
        self.memory.store64(at, adjusted_table(pte).0);
        self.frames.move_cursor(tx, frame, index + 1);
        Ok(())
    }

    fn complete(
        &self,
        tx: &mut Tx<'static>,
        mfn: Mfn,
        level: u32,
        frame: &Frame,
        then: &mut dyn FnMut(&mut Tx<'static>) -> Result<(), MmuError>,
    ) -> Result<(), MmuError> {
        if level == 4 {
            for (slot, value) in HYPERVISOR_SLOTS.zip(self.hypervisor_slots) {
                // The M2P appears with a kernel's use.
                self.memory.store64(entry_address(mfn, slot), if slot == M2P_SLOT { 0 } else { *value });
            }
        }
        self.frames.finish_table(tx, mfn, frame);
        then(tx)
    }
}
