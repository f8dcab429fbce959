//! An entry in its granter's memory: where it is, what it says, and the flags that say it is in use.

use crate::{Claim, Region, Table, Want};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Maddr, Mfn};
use vault::Tx;
use xen_abi::grant_table::{
    GNTST_GENERAL_ERROR, GTF_PERMIT_ACCESS, GTF_READING, GTF_READONLY, GTF_SUB_PAGE, GTF_TYPE_MASK,
    GTF_WRITING,
};

/// Where an entry is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Flags and domain.
    pub(crate) header: Maddr,
    /// The 32-bit word with the flags for use.
    status: Maddr,
    /// Where in that word they are.
    shift: u32,
    pub(crate) is_v2: bool,
}

/// How an attempt to mark an entry came out.
enum Attempt {
    Done,
    Refused,
    /// The granter changed it meanwhile.
    Changed,
}

/// Attempts at an entry that its granter keeps changing, as many as Xen makes.
pub(crate) const ATTEMPTS: u32 = 5;

/// Entries of a frame in either format, as a power of two, and bytes of one.
pub(crate) const V1: (u32, u32) = (9, 8);
const V2: (u32, u32) = (8, 16);

impl Region {
    /// Entries that the table is said to have.
    pub(crate) fn entries(&self, slot: DomainSlot) -> u32 {
        self.count(slot) << if self.table(slot).is_v2.get() { V2.0 } else { V1.0 }
    }

    /// Where an entry is; `None` if its frame is not there.
    pub(crate) fn place(&self, slot: DomainSlot, gref: u32) -> Option<Place> {
        self.table(slot).place(gref)
    }
}

impl Table {
    /// Where an entry is; `None` if its frame is not there.
    #[inline(always)]
    pub(crate) fn place(&self, gref: u32) -> Option<Place> {
        if self.is_v2.get() {
            return self.place_v2(gref);
        }
        let header = self.header(gref, V1)?;
        Some(Place { header, status: header, shift: 0, is_v2: false })
    }

    #[inline(always)]
    pub(crate) fn header(&self, gref: u32, (per_frame, bytes): (u32, u32)) -> Option<Maddr> {
        let frame = gref >> per_frame;
        if frame >= self.count.get() {
            return None;
        }
        let base = self.frames.get(frame as usize)?.get();
        Some(Maddr(base.maddr().0 + u64::from((gref & ((1 << per_frame) - 1)) * bytes)))
    }

    #[inline(never)]
    fn place_v2(&self, gref: u32) -> Option<Place> {
        let header = self.header(gref, V2)?;
        let page = (gref / 2048) as usize;
        if page >= self.status_count.get() as usize {
            return None;
        }
        let at = self.status.get(page)?.get().maddr().0 + u64::from(gref % 2048 * 2);
        Some(Place { header, status: Maddr(at & !3), shift: (at & 2) as u32 * 8, is_v2: true })
    }
}

/// What the first word of an entry must be to allow what is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// The bits that count.
    mask: u32,
    value: u32,
}

impl Wanted {
    #[inline(always)]
    pub(crate) fn of(mapper: DomId, want: Want, pinned: bool) -> Self {
        // Who has it in use already may have it once more, whatever the granter has made of the entry.
        let kind = GTF_TYPE_MASK | if want.to_map { GTF_SUB_PAGE } else { 0 };
        let mask = if pinned { 0 } else { u32::from(kind) | 0xffff_0000 };
        let rights = if want.write { u32::from(GTF_READONLY) } else { 0 };
        Self { mask: mask | rights, value: u32::from(GTF_PERMIT_ACCESS) | u32::from(mapper.0) << 16 }
    }

    #[inline(always)]
    fn is(self, header: u32) -> bool {
        (header ^ self.value) & self.mask == 0
    }

