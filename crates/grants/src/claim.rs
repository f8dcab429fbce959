//! Taking an entry into use: to map it, or for the time of a copy.

use crate::entry::Place;
use crate::track::Pins;
use crate::{READERS_AT_MOST, Region};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Mfn};
use vault::Tx;
use xen_abi::grant_table::{GNTST_BAD_GNTREF, GNTST_GENERAL_ERROR, GTF_READING, GTF_WRITING};

/// What is wanted of which grant.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// Whose grant.
    pub granter: DomainSlot,
    /// Its reference.
    pub gref: u32,
    /// Who wants it.
    pub mapper: DomainSlot,
    /// The number that the entry must name.
    pub mapper_id: DomId,
    /// To write as well.
    pub write: bool,
    /// To map it: the whole page must be granted.
    pub to_map: bool,
}

/// A claimed grant: the caller takes the reference to the frame.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// The frame. Nothing says yet that it is the granter's.
    pub frame: Mfn,
    /// First byte that is granted.
    pub start: u32,
    /// Bytes that are granted.
    pub len: u32,
}

impl Region {
    /// Claims a grant, with the granter's lock held. The flags that say so in the granter's memory are cleared again if
    /// this transaction is undone, or what it wrote since before the claim ([`Tx::back_to`], which ends a copy's); a
    /// mapping's at its end.
    ///
    /// # Errors
    /// The status (`GNTST_*`) that says why not.
    #[inline(always)]
    pub fn claim<M: GuestMemory>(&self, tx: &mut Tx<'static>, memory: &M, want: &Want) -> Result<Claim, i16> {
        const WHOLE: u32 = ids::FRAME_SIZE as u32;
        let table = self.table(want.granter);
        if table.closed.get() {
            return Err(GNTST_GENERAL_ERROR);
        }
        let place = match table.place(want.gref) {
            Some(place) => place,
            None if want.gref >= self.entries(want.granter) => return Err(GNTST_BAD_GNTREF),
            None => return Err(GNTST_GENERAL_ERROR),
        };
        if let Some(pins) = self.pins(want.granter, want.gref) {
            return self.claim_again(tx, memory, want, place, &pins);
        }
        place.mark(tx, memory, want, false)?;
        if place.is_v2 {
            return Ok(place.part(memory, want.to_map));
        }
        Ok(Claim { frame: place.frame(memory), start: 0, len: WHOLE })
    }

    /// The same of a grant that is mapped.
    #[inline(never)]
    fn claim_again<M: GuestMemory>(
        &self,
        tx: &mut Tx<'static>,
        memory: &M,
        want: &Want,
        place: Place,
        pins: &Pins,
    ) -> Result<Claim, i16> {
        if !pins.allow(want) {
            return Err(GNTST_GENERAL_ERROR);
        }
        if want.write && pins.writers == 0 {
            place.mark(tx, memory, want, true)?;
        }
        if want.to_map || !place.is_v2 {
            return Ok(Claim { frame: pins.frame, start: 0, len: ids::FRAME_SIZE as u32 });
        }
        let part = place.part(memory, false);
        if part.frame == pins.frame { Ok(part) } else { Err(GNTST_GENERAL_ERROR) }
    }
}

/// The flags of a use that has ended, beside the mappings that there are.
#[inline(always)]
pub(crate) fn unbacked(pins: Option<Pins>, write: bool) -> u16 {
    let reading = if pins.is_some() { 0 } else { GTF_READING };
    reading | if write && pins.is_none_or(|pins| pins.writers == 0) { GTF_WRITING } else { 0 }
}

impl Pins {
    /// Whether one more use may join those there are: the same mapper's, and not too many.
    fn allow(&self, want: &Want) -> bool {
        let uses = if want.write { self.writers } else { self.readers };
        self.mapper == want.mapper && uses < READERS_AT_MOST
    }
}
