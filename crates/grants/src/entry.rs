//! An entry in its granter's memory: where it is, what it says, and the flags that say it is in use.

use crate::{Region, Want};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr, Mfn};
use vault::{Effect, Tx, kind};
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

/// Attempts at an entry that its granter keeps changing, as many as Xen makes.
const ATTEMPTS: u32 = 5;

/// The part of a frame that an entry grants.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) frame: Mfn,
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Region {
    /// Entries that the table is said to have.
    pub(crate) fn entries(&self, slot: DomainSlot) -> u32 {
        self.count(slot) * if self.table(slot).is_v2.get() { 256 } else { 512 }
    }

    /// Where an entry is; `None` if its frame is not there.
    pub(crate) fn place(&self, slot: DomainSlot, gref: u32) -> Option<Place> {
        let table = self.table(slot);
        let is_v2 = table.is_v2.get();
        let (per_frame, bytes) = if is_v2 { (256, 16) } else { (512, 8) };
        let frame = gref / per_frame;
        if frame >= table.count.get() {
            return None;
        }
        let base = table.frames.get(frame as usize)?.get();
        let header = Maddr(base.maddr().0 + u64::from(gref % per_frame * bytes));
        if !is_v2 {
            return Some(Place { header, status: header, shift: 0, is_v2 });
        }
        let page = (gref / 2048) as usize;
        if page >= table.status_count.get() as usize {
            return None;
        }
        let at = table.status.get(page)?.get().maddr().0 + u64::from(gref % 2048 * 2);
        Some(Place { header, status: Maddr(at & !3), shift: (at & 2) as u32 * 8, is_v2 })
    }
}

/// Whether an entry whose first word is `header` allows what is wanted.
fn check(header: u32, want: &Want, pinned: bool) -> Result<(), i16> {
    let (flags, domain) = (header as u16, (header >> 16) as u16);
    let kind = GTF_TYPE_MASK | if want.to_map { GTF_SUB_PAGE } else { 0 };
    // Who has it in use already may have it once more, whatever the granter has made of the entry.
    if !pinned && (flags & kind != GTF_PERMIT_ACCESS || domain != want.mapper_id.0) {
        return Err(GNTST_GENERAL_ERROR);
    }
    if want.write && flags & GTF_READONLY != 0 {
        return Err(GNTST_GENERAL_ERROR);
    }
    Ok(())
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
    pub(crate) fn mark<M: GuestMemory>(
        self,
        tx: &mut Tx<'static>,
        memory: &M,
        want: &Want,
        pinned: bool,
    ) -> Result<(), i16> {
        let bits = self.bits(Self::flags(want.write));
        for _ in 0..ATTEMPTS {
            let header = memory.load32(self.header);
            check(header, want, pinned)?;
            let old = if self.is_v2 { memory.load32(self.status) } else { header };
            if old & bits != bits {
                // What is set already stays when this is undone: another holds it.
                tx.note_marks(self.status.0, bits & !old);
                if memory.exchange32(self.status, old, old | bits).is_err() {
                    continue;
                }
            }
            // In format 2 the two words change apart: the granter looks at the status after it changed the entry.
            return if self.is_v2 { check(memory.load32(self.header), want, pinned) } else { Ok(()) };
        }
        Err(GNTST_GENERAL_ERROR)
    }

    /// The flags that say that it is in use.
    pub(crate) fn in_use<M: GuestMemory>(self, memory: &M) -> u16 {
        (memory.load32(self.status) >> self.shift) as u16 & (GTF_READING | GTF_WRITING)
    }

    /// The effect that clears `flags`.
    pub(crate) fn unmark(self, flags: u16) -> Effect {
        Effect { kind: kind::UNMARK, x: self.bits(flags), a: self.status.0, b: 0 }
    }

    /// What the entry grants; read after it was marked, for from then on the granter may not change it.
    pub(crate) fn part<M: GuestMemory>(self, memory: &M, to_map: bool) -> Part {
        const WHOLE: u32 = ids::FRAME_SIZE as u32;
        if !self.is_v2 {
            let frame = memory.load32(Maddr(self.header.0 + 4));
            return Part { frame: Mfn(frame.into()), start: 0, len: WHOLE };
        }
        let frame = Mfn(memory.load64(Maddr(self.header.0 + 8)));
        let [head, part] = [0, 4].map(|offset| memory.load32(Maddr(self.header.0 + offset)));
        if to_map || head as u16 & GTF_SUB_PAGE == 0 {
            return Part { frame, start: 0, len: WHOLE };
        }
        Part { frame, start: part & 0xffff, len: part >> 16 }
    }
}
