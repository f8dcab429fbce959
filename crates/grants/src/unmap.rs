//! The end of a mapping, in two steps: it leaves the page tables; when all processors have flushed, it is given up.

use crate::claim::unbacked;
use crate::track::Emptying;
use crate::{Region, Track, Use};
use frames::Frames;
use ids::{DomainSlot, Maddr, Mfn, VcpuSlot};
use vault::{Effect, Tx};
use xen_abi::grant_table::GNTST_BAD_HANDLE;

/// Mappings that one transaction gives up at most.
const AT_ONCE: u32 = 32;

/// A mapping, as its handle finds it.
#[derive(Debug, Clone, Copy)]
pub struct Mapping {
    number: u32,
    /// Whose grant.
    pub granter: DomainSlot,
    /// The frame.
    pub frame: Mfn,
    /// What it is for.
    pub usage: Use,
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
    /// `GNTST_bad_handle`.
    #[inline(always)]
    pub fn mapping(&self, granter: DomainSlot, mapper: DomainSlot, handle: u32) -> Result<Mapping, i16> {
        let number = handle.wrapping_add(1);
        let track = self.track(number).ok_or(GNTST_BAD_HANDLE)?;
        let usage = track.usage();
        // Another may have got the track before the lock was held.
        if track.grant.get() == 0
            || track.granter() != granter
            || track.mapper() != mapper
            || !usage.is_alive()
        {
            return Err(GNTST_BAD_HANDLE);
        }
        Ok(Mapping { number, granter, frame: track.mfn(), usage })
    }

    /// Begins to note mappings that a vCPU removes.
    pub fn leaving(&self, vcpu: VcpuSlot) -> Leaving {
        let first = self.waiting(vcpu).head.get();
        Leaving { vcpu, before: first, first }
    }

    /// Notes that `gone` of a mapping's uses have ended with this transaction. If none is left, the vCPU has to
    /// [complete](Self::complete) it when all processors have flushed. With a page-table entry comes the reference that
    /// it held: it is dropped, or the mapping's to the end.
    #[inline(always)]
    pub fn leave(&self, tx: &mut Tx<'static>, leaving: &mut Leaving, mapping: &Mapping, gone: u16) {
        let Some(track) = self.track(mapping.number) else { return };
        let mut left = Use(mapping.usage.0 & !gone);
        if left.is_alive() {
            if gone & Use::HOST != 0 {
                tx.publish(put(mapping));
            }
        } else if gone & Use::HOST != 0 {
            left.0 |= Use::BOTH;
        }
        track.set_usage(tx, left);
        if !left.is_alive() {
            tx.set(&track.waiting, leaving.first);
            leaving.first = mapping.number;
        }
    }

    /// The list of those that wait follows what [`leave`](Self::leave) noted.
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
        let mut emptying = self.empty(tx, mapper);
        let mut granter = None;
        let mut number = waiting.head.get();
        for _ in 0..AT_ONCE {
            let Some(track) = self.track(number) else { break };
            if granter != Some(track.granter()) {
                // One granter's lock at a time.
                if granter.is_some() {
                    break;
                }
                granter = Some(track.granter());
                self.lock(tx, track.granter());
            }
            let next = track.waiting.get();
            self.end(tx, &mut emptying, number, track);
            number = next;
        }
        self.emptied(tx, &emptying);
        tx.set(&waiting.head, number);
    }

    /// Ends a mapping; the pool's and its granter's locks are held.
    #[inline(always)]
    pub(crate) fn end(
        &self,
        tx: &mut Tx<'static>,
        emptying: &mut Emptying,
        number: u32,
        track: &'static Track,
    ) {
        let (granter, gref, usage) = (track.granter(), track.gref(), track.usage());
        self.give_back(tx, emptying, number, track);
        // Nothing of a granter's table is left when the domain has ended.
        let place = self.place(granter, gref);
        let flags = unbacked(self.pins(granter, gref), usage.writes());
        let (at, bits) = place.map_or((Maddr(0), 0), |place| place.marks(flags));
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
    /// Whether any waits for a flush, of this transaction's or from before.
    pub const fn waits(&self) -> bool {
        self.first != 0
    }
}
