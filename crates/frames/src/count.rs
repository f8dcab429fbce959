//! Taking and dropping references.

use crate::usage::{Kind, Usage};
use crate::{Frame, Frames, LOOSE, Owner, Stage};
use ids::Mfn;
use vault::{Effect, Once, Tx, kind};

/// What an effect `VALID` does beside or instead of what its name says: one typed reference more.
const MORE: u32 = 1;
/// The table, which is valid by now, is pinned.
const PIN: u32 = 2;

/// Why a reference was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// The machine has no such frame, or it is not the expected owner's.
    NotOwned,
    /// It is in use as something that excludes the wanted use.
    InUse(Kind),
}

/// How a typed reference came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Got {
    /// The reference is taken.
    Taken,
    /// Nobody uses the frame as anything: its contents must be validated first.
    MustValidate,
    /// Its validation (or the reverse) was begun and not finished.
    InWork,
}

impl Frames {
    /// Takes a general reference to a frame of `owner`.
    ///
    /// # Errors
    /// [`FrameError::NotOwned`].
    #[inline(always)]
    pub fn get_ref(&self, tx: &mut Tx<'_>, mfn: Mfn, owner: Owner) -> Result<(), FrameError> {
        let frame = self.frame(mfn).ok_or(FrameError::NotOwned)?;
        loop {
            let old = frame.usage();
            if old.owner() != owner || old.is_bare() {
                return Err(FrameError::NotOwned);
            }
            if tx.exchange(&frame.usage, old.0, old.plus_ref().0) {
                return Ok(());
            }
        }
    }

    /// Gives up the allocation of a frame of `owner`: it leaves the domain when its last reference does,
    /// the allocation's own with this commit. Mappings keep it until then.
    ///
    /// # Errors
    /// [`FrameError::NotOwned`], also when the allocation is given up already, or was never the domain's
    /// to give up (frames that the hypervisor shares with it). [`FrameError::InUse`]: it is a page table
    /// without users that must be unvalidated first.
    pub fn release(&self, tx: &mut Tx<'_>, mfn: Mfn, owner: Owner) -> Result<(), FrameError> {
        let dormant = |u: Usage| u.typed() == 0 && (u.is_validated() || u.is_in_work());
        self.end_allocation(tx, mfn, owner, |u| {
            if dormant(u) { Err(FrameError::InUse(u.kind())) } else { Ok(()) }
        })
    }

