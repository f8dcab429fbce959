//! The end of a mapping, in two steps: it leaves the page tables; when all processors have flushed, it is given up.

use crate::claim::unbacked;
use crate::{Region, Track, Use};
use frames::Frames;
use ids::{DomainSlot, Mfn, VcpuSlot};
use vault::Tx;
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
    /// The mapping that a handle of `mapper`'s means; its granter's table is locked.
    ///
    /// # Errors
    /// `GNTST_bad_handle`.
    pub fn mapping(&self, tx: &mut Tx<'static>, mapper: DomainSlot, handle: u32) -> Result<Mapping, i16> {
        let number = handle.wrapping_add(1);
        let track = self.track(number).ok_or(GNTST_BAD_HANDLE)?;
        let before = track.grant.get();
        if before == 0 {
            return Err(GNTST_BAD_HANDLE);
        }
        let granter = track.granter();
        if usize::from(granter.0) >= self.tables.len() {
            return Err(GNTST_BAD_HANDLE);
        }
        self.lock(tx, granter);
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

    /// Notes that `gone` of a mapping's uses have ended with this transaction. If none is left, `vcpu` has to
    /// [complete](Self::complete) it when all processors have flushed.
    pub fn leave(&self, tx: &mut Tx<'static>, mapping: &Mapping, gone: u16, vcpu: VcpuSlot) {
        let Some(track) = self.track(mapping.number) else { return };
        let left = Use(mapping.usage.0 & !gone);
        track.set_usage(tx, left);
        if !left.is_alive() {
            let waiting = self.waiting(vcpu);
            tx.set(&track.waiting, waiting.head.get());
            tx.set(&waiting.head, mapping.number);
        }
    }

    /// Whether mappings of this vCPU's wait to be completed.
    pub fn is_waiting(&self, vcpu: VcpuSlot) -> bool {
        self.waiting(vcpu).head.get() != 0
    }

    /// Gives up some of the mappings that `vcpu` has removed: their references go with this commit, and the flags in
    /// the granter's memory. All processors must have flushed since they were removed.
    pub fn complete(&self, tx: &mut Tx<'static>, vcpu: VcpuSlot) {
        let waiting = self.waiting(vcpu);
        self.lock_pool(tx);
        let mut granter = None;
        let mut number = waiting.head.get();
        for _ in 0..AT_ONCE {
            let Some(track) = self.track(number) else { break };
            // One granter's lock at a time.
            if granter.is_some_and(|granter| granter != track.granter()) {
                break;
            }
            granter = Some(track.granter());
            self.lock(tx, track.granter());
            let next = track.waiting.get();
            self.end(tx, number, track);
            number = next;
        }
        tx.set(&waiting.head, number);
    }

    /// Ends a mapping; the pool's and its granter's locks are held.
    pub(crate) fn end(&self, tx: &mut Tx<'static>, number: u32, track: &'static Track) {
        let (granter, gref, usage) = (track.granter(), track.gref(), track.usage());
        self.give_back(tx, number, track);
        let (writes, mfn) = (usage.writes(), track.mfn());
        // Nothing of a granter's table is left when the domain has ended.
        if let Some(place) = self.place(granter, gref) {
            let pins = self.pins(granter, gref);
            if let Some(unmark) = unbacked(place, &pins, writes) {
                tx.publish(unmark);
            }
        }
        tx.publish(if writes { Frames::put_typed(mfn) } else { Frames::put_ref(mfn) });
    }
}
