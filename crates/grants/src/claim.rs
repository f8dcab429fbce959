//! Taking an entry into use: to map it, or for the time of a copy.

use crate::entry::{Place, V1, Wanted};
use crate::track::Pins;
use crate::{READERS_AT_MOST, Region, Table};
use frames::Owner;
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Mfn};
use vault::Tx;
use xen_abi::grant_table::{GNTST_BAD_GNTREF, GNTST_GENERAL_ERROR, GTF_READING, GTF_WRITING};

const WHOLE: u32 = ids::FRAME_SIZE as u32;

/// Who wants something of whose grants, which are locked: in any number of claims.
#[derive(Clone, Copy)]
pub struct Parties {
    /// Whose grants.
    pub granter: DomainSlot,
    /// Who wants them.
    pub mapper: DomainSlot,
    /// The owner of the frames that are granted.
    pub owner: Owner,
    /// The number that entries must name.
    mapper_id: DomId,
    /// The table is open, its entries have format 1.
    plain: bool,
    pub(crate) table: &'static Table,
}

impl core::fmt::Debug for Parties {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Parties({:?} to {:?})", self.granter, self.mapper)
    }
}

/// What is wanted of which grant.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// Its reference.
    pub gref: u32,
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
    pub fn claim<M: GuestMemory>(
        &self,
        tx: &mut Tx<'static>,
        memory: &M,
        parties: &Parties,
        want: Want,
    ) -> Result<Claim, i16> {
        match parties.claim_plainly(tx, memory, want) {
            Some(frame) => Ok(Claim { frame, start: 0, len: WHOLE }),
            None => self.claim_otherwise(tx, memory, parties, want),
        }
    }

    /// The same of any grant, or says why not.
    #[inline(never)]
    fn claim_otherwise<M: GuestMemory>(
        &self,
        tx: &mut Tx<'static>,
        memory: &M,
        parties: &Parties,
        want: Want,
    ) -> Result<Claim, i16> {
        let table = parties.table;
        if table.closed.get() {
            return Err(GNTST_GENERAL_ERROR);
        }
        let place = match table.place(want.gref) {
            Some(place) => place,
            None if want.gref >= self.entries(parties.granter) => return Err(GNTST_BAD_GNTREF),
            None => return Err(GNTST_GENERAL_ERROR),
        };
        if let Some(pins) = self.pins(table, want.gref) {
            return parties.claim_again(tx, memory, want, place, &pins);
        }
        place.mark(tx, memory, parties.mapper_id, want, false)?;
        if place.is_v2 {
            return Ok(place.part(memory, want.to_map));
        }
        Ok(Claim { frame: place.frame(memory), start: 0, len: WHOLE })
    }

    /// The parties of claims of `mapper`'s, which entries call `mapper_id`, on grants of `granter`'s, whose lock is held
    /// until the last of them.
    pub fn parties(&self, granter: DomainSlot, mapper: DomainSlot, mapper_id: DomId) -> Parties {
        let table = self.table(granter);
        let plain = !table.closed.get() && !table.is_v2.get();
        Parties { granter, mapper, owner: Owner::domain(granter), mapper_id, plain, table }
    }
}

impl Parties {
    /// Claims a grant of format 1 that nobody uses, as most often, by one exchange of the whole entry. `None`: it is
    /// another, or not to be had.
    #[inline(always)]
    fn claim_plainly<M: GuestMemory>(&self, tx: &mut Tx<'static>, memory: &M, want: Want) -> Option<Mfn> {
        if !self.plain || self.table.head(want.gref).get() != 0 {
            return None;
        }
        let at = self.table.header(want.gref, V1)?;
        let entry = memory.load64(at);
        let flags = Place::flags(want.write).into();
        if !Wanted::of(self.mapper_id, want, false).is_unused(entry as u32) {
            return None;
        }
        tx.note_marks(at.0, flags);
        memory.exchange64(at, entry, entry | u64::from(flags)).ok()?;
        Some(Mfn(entry >> 32))
    }

    /// The same of a grant that is mapped.
    #[inline(never)]
    fn claim_again<M: GuestMemory>(
        &self,
        tx: &mut Tx<'static>,
        memory: &M,
        want: Want,
        place: Place,
        pins: &Pins,
    ) -> Result<Claim, i16> {
        if !pins.allow(self.mapper, want) {
            return Err(GNTST_GENERAL_ERROR);
        }
        if want.write && pins.writers == 0 {
            place.mark(tx, memory, self.mapper_id, want, true)?;
        }
        if want.to_map || !place.is_v2 {
            return Ok(Claim { frame: pins.frame, start: 0, len: WHOLE });
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
    fn allow(&self, mapper: DomainSlot, want: Want) -> bool {
        let uses = if want.write { self.writers } else { self.readers };
        self.mapper == mapper && uses < READERS_AT_MOST
    }
}
