//! Claims: free frames that are promised to a domain, which the toolstack then fills at leisure.
//!
//! A claim is a number and no frames. Nobody is given a frame that would leave fewer free ones than are promised, but a
//! domain out of its own claim, which shrinks by what it gets. State class: durable.

use crate::Frames;
use crate::buddy::NoMemory;
use ids::DomainSlot;
use vault::Tx;

/// Why a claim is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoClaim {
    /// The domain has a claim, or so many frames, or may not have so many (`-EINVAL`).
    Invalid,
    /// There are not so many free frames that are not promised to others (`-ENOMEM`).
    NoMemory,
}

impl Frames {
    /// Promises a domain as many free frames as it lacks to have `pages`; 0 ends the promise.
    ///
    /// # Errors
    /// [`NoClaim`].
    pub fn claim(&self, tx: &mut Tx<'_>, slot: DomainSlot, pages: u64) -> Result<(), NoClaim> {
        tx.lock(&self.locks.heap);
        tx.lock(self.list_lock(slot));
        let list = self.list(slot);
        if pages == 0 {
            self.use_claim(tx, slot, list.claimed());
            return Ok(());
        }
        if list.claimed() != 0 || pages <= list.pages() || pages > list.max_pages() {
            return Err(NoClaim::Invalid);
        }
        let wanted = pages - list.pages();
        if wanted > self.heap.free_frames().saturating_sub(self.heap.claimed_frames()) {
            return Err(NoClaim::NoMemory);
        }
        tx.set(&list.claimed, wanted);
        tx.set(&self.heap.claimed, self.heap.claimed_frames() + wanted);
        Ok(())
    }

    /// Whether `count` frames may be taken, of which `own` are promised to whoever takes them; the heap's lock is held.
    pub(crate) fn check_claims(&self, count: u64, own: u64) -> Result<(), NoMemory> {
        let promised = self.heap.claimed_frames();
        if own < count && promised != 0 && promised.saturating_add(count) > self.heap.free_frames() {
            return Err(NoMemory);
        }
        Ok(())
    }

    /// The domain got `count` frames, out of its claim as far as that goes; the heap's lock and the list's are held.
    pub(crate) fn use_claim(&self, tx: &mut Tx<'_>, slot: DomainSlot, count: u64) {
        let list = self.list(slot);
        let used = list.claimed().min(count);
        if used != 0 {
            tx.set(&list.claimed, list.claimed() - used);
            tx.set(&self.heap.claimed, self.heap.claimed_frames().saturating_sub(used));
        }
    }
}