    /// As [`release`](Self::release), for a frame that must have no use or mapping left: it is free after
    /// the commit.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn release_sole(&self, tx: &mut Tx<'_>, mfn: Mfn, owner: Owner) -> Result<(), FrameError> {
        let sole = |u: Usage| u.is_sole() && !u.is_validated();
        self.end_allocation(tx, mfn, owner, |u| sole(u).then_some(()).ok_or(FrameError::InUse(u.kind())))
    }

    fn end_allocation(
        &self,
        tx: &mut Tx<'_>,
        mfn: Mfn,
        owner: Owner,
        check: impl Fn(Usage) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        let frame = self.frame(mfn).ok_or(FrameError::NotOwned)?;
        loop {
            let old = frame.usage();
            if old.owner() != owner || !old.is_allocated() {
                return Err(FrameError::NotOwned);
            }
            check(old)?;
            if tx.exchange(&frame.usage, old.0, old.without_allocation().0) {
                tx.publish(Self::put_ref(mfn));
                return Ok(());
            }
        }
    }

    /// Takes a typed reference to a frame of `owner`. [`Kind::Writable`] and [`Kind::Descriptors`] follow
    /// the same rules as tables: the first is valid by itself, all others answer
    /// [`Got::MustValidate`] when nobody holds them yet.
    ///
    /// # Errors
    /// [`FrameError`].
    #[inline(always)]
    pub fn get_typed(&self, tx: &mut Tx<'_>, mfn: Mfn, owner: Owner, kind: Kind) -> Result<Got, FrameError> {
        let frame = self.frame(mfn).ok_or(FrameError::NotOwned)?;
        loop {
            let old = frame.usage();
            if old.owner() != owner || old.is_bare() {
                return Err(FrameError::NotOwned);
            }
            let new = match typed_step(old, kind)? {
                Ok(new) => new,
                Err(got) => return Ok(got),
            };
            if tx.exchange(&frame.usage, old.0, new.0) {
                return Ok(Got::Taken);
            }
        }
    }

    /// Takes a typed reference to a table of `owner` that is valid and held, as those of the kernel are which all roots
    /// name. False: nothing was done, it is for [`get_typed`](Self::get_typed).
    #[inline(always)]
    pub fn take_valid(&self, tx: &mut Tx<'_>, mfn: Mfn, owner: Owner, kind: Kind) -> bool {
        let Some(frame) = self.frame(mfn) else { return false };
        let old = frame.usage();
        old.is_held_as(owner, kind) && tx.exchange(&frame.usage, old.0, old.one_typed_more().0)
    }

    /// Claims an untyped frame as `kind`, in work from cursor 0, with one typed reference for the caller.
    ///
    /// # Errors
    /// [`FrameError`], when the frame is no longer free of typed use.
    pub fn begin_work(&self, tx: &mut Tx<'_>, mfn: Mfn, owner: Owner, kind: Kind) -> Result<(), FrameError> {
        let frame = self.frame(mfn).ok_or(FrameError::NotOwned)?;
        loop {
            let old = frame.usage();
            if old.owner() != owner || old.is_bare() {
                return Err(FrameError::NotOwned);
            }
            if old.typed() != 0 || old.is_in_work() || old.is_validated() {
                return Err(FrameError::InUse(old.kind()));
            }
            let new = old.plus_typed().with_kind(kind).with_work(0, Stage::UP);
            if tx.exchange(&frame.usage, old.0, new.0) {
                return Ok(());
            }
        }
    }

    /// Work on a frame has come to here. The table's lock must be held, as for all that follows on frames in work.
    pub fn move_cursor(&self, tx: &mut Tx<'_>, frame: &Frame, cursor: u16) {
        self.change(tx, frame, |u| u.with_cursor(cursor));
    }

    /// Work on a frame goes there from now on.
    pub fn set_stage(&self, tx: &mut Tx<'_>, frame: &Frame, stage: Stage) {
        self.change(tx, frame, |u| u.with_stage(stage));
    }

    /// Ends work on a descriptor table: it is validated, and the worker's reference stays.
    pub fn finish_descriptors(&self, tx: &mut Tx<'_>, frame: &Frame) {
        self.change(tx, frame, |u| u.without_work().with_validated(true));
    }

    /// Ends work on a page table: with the commit it is validated, and the worker's reference stays. One that is pinned
    /// gets another for the worker: the one that is there is the pin's, whose end was begun and not finished.
    ///
    /// Until the commit it stays in work. So nobody builds on what may still be undone, for tables above take it
    /// without its lock.
    pub fn finish_table(&self, tx: &mut Tx<'_>, mfn: Mfn, frame: &Frame) {
        let more = if frame.usage().is_pinned() { MORE } else { 0 };
        tx.publish(Effect { kind: kind::VALID, x: more, a: mfn.0, b: 0 });
    }

    /// Turns a validated table back to *in work*, to be unvalidated down from `cursor`, if the one typed
    /// reference left is the caller's, who leaves it to the work. Refuses, returning false, when others hold
    /// it. The table's lock must be held.
    pub fn begin_unwork(&self, tx: &mut Tx<'_>, frame: &Frame, cursor: u16) -> bool {
        self.begin_down(tx, frame, cursor, 1)
    }

    /// The same for a dormant table: nobody holds it, the work takes the one reference.
    pub fn begin_unwork_dormant(&self, tx: &mut Tx<'_>, frame: &Frame, cursor: u16) -> bool {
        self.begin_down(tx, frame, cursor, 0)
    }

    fn begin_down(&self, tx: &mut Tx<'_>, frame: &Frame, cursor: u16, holders: u64) -> bool {
        loop {
            let old = frame.usage();
            if old.typed() != holders || !old.is_validated() || old.kind().level().is_none() {
                return false;
            }
            let held = if holders == 0 { old.plus_typed() } else { old };
            let new = held.with_validated(false).with_work(cursor, Stage::DOWN);
            if tx.exchange(&frame.usage, old.0, new.0) {
                return true;
            }
        }
    }

    /// Ends unvalidation: no pin; the worker's typed reference goes with the commit and takes the kind with
    /// it. Until then the kind keeps others away, for this transaction may still be undone.
    pub fn finish_unwork(&self, tx: &mut Tx<'_>, mfn: Mfn, frame: &Frame) {
        self.change(tx, frame, |u| u.without_work().with_pinned(false));
        tx.publish(Self::put_typed(mfn));
    }

    /// Sets the pin bit (its typed reference is the caller's business); of a table that this transaction finishes,
    /// with the commit.
    pub fn pin(&self, tx: &mut Tx<'_>, mfn: Mfn, frame: &Frame) {
        if frame.usage().is_in_work() {
            tx.publish(Effect { kind: kind::VALID, x: PIN, a: mfn.0, b: 0 });
        } else {
            self.change(tx, frame, |u| u.with_pinned(true));
        }
    }

    /// Clears the pin bit (its typed reference is the caller's business).
    pub fn unpin(&self, tx: &mut Tx<'_>, frame: &Frame) {
        self.change(tx, frame, |u| u.with_pinned(false));
    }

    fn change(&self, tx: &mut Tx<'_>, frame: &Frame, f: impl Fn(Usage) -> Usage) {
        loop {
            let old = frame.usage();
            if tx.exchange(&frame.usage, old.0, f(old).0) {
                return;
            }
        }
    }

    /// The frame whose usage is the word at `address`, if it belongs to a domain without any reference to it: an undone
    /// reference was the last, for the others were dropped before it was undone.
    pub fn lost_at(&self, address: u64) -> Option<Mfn> {
        let offset = address.checked_sub(self.table.as_ptr().addr() as u64)?;
        let mfn = Mfn(offset / size_of::<Frame>() as u64);
        self.frame(mfn)?.usage().is_lost().then_some(mfn)
    }

    /// Frees a frame that belongs to a domain without any reference to it. Returns whether it was one.
    pub fn collect(&self, tx: &mut Tx<'_>, mfn: Mfn) -> bool {
        let Some(frame) = self.frame(mfn) else { return false };
        let old = frame.usage();
        if !old.is_lost() || !tx.exchange(&frame.usage, old.0, old.plus_ref().0) {
            return false;
        }
        tx.publish(Self::put_ref(mfn));
        true
    }

    /// Applies the end of work on a page table, exactly once.
    #[inline(never)]
    pub fn apply_valid(&self, once: &mut Once<'_, '_>, mfn: Mfn, what: u32) {
        let Some(frame) = self.frame(mfn) else { return };
        loop {
            let old = frame.usage();
            let new = match what {
                PIN => old.with_pinned(true),
                MORE => old.without_work().plus_typed().with_validated(true),
                _ => old.without_work().with_validated(true),
            };
            if once.exchange(&frame.usage, old.0, new.0) {
                return;
            }
        }
    }

    /// Applies a dropped general reference, exactly once; frees the frame if it was the last.
    #[inline(never)]
    pub fn apply_put_ref(&self, once: &mut Once<'_, '_>, mfn: Mfn) {
        self.apply_put(once, mfn, Usage::minus_ref);
    }

    /// Applies a dropped typed reference, exactly once; frees the frame if it was the last of all. A page
    /// table whose last typed reference goes stays validated (*dormant*): its entries keep their
    /// references until [`begin_unwork`](Self::begin_unwork). A descriptor table holds none and is let go. One that
    /// was unvalidated keeps its kind, for processors may still walk to it.
    #[inline(never)]
    pub fn apply_put_typed(&self, once: &mut Once<'_, '_>, mfn: Mfn) {
        self.apply_put(once, mfn, |u| self.without_typed(u, u.minus_typed()));
    }

    /// What a usage becomes whose typed references are fewer in `new`.
    #[inline(always)]
    pub(crate) fn without_typed(&self, old: Usage, new: Usage) -> Usage {
        if old.is_plain() {
            if new.typed() == 0 {
                self.count_unwritable();
            }
            new.with_kind(Kind::Writable)
        } else if new.typed() == 0 && old.kind() == Kind::Descriptors {
            new.with_validated(false).with_kind(Kind::None)
        } else {
            if new.was_table() {
                // Before the word says so: who sees that sees this.
                self.count_freed();
            }
            new
        }
    }

    /// A frame that was a table is nothing any more, if no processor knows it as one: then it may be written to.
    /// Its table's lock must be held, under which it became what it is. False: to be tried again after a flush.
    ///
    /// Until the commit it is about to be given up by somebody, as what holds no references: that keeps others away,
    /// who could otherwise build on what may still be undone.
    pub fn forget_table(&self, tx: &mut Tx<'_>, mfn: Mfn, frame: &Frame) -> bool {
        loop {
            let old = frame.usage();
            if !old.was_table() {
                return true;
            }
            if !self.are_forgotten() {
                return false;
            }
            if tx.exchange(&frame.usage, old.0, old.plus_typed().with_kind(Kind::Descriptors).0) {
                tx.publish(Self::put_typed(mfn));
                return true;
            }
        }
    }

    #[inline(always)]
    pub(crate) fn apply_put(&self, once: &mut Once<'_, '_>, mfn: Mfn, step: impl Fn(Usage) -> Usage) {
        let Some(frame) = self.frame(mfn) else { return };
        loop {
            let old = frame.usage();
            let mut new = step(old);
            if is_freed(old, new) {
                new = Usage::free(Some(LOOSE));
                self.chain_free(once, mfn, frame, old.owner());
            }
            if once.exchange(&frame.usage, old.0, new.0) {
                return;
            }
        }
    }
}

/// Whether a frame is free that becomes `new`.
#[inline(always)]
pub(crate) const fn is_freed(old: Usage, new: Usage) -> bool {
    new.is_bare() && !new.is_validated() && !new.is_in_work() && !old.is_bare()
}

/// What a typed reference makes of a usage: `Ok(Ok(new))`, or why not.
#[inline(always)]
pub(crate) fn typed_step(old: Usage, kind: Kind) -> Result<Result<Usage, Got>, FrameError> {
    if old.is_in_work() {
        return if old.kind() == kind { Ok(Err(Got::InWork)) } else { Err(FrameError::InUse(old.kind())) };
    }
    if old.is_validated() && old.kind() == kind {
        return Ok(Ok(old.plus_typed()));
    }
    if kind == Kind::Writable && old.is_plain() {
        return Ok(Ok(old.plus_typed()));
    }
    if old.typed() != 0 || old.is_validated() {
        return Err(FrameError::InUse(old.kind()));
    }
    Ok(Err(Got::MustValidate))
}
