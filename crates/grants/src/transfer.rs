//! Entries that accept a frame: the domain that they name gives it, and the entry says which it was.

use crate::Region;
use crate::entry::{ATTEMPTS, Place};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Maddr, Mfn};
use vault::{Effect, Tx, kind};
use xen_abi::grant_table::{
    GNTST_GENERAL_ERROR, GTF_ACCEPT_TRANSFER, GTF_TRANSFER_COMMITTED, GTF_TRANSFER_COMPLETED,
};

/// The first word of an entry that accepts a frame of the domain `from`.
fn accepting(from: DomId) -> u32 {
    u32::from(GTF_ACCEPT_TRANSFER) | u32::from(from.0) << 16
}

impl Region {
    /// Commits an entry of `taker`'s to a transfer from the domain `from`, whose frame becomes the entry's with this
    /// transaction. Until it is [completed](Self::complete_transfer) the taker leaves both alone. Returns the number that
    /// the taker wants the frame to have.
    ///
    /// # Errors
    /// The status (`GNTST_*`) that says why not.
    pub fn accept<M: GuestMemory>(
        &self,
        tx: &mut Tx<'static>,
        memory: &M,
        (taker, gref): (DomainSlot, u32),
        from: DomId,
        frame: Mfn,
    ) -> Result<u64, i16> {
        self.lock(tx, taker);
        if self.is_closed(taker) {
            return Err(GNTST_GENERAL_ERROR);
        }
        let place = self.place(taker, gref).ok_or(GNTST_GENERAL_ERROR)?;
        place.commit(tx, memory, from)?;
        let (at, width) = place.frame_word();
        let wanted = if place.is_v2 { memory.load64(at) } else { memory.load32(at).into() };
        tx.publish(Effect { kind: kind::GUEST_STORE, x: width, a: at.0, b: frame.0 });
        Ok(wanted)
    }

    /// Tells the taker that the transfer is complete: all processors have flushed. Another entry than one that is
    /// committed to `from` stays as it is.
    pub fn complete_transfer<M: GuestMemory>(
        &self,
        tx: &mut Tx<'static>,
        memory: &M,
        (taker, gref): (DomainSlot, u32),
        from: DomId,
    ) {
        self.lock(tx, taker);
        let Some(place) = self.place(taker, gref) else { return };
        let committed = accepting(from) | u32::from(GTF_TRANSFER_COMMITTED);
        if memory.load32(place.header) == committed {
            let complete = committed | u32::from(GTF_TRANSFER_COMPLETED);
            tx.publish(Effect { kind: kind::GUEST_STORE, x: 4, a: place.header.0, b: complete.into() });
        }
    }
}

impl Place {
    /// Sets the flag that says that the entry is committed; cleared again if the transaction is undone.
    fn commit<M: GuestMemory>(self, tx: &mut Tx<'static>, memory: &M, from: DomId) -> Result<(), i16> {
        let (wanted, flag) = (accepting(from), u32::from(GTF_TRANSFER_COMMITTED));
        for _ in 0..ATTEMPTS {
            if memory.load32(self.header) != wanted {
                return Err(GNTST_GENERAL_ERROR);
            }
            tx.note_marks(self.header.0, flag);
            if memory.exchange32(self.header, wanted, wanted | flag).is_ok() {
                return Ok(());
            }
        }
        Err(GNTST_GENERAL_ERROR)
    }

    /// Where an entry names a frame, and in how many bytes.
    fn frame_word(self) -> (Maddr, u32) {
        if self.is_v2 { (Maddr(self.header.0 + 8), 8) } else { (Maddr(self.header.0 + 4), 4) }
    }
}
