//! A frame that one domain gives to another, with what it holds.
//!
//! Until the commit it is nobody's whom references can be taken for, so that nobody builds on what may still be undone;
//! whose list it stands on changes under the locks that are held until the outbox is empty.

use crate::frame::links;
use crate::{Frame, FrameError, Frames, Owner};
use ids::{DomainSlot, Mfn};
use vault::{Effect, Once, Tx, kind};

/// Why a frame is not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotHanded {
    /// It is not the giver's, or something refers to it beside its allocation.
    InUse(FrameError),
    /// The taker may not have one frame more.
    Full,
}

impl Frames {
    /// Hands a frame of `from` over to `to`. Its M2P entry is the caller's; all processors must flush before `to` hears
    /// of the frame, for `from` may have had it mapped.
    ///
    /// # Errors
    /// [`NotHanded`].
    pub fn hand_over(
        &self,
        tx: &mut Tx<'_>,
        mfn: Mfn,
        from: DomainSlot,
        to: DomainSlot,
    ) -> Result<(), NotHanded> {
        let not_owned = NotHanded::InUse(FrameError::NotOwned);
        let frame = self.frame(mfn).ok_or(not_owned)?;
        tx.lock(&self.locks.heap);
        tx.lock(self.list_lock(from));
        tx.lock(self.list_lock(to));
        loop {
            let old = frame.usage();
            if old.owner() != Owner::domain(from) {
                return Err(not_owned);
            }
            if !old.is_sole() || old.is_validated() {
                return Err(NotHanded::InUse(FrameError::InUse(old.kind())));
            }
            if tx.exchange(&frame.usage, old.0, old.with_owner(Owner::UNDER_WAY).0) {
                break;
            }
        }
        self.delist(tx, from, mfn, frame);
        let list = self.list(to);
        if list.pages.get() >= list.max_pages.get() {
            return Err(NotHanded::Full);
        }
        self.use_claim(tx, to, 1);
        self.enlist(tx, to, mfn.0 as u32, 1);
        tx.publish(Effect { kind: kind::HAND_OVER, x: to.0.into(), a: mfn.0, b: 0 });
        Ok(())
    }

    /// Takes a frame off its domain's list; the list's lock is held.
    fn delist(&self, tx: &mut Tx<'_>, slot: DomainSlot, mfn: Mfn, frame: &Frame) {
        let list = self.list(slot);
        let (next, prev) = (frame.next(), frame.prev());
        let at_head = [&list.head, &list.leaving].into_iter().find(|head| u64::from(head.get()) == mfn.0);
        match (self.linked(prev), at_head) {
            (Some(before), _) => tx.set(&before.links, links(next, before.prev())),
            (None, Some(head)) => tx.set(head, next),
            (None, None) => return,
        }
        if let Some(after) = self.linked(next) {
            tx.set(&after.links, links(after.next(), prev));
        }
        tx.set(&list.pages, list.pages.get().saturating_sub(1));
    }

    /// Applies that a frame is the taker's, exactly once.
    #[inline(never)]
    pub fn apply_hand_over(&self, once: &mut Once<'_, '_>, mfn: Mfn, to: DomainSlot) {
        let Some(frame) = self.frame(mfn) else { return };
        loop {
            let old = frame.usage();
            if once.exchange(&frame.usage, old.0, old.with_owner(Owner::domain(to)).0) {
                return;
            }
        }
    }
}