    /// Whether an entry of format 1 is so, and no flags say that it is in use.
    #[inline(always)]
    pub(crate) fn is_unused(self, header: u32) -> bool {
        (header ^ self.value) & (self.mask | u32::from(GTF_READING | GTF_WRITING)) == 0
    }
}

impl Place {
    fn bits(self, flags: u16) -> u32 {
        u32::from(flags) << self.shift
    }

    /// Flags that stand for a use.
    pub(crate) fn flags(write: bool) -> u16 {
        if write { GTF_READING | GTF_WRITING } else { GTF_READING }
    }

    /// Takes the entry into use, if it allows that: sets its flags, undone if this transaction is.
    #[inline(always)]
    pub(crate) fn mark<M: GuestMemory>(
        self,
        tx: &mut Tx<'static>,
        memory: &M,
        mapper: DomId,
        want: Want,
        pinned: bool,
    ) -> Result<(), i16> {
        let (wanted, bits) = (Wanted::of(mapper, want, pinned), self.bits(Self::flags(want.write)));
        match self.attempt(tx, memory, wanted, bits) {
            Attempt::Done => Ok(()),
            Attempt::Refused => Err(GNTST_GENERAL_ERROR),
            Attempt::Changed => self.mark_again(tx, memory, wanted, bits),
        }
    }

    #[cold]
    #[inline(never)]
    fn mark_again<M: GuestMemory>(
        self,
        tx: &mut Tx<'static>,
        memory: &M,
        wanted: Wanted,
        bits: u32,
    ) -> Result<(), i16> {
        for _ in 1..ATTEMPTS {
            match self.attempt(tx, memory, wanted, bits) {
                Attempt::Done => return Ok(()),
                Attempt::Refused => break,
                Attempt::Changed => {}
            }
        }
        Err(GNTST_GENERAL_ERROR)
    }

    #[inline(always)]
    fn attempt<M: GuestMemory>(self, tx: &mut Tx<'static>, memory: &M, wanted: Wanted, bits: u32) -> Attempt {
        let header = memory.load32(self.header);
        if !wanted.is(header) {
            return Attempt::Refused;
        }
        let old = if self.is_v2 { memory.load32(self.status) } else { header };
        if old & bits != bits {
            // What is set already stays when this is undone: another holds it.
            tx.note_marks(self.status.0, bits & !old);
            if memory.exchange32(self.status, old, old | bits).is_err() {
                return Attempt::Changed;
            }
        }
        // In format 2 the two words change apart: the granter looks at the status after it changed the entry.
        if self.is_v2 && !wanted.is(memory.load32(self.header)) { Attempt::Refused } else { Attempt::Done }
    }

    /// The flags that say that it is in use.
    pub(crate) fn in_use<M: GuestMemory>(self, memory: &M) -> u16 {
        (memory.load32(self.status) >> self.shift) as u16 & (GTF_READING | GTF_WRITING)
    }

    /// The word with the flags, and those of them that are `flags`.
    pub(crate) fn marks(self, flags: u16) -> (Maddr, u32) {
        (self.status, self.bits(flags))
    }

    /// The frame of an entry of format 1; read after it was marked, for from then on the granter may not change it.
    #[inline(always)]
    pub(crate) fn frame<M: GuestMemory>(self, memory: &M) -> Mfn {
        Mfn(memory.load32(Maddr(self.header.0 + 4)).into())
    }

    /// What an entry of format 2 grants, likewise.
    pub(crate) fn part<M: GuestMemory>(self, memory: &M, to_map: bool) -> Claim {
        let frame = Mfn(memory.load64(Maddr(self.header.0 + 8)));
        let [head, part] = [0, 4].map(|offset| memory.load32(Maddr(self.header.0 + offset)));
        if to_map || head as u16 & GTF_SUB_PAGE == 0 {
            return Claim { frame, start: 0, len: ids::FRAME_SIZE as u32 };
        }
        Claim { frame, start: part & 0xffff, len: part >> 16 }
    }
}
