//! The end of a mapping, in two steps: it leaves the page tables; when all processors have flushed, it is given up.

use crate::claim::unbacked;
use crate::track::{Emptying, FRAME, SLOT};
use crate::{Region, Table, Track, Use};
use frames::Frames;
use ids::{DomainSlot, Maddr, Mfn, VcpuSlot};
use vault::{Effect, Tx};

/// Mappings that one transaction gives up at most.
const AT_ONCE: u32 = 32;

/// A mapping, as its handle finds it.
#[derive(Clone, Copy)]
pub struct Mapping {
    number: u32,
    track: &'static Track,
    /// The word of its track that says what it is of and for.
    grant: u64,
    /// Whose grant.
    pub granter: DomainSlot,
    /// The frame.
    pub frame: Mfn,
    /// What it is for.
    pub usage: Use,
}

impl core::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Mapping({}, {:?} of {:?}, {:?})", self.number, self.frame, self.granter, self.usage)
    }
}

/// Why a handle finds none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMapping {
    /// It is no handle of the mapper's.
    Bad,
    /// It is one of another granter's.
    Other,
}

impl Region {
    /// Whose grant a handle's mapping is of, if it is any now: looked up before the lock of that table is taken.
    #[inline(always)]
    pub fn granter(&self, handle: u32) -> Option<DomainSlot> {
        let track = self.track(handle.wrapping_add(1))?;
        let granter = track.granter();
        (track.grant.get() != 0 && usize::from(granter.0) < self.tables.len()).then_some(granter)
    }

    /// The mapping that a handle of `mapper`'s means, of a grant of `granter`'s, whose table is locked.
    ///
    /// # Errors
    /// [`NoMapping`].
    #[inline(always)]
    pub fn mapping(
        &self,
        granter: DomainSlot,
        mapper: DomainSlot,
        handle: u32,
    ) -> Result<Mapping, NoMapping> {
        let number = handle.wrapping_add(1);
        let track = self.track(number).ok_or(NoMapping::Bad)?;
        let (grant, frame) = (track.grant.get(), track.frame.get());
        let usage = Use((grant >> SLOT) as u16);
        if (grant >> 32) as u16 != granter.0 {
            return Err(self.no_mapping(handle));
        }
        if (frame >> SLOT) as u16 != mapper.0 || !usage.is_alive() {
            return Err(NoMapping::Bad);
        }
        Ok(Mapping { number, track, grant, granter, frame: Mfn(frame & FRAME), usage })
    }

    /// What a handle is that is none of the granter expected.
    #[cold]
    #[inline(never)]
    pub fn no_mapping(&self, handle: u32) -> NoMapping {
        if self.granter(handle).is_some() { NoMapping::Other } else { NoMapping::Bad }
    }

    /// Begins to note mappings that a vCPU removes.
    pub fn leaving(&self, vcpu: VcpuSlot) -> Leaving {
        let first = self.waiting(vcpu).head.get();
        Leaving { vcpu, before: first, first }
    }

    /// The list of those that wait follows what was [noted](Leaving::note).
    pub fn left(&self, tx: &mut Tx<'static>, leaving: &Leaving) {
        if leaving.first != leaving.before {
            tx.set(&self.waiting(leaving.vcpu).head, leaving.first);
        }
    }

    /// Whether mappings of this vCPU's wait to be completed.
    pub fn is_waiting(&self, vcpu: VcpuSlot) -> bool {
        self.waiting(vcpu).head.get() != 0
    }

    /// Gives up some of the mappings that `vcpu` of `mapper`'s has removed: their references go with this commit, and
    /// the flags in the granter's memory. All processors must have flushed since they were removed.
    pub fn complete(&self, tx: &mut Tx<'static>, mapper: DomainSlot, vcpu: VcpuSlot) {
        let waiting = self.waiting(vcpu);
        let first = waiting.head.get();
        let Some(granter) = self.track(first).map(Track::granter) else { return };
        let mut emptying = self.empty(tx, mapper);
        self.lock(tx, granter);
        let table = self.table(granter);
        let (mut number, mut last) = (first, None);
        for _ in 0..AT_ONCE {
            // One granter's lock at a time.
            let Some(track) = self.track(number).filter(|track| track.granter() == granter) else { break };
            self.end(tx, &mut emptying, table, number, track);
            (number, last) = (track.waiting.get(), Some(track));
        }
        // The part of the list goes to the pool as it is.
        if let Some(last) = last {
            tx.set(&last.waiting, emptying.free);
            emptying.free = first;
        }
        self.emptied(tx, &emptying);
        tx.set(&waiting.head, number);
    }

    /// Ends a mapping; the pool's and its granter's locks are held. The pool's list is the caller's.
    #[inline(always)]
    pub(crate) fn end(
        &self,
        tx: &mut Tx<'static>,
        emptying: &mut Emptying,
        table: &'static Table,
        number: u32,
        track: &'static Track,
    ) {
        let (gref, usage) = (track.gref(), track.usage());
        self.take_off(tx, emptying, table, number, track);
        let flags = unbacked(self.pins(table, gref), usage.writes());
        // Nothing of a granter's table is left when the domain has ended.
        let (at, bits) = table.place(gref).map_or((Maddr(0), 0), |place| place.marks(flags));
        tx.publish(Frames::put_granted(track.mfn(), usage.writes(), usage.has(Use::BOTH), at, bits));
    }
}

/// The effect that drops a reference to the frame, as the mapping holds one.
fn put(mapping: &Mapping) -> Effect {
    if mapping.usage.writes() { Frames::put_typed(mapping.frame) } else { Frames::put_ref(mapping.frame) }
}

/// Mappings that a transaction removes for one vCPU; its list follows when it is done ([`Region::left`]).
#[derive(Debug)]
pub struct Leaving {
    vcpu: VcpuSlot,
    before: u32,
    first: u32,
}

impl Leaving {
    /// Notes that `gone` of a mapping's uses have ended with this transaction. If none is left, the vCPU has to
    /// [complete](Region::complete) it when all processors have flushed. With a page-table entry comes the reference that
    /// it held: it is dropped, or the mapping's to the end.
    #[inline(always)]
    pub fn note(&mut self, tx: &mut Tx<'static>, mapping: &Mapping, gone: u16) {
        let (track, left) = (mapping.track, Use(mapping.usage.0 & !gone));
        if left.is_alive() {
            if gone & Use::HOST != 0 {
                tx.publish(put(mapping));
            }
            tx.set(&track.grant, mapping.grant & !(u64::from(gone) << SLOT));
            return;
        }
        // Before the track says that it is on the list.
        tx.prepare(&track.waiting, self.first);
        self.first = mapping.number;
        let both = if gone & Use::HOST != 0 { u64::from(Use::BOTH) << SLOT } else { 0 };
        tx.set(&track.grant, mapping.grant & !(u64::from(gone) << SLOT) | both);
    }

    /// Whether any waits for a flush, of this transaction's or from before.
    pub const fn waits(&self) -> bool {
        self.first != 0
    }
}
