//! Dom0's memory: which frames it gets.
//!
//! Frames are taken in blocks of 64, ascending within a free block of the heap, and from high addresses to
//! low ones: what stays free is the lowest memory, which exchanges for DMA buffers need. The initial mapping
//! alone prefers frames below 4 GiB.

use super::{BuildError, Builder, Module, SLOT};
use crate::State;
use core::ops::Range;
use frames::{MAX_ASSIGN_ORDER, NoMemory, Owner};
use guest_loader::layout::Plan;
use guest_memory::GuestMemory;
use ids::{FRAME_SIZE, Maddr, Mfn};
use vault::{Apply, Effect, Tx, kind};

/// Address width of the initial mapping's frames, preferably.
const LOW_BITS: u32 = 32;
/// Any address.
const ALL_BITS: u32 = 64;
/// Frames that one transaction adopts.
const ADOPT_BATCH: u64 = 32;

/// Whether there is enough, and the initrd's frames are what they should be.
pub(super) fn check(state: &State, plan: &Plan, initrd: Option<Module>) -> Result<(), BuildError> {
    let adopted = initrd.map_or(0, |module| module.frames());
    let needed = plan.nr_pages - adopted + 1; // one for shared_info; the plan holds the initrd
    let free = state.frames.heap().free_frames();
    if needed > free {
        return Err(BuildError::NotEnoughFree { needed, free });
    }
    let first = initrd.map_or(0, |module| module.first.0);
    for mfn in (first..).take(adopted as usize).map(Mfn) {
        match state.frames.frame(mfn) {
            Some(frame) if frame.usage().owner() == Owner::HYPERVISOR => {}
            _ => return Err(BuildError::InitrdFrame(mfn)),
        }
    }
    Ok(())
}

/// Publishes the M2P entries of adjacent frames.
fn publish_m2p(tx: &mut Tx<'_>, mfn: Mfn, first: u64, count: u64) {
    for index in 0..count {
        tx.publish(Effect { kind: kind::M2P, x: 0, a: mfn.0 + index, b: first + index });
    }
}

impl<M: GuestMemory + 'static, A: Apply> Builder<'_, M, A> {
    /// Gives Dom0 all its frames, in the order of its frame numbers. Those that are not the initrd's are zero.
    pub(super) fn take_memory(&mut self, initrd: Option<Module>) -> Result<(), BuildError> {
        let plan = self.plan;
        let Range { start, end } = plan.initrd_frames;
        let low = plan.initial_frames;
        if let Some(module) = initrd {
            self.allocate_to(start.min(low), LOW_BITS)?;
            self.allocate_to(start, ALL_BITS)?;
            self.adopt(module)?;
        }
        debug_assert!(initrd.is_none() || self.runs.end().0 == end, "the initrd has its frames");
        self.allocate_to(low, LOW_BITS)?;
        self.allocate_to(plan.nr_pages, ALL_BITS)
    }

    /// Allocates up to frame `end`, in blocks as large as there are; below `2^bits` while there are any.
    fn allocate_to(&mut self, end: u64, mut bits: u32) -> Result<(), BuildError> {
        let mut largest = MAX_ASSIGN_ORDER;
        loop {
            let wanted = end.saturating_sub(self.runs.end().0);
            if wanted == 0 {
                return Ok(());
            }
            let order = wanted.ilog2().min(largest);
            match self.allocate_block(order, bits) {
                Some(mfn) => self.runs.push(mfn, 1 << order)?,
                None if order > 0 => largest = order - 1,
                None if bits != ALL_BITS => (bits, largest) = (ALL_BITS, MAX_ASSIGN_ORDER),
                None => {
                    let free = self.state.frames.heap().free_frames();
                    return Err(BuildError::NotEnoughFree { needed: wanted, free });
                }
            }
        }
    }

    /// Allocates and clears `2^order` frames behind the next frames.
    fn allocate_block(&mut self, order: u32, bits: u32) -> Option<Mfn> {
        let frames = self.state.frames;
        let first = self.runs.end().0;
        let allocated = self.j.transaction(|tx| -> Result<Mfn, NoMemory> {
            let mfn = frames.allocate(tx, SLOT, order, bits)?;
            publish_m2p(tx, mfn, first, 1 << order);
            Ok(mfn)
        });
        let mfn = allocated.ok()?;
        for frame in mfn.0..mfn.0 + (1 << order) {
            self.memory.clear_frame(Mfn(frame).maddr());
        }
        Some(mfn)
    }

    /// Hands the initrd's frames over; what lies behind its last byte is cleared.
    fn adopt(&mut self, module: Module) -> Result<(), BuildError> {
        let frames = self.state.frames;
        let end = module.first.0 + module.frames();
        for from in (module.first.0..end).step_by(ADOPT_BATCH as usize) {
            let count = ADOPT_BATCH.min(end - from);
            let first = self.runs.end().0;
            self.j
                .transaction(|tx| {
                    for mfn in from..from + count {
                        frames.adopt(tx, SLOT, Mfn(mfn))?;
                    }
                    publish_m2p(tx, Mfn(from), first, count);
                    Ok(())
                })
                .map_err(|NoMemory| BuildError::InitrdFrame(Mfn(from)))?;
            self.runs.push(Mfn(from), count)?;
        }
        self.clear_tail(module.first.maddr().0 + module.len);
        Ok(())
    }

    /// Clears from `at` to the end of its frame; nothing at a frame's first byte.
    fn clear_tail(&self, at: u64) {
        let words = at.next_multiple_of(8);
        for byte in at..words {
            self.memory.store8(Maddr(byte), 0);
        }
        for word in (words..words.next_multiple_of(FRAME_SIZE)).step_by(8) {
            self.memory.store64(Maddr(word), 0);
        }
    }
}
