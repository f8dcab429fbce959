//! Taking an entry into use: to map it, or for the time of a copy.

use crate::entry::{Part, Place};
use crate::track::Pins;
use crate::{READERS_AT_MOST, Region};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Mfn};
use vault::{Effect, Tx};
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
    /// Ends the claim of a copy.
    pub release: Option<Effect>,
}

impl Region {
    /// Claims a grant, with the granter's lock held. The flags that say so in the granter's memory are cleared again if
    /// this transaction is undone; if it commits, by [`Claim::release`], or at the end of the mapping.
    ///
    /// # Errors
    /// The status (`GNTST_*`) that says why not.
    pub fn claim<M: GuestMemory>(&self, tx: &mut Tx<'static>, memory: &M, want: &Want) -> Result<Claim, i16> {
        if self.table(want.granter).closed.get() {
            return Err(GNTST_GENERAL_ERROR);
        }
        if want.gref >= self.entries(want.granter) {
            return Err(GNTST_BAD_GNTREF);
        }
        let place = self.place(want.granter, want.gref).ok_or(GNTST_GENERAL_ERROR)?;
        let pins = self.pins(want.granter, want.gref);
        if pins.any() && !pins.allow(want) {
            return Err(GNTST_GENERAL_ERROR);
        }
        if !pins.any() || want.write && pins.writers == 0 {
            place.mark(tx, memory, want, pins.any())?;
        }
        let part = if pins.any() && (want.to_map || !place.is_v2) {
            Part { frame: pins.frame, start: 0, len: ids::FRAME_SIZE as u32 }
        } else {
            place.part(memory, want.to_map)
        };
        if pins.any() && part.frame != pins.frame {
            return Err(GNTST_GENERAL_ERROR);
        }
        let release = (!want.to_map).then(|| unbacked(place, &pins, want.write)).flatten();
        Ok(Claim { frame: part.frame, start: part.start, len: part.len, release })
    }
}

/// The effect that clears the flags which a use alone had set, beside the mappings that there are.
pub(crate) fn unbacked(place: Place, pins: &Pins, write: bool) -> Option<Effect> {
    let reading = if pins.any() { 0 } else { GTF_READING };
    let writing = if write && pins.writers == 0 { GTF_WRITING } else { 0 };
    (reading | writing != 0).then(|| place.unmark(reading | writing))
}

impl Pins {
    /// Whether one more use may join those there are: the same mapper's, and not too many.
    fn allow(&self, want: &Want) -> bool {
        let uses = if want.write { self.writers } else { self.readers };
        self.mapper == want.mapper && uses < READERS_AT_MOST
    }
}
