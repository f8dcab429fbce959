//! Free memory: a buddy system by zones, its lists threaded through the frame records.
//!
//! A zone holds the blocks whose first frame number has the same bit length, so that an allocation below
//! an address width (DMA) looks at the zones that fit.
//!
//! Frames come back one by one, as consequences of their last reference's end, and are *loose* at first: on a list of
//! their own, where nobody looked for their buddies. Single frames are taken from there before any block is split. Who
//! wants more and finds no block *settles* loose frames ([`Frames::settle`]), a few in a transaction: a frame joins its
//! buddy as often as that is free, and goes to the list of its order. The buddy's record says whether it heads a free
//! block of that order, so nothing is searched, and every free frame is settled once. Two buddies are never both
//! settled: with no loose frame left, a request that finds no block would find none however blocks were joined.

use crate::frame::links;
use crate::usage::Usage;
use crate::{Frame, Frames, Owner};
use ids::{DomainSlot, Mfn};
use vault::{Durable, Effect, Once, Tx, kind, record};

/// Largest block: 2^18 frames (1 GiB).
pub const MAX_ORDER: u32 = 18;
/// In place of an order: the list of loose frames.
pub const LOOSE: u32 = MAX_ORDER + 1;
/// Lists of a zone.
const LISTS: usize = LOOSE as usize + 1;
/// Frame numbers have at most 32 bits (16 TiB).
const ZONES: usize = 33;
/// Largest block that one transaction hands to a domain.
pub const MAX_ASSIGN_ORDER: u32 = 6;
/// Loose frames that one transaction settles.
const SETTLED: u32 = 16;

/// No free block fits (the errno is `-ENOMEM`), or the domain may have no more (`-ENOMEM` as well).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

record! {
    /// The free lists.
    ///
    /// Lock: `Locks::heap`. Rebuild: nothing is derived.
    pub struct Heap {
        pub(crate) free: Durable<u64>,
        /// Of them, those that are promised to domains: the sum of all claims.
        pub(crate) claimed: Durable<u64>,
        /// By zone, a bit for each order whose list is not empty, and for [`LOOSE`].
        orders: [Durable<u32>; ZONES],
        heads: [[Durable<u32>; LISTS]; ZONES],
    }
}

/// The highest zone whose frames all lie below `2^address_bits`.
fn zones_below(address_bits: u32) -> usize {
    (address_bits.saturating_sub(ids::FRAME_SHIFT) as usize).min(ZONES - 1)
}

impl Heap {
    /// Free frames.
    pub fn free_frames(&self) -> u64 {
        self.free.get()
    }

    /// Free frames that are promised to domains (Xen's outstanding claims).
    pub fn claimed_frames(&self) -> u64 {
        self.claimed.get()
    }

    /// First block of the free list of an order, or of [`LOOSE`], for the audit.
    pub fn first(&self, zone: usize, order: usize) -> Option<Mfn> {
        let raw = self.heads.get(zone)?.get(order)?.get();
        (raw != 0).then_some(Mfn(raw.into()))
    }
}

fn zone_of(mfn: u32) -> usize {
    (u32::BITS - mfn.leading_zeros()) as usize
}

impl Frame {
    /// Order of the free block this frame heads; [`LOOSE`]; none.
    pub fn block_order(&self) -> Option<u32> {
        self.usage().block()
    }
}

impl Frames {
    /// First boot: marks up to 128 frames from `start` as RAM that is on no list yet; returns how many.
    pub fn seed_frames(&self, tx: &mut Tx<'_>, start: Mfn, end: Mfn) -> u64 {
        let count = (end.0 - start.0).min(128);
        for mfn in start.0..start.0 + count {
            if let Some(frame) = self.frame(Mfn(mfn)) {
                let old = frame.usage();
                let done = tx.exchange(&frame.usage, old.0, Usage::free(None).0);
                debug_assert!(done, "nobody else runs");
            }
        }
        count
    }

    /// First boot: marks up to 128 frames as the hypervisor's own; returns how many.
    pub fn reserve_frames(&self, tx: &mut Tx<'_>, start: Mfn, end: Mfn) -> u64 {
        let count = (end.0 - start.0).min(128);
        for mfn in start.0..start.0 + count {
            if let Some(frame) = self.frame(Mfn(mfn)) {
                let old = frame.usage();
                let done = tx.exchange(&frame.usage, old.0, Usage::allocated(Owner::HYPERVISOR).0);
                debug_assert!(done, "nobody else runs");
            }
        }
        count
    }

    /// First boot: gives the largest aligned block at `start` to the heap; returns its frames.
    pub fn seed_block(&self, tx: &mut Tx<'_>, start: Mfn, end: Mfn) -> u64 {
        let room = 63 - (end.0 - start.0).leading_zeros();
        let order = start.0.trailing_zeros().min(room).min(MAX_ORDER);
        tx.lock(&self.locks.heap);
        self.settle_block(tx, start.0 as u32, order);
        let count = 1 << order;
        tx.set(&self.heap.free, self.heap.free.get() + count);
        count
    }

    /// Allocates 2^`order` adjacent frames (`order` at most [`MAX_ASSIGN_ORDER`]) below `2^address_bits`
    /// to a domain: general reference, page list and count. Their M2P entries are the caller's. Takes at
    /// most 192 undo entries.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn allocate(
        &self,
        tx: &mut Tx<'_>,
        slot: DomainSlot,
        order: u32,
        address_bits: u32,
    ) -> Result<Mfn, NoMemory> {
        self.allocate_as(tx, slot, order, address_bits, true)
    }

    /// As [`allocate`](Self::allocate), whatever the domain's limit: for frames that take the place of as
    /// many that the same transaction releases.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn allocate_in_place(
        &self,
        tx: &mut Tx<'_>,
        slot: DomainSlot,
        order: u32,
        address_bits: u32,
    ) -> Result<Mfn, NoMemory> {
        self.allocate_as(tx, slot, order, address_bits, false)
    }

    fn allocate_as(
        &self,
        tx: &mut Tx<'_>,
        slot: DomainSlot,
        order: u32,
        address_bits: u32,
        limited: bool,
    ) -> Result<Mfn, NoMemory> {
        if order > MAX_ASSIGN_ORDER {
            return Err(NoMemory);
        }
        let list = self.list(slot);
        tx.lock(&self.locks.heap);
        tx.lock(self.list_lock(slot));
        let pages = list.pages.get() + (1 << order);
        if limited && pages > list.max_pages.get() {
            return Err(NoMemory);
        }
        let own = if limited { list.claimed() } else { 0 };
        self.check_claims(1 << order, own)?;
        let mfn = self.take_block(tx, order, address_bits)?;
        if limited {
            self.use_claim(tx, slot, 1 << order);
        }
        for index in 0..1u32 << order {
            let frame = self.frame(Mfn((mfn + index).into())).ok_or(NoMemory)?;
            self.own(tx, frame, Usage::allocated(Owner::domain(slot)))?;
        }
        self.enlist(tx, slot, mfn, 1 << order);
        Ok(Mfn(mfn.into()))
    }

    /// Allocates one frame for the hypervisor's own use.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn allocate_own(&self, tx: &mut Tx<'_>) -> Result<Mfn, NoMemory> {
        tx.lock(&self.locks.heap);
        self.check_claims(1, 0)?;
        let mfn = self.take_block(tx, 0, 64)?;
        let frame = self.frame(Mfn(mfn.into())).ok_or(NoMemory)?;
        self.own(tx, frame, Usage::allocated(Owner::HYPERVISOR))?;
        Ok(Mfn(mfn.into()))
    }

    /// Allocates 2^`order` adjacent frames (`order` at most [`MAX_ASSIGN_ORDER`]) for trace buffers or their table, each with
    /// one general reference. Takes at most 192 undo entries.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn allocate_traces(&self, tx: &mut Tx<'_>, order: u32, buffer: bool) -> Result<Mfn, NoMemory> {
        if order > MAX_ASSIGN_ORDER {
            return Err(NoMemory);
        }
        tx.lock(&self.locks.heap);
        self.check_claims(1 << order, 0)?;
        let first = self.take_block(tx, order, 64)?;
        let owner = if buffer { Owner::TRACE_BUFFER } else { Owner::TRACE_TABLE };
        for mfn in first..first + (1 << order) {
            let frame = self.frame(Mfn(mfn.into())).ok_or(NoMemory)?;
            self.own(tx, frame, Usage::allocated(owner))?;
        }
        Ok(Mfn(first.into()))
    }

    /// Allocates one frame that the hypervisor shares with a domain: the domain owns it and may map it,
    /// but it is not among its pages, nor can it become a table. Given back by [`put_shared`](Self::put_shared).
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn allocate_shared(&self, tx: &mut Tx<'_>, slot: DomainSlot) -> Result<Mfn, NoMemory> {
        tx.lock(&self.locks.heap);
        self.check_claims(1, 0)?;
        let mfn = self.take_block(tx, 0, 64)?;
        let frame = self.frame(Mfn(mfn.into())).ok_or(NoMemory)?;
        self.own(tx, frame, Usage::shared(Owner::domain(slot)))?;
        Ok(Mfn(mfn.into()))
    }

    pub(crate) fn own(&self, tx: &mut Tx<'_>, frame: &Frame, usage: Usage) -> Result<(), NoMemory> {
        let old = frame.usage();
        if tx.exchange(&frame.usage, old.0, usage.0) { Ok(()) } else { Err(NoMemory) }
    }

    /// First boot: hands a frame the hypervisor kept (a boot module) to a domain.
    pub fn adopt(&self, tx: &mut Tx<'_>, slot: DomainSlot, mfn: Mfn) -> Result<(), NoMemory> {
        let frame = self.frame(mfn).ok_or(NoMemory)?;
        tx.lock(self.list_lock(slot));
        self.own(tx, frame, Usage::allocated(Owner::domain(slot)))?;
        self.enlist(tx, slot, mfn.0 as u32, 1);
        Ok(())
    }

    /// Takes a free block of exactly `order`, splitting a larger one; the heap lock is held.
    pub(crate) fn take_block(&self, tx: &mut Tx<'_>, order: u32, address_bits: u32) -> Result<u32, NoMemory> {
        for zone in (0..=zones_below(address_bits)).rev() {
            let lists = self.heap.orders[zone].get();
            let fitting = (lists & !(1 << LOOSE)) >> order;
            let loose = order == 0 && lists & 1 << LOOSE != 0;
            if fitting == 0 && !loose {
                continue;
            }
            let list = if loose { LOOSE } else { order + fitting.trailing_zeros() };
            let mfn = self.heap.heads[zone][list as usize].get();
            self.unlink(tx, mfn, list);
            let found = if loose { 0 } else { list };
            for half in (order..found).rev() {
                self.push(tx, mfn + (1 << half), half);
            }
            tx.set(&self.heap.free, self.heap.free.get() - (1 << order));
            return Ok(mfn);
        }
        Err(NoMemory)
    }

    fn push(&self, tx: &mut Tx<'_>, mfn: u32, order: u32) {
        let zone = zone_of(mfn);
        let head = &self.heap.heads[zone][order as usize];
        let old = head.get();
        if let Some(frame) = self.frame(Mfn(mfn.into())) {
            tx.set(&frame.links, links(old, 0));
            self.mark(tx, frame, Some(order));
        }
        match self.linked(old) {
            Some(second) => tx.set(&second.links, links(second.next(), mfn)),
            None => tx.set(&self.heap.orders[zone], self.heap.orders[zone].get() | 1 << order),
        }
        tx.set(head, mfn);
    }

    fn unlink(&self, tx: &mut Tx<'_>, mfn: u32, order: u32) {
        let zone = zone_of(mfn);
        let Some(frame) = self.frame(Mfn(mfn.into())) else { return };
        let (next, prev) = (frame.next(), frame.prev());
        match self.linked(prev) {
            Some(before) => tx.set(&before.links, links(next, before.prev())),
            None => {
                tx.set(&self.heap.heads[zone][order as usize], next);
                if next == 0 {
                    tx.set(&self.heap.orders[zone], self.heap.orders[zone].get() & !(1 << order));
                }
            }
        }
        if let Some(after) = self.linked(next) {
            tx.set(&after.links, links(after.next(), prev));
        }
        self.mark(tx, frame, None);
    }

    /// Says in the record of a free frame which block it heads; the heap lock is held.
    fn mark(&self, tx: &mut Tx<'_>, frame: &Frame, order: Option<u32>) {
        let done = tx.exchange(&frame.usage, frame.usage().0, Usage::free(order).0);
        debug_assert!(done, "nobody takes references to a free frame");
    }

    /// Queues the return of a frame to the free lists as consequence of its last reference's end, with which it is marked
    /// as loose.
    pub(crate) fn chain_free(&self, once: &mut Once<'_, '_>, mfn: Mfn, frame: &'static Frame, owner: Owner) {
        once.lock(&self.locks.heap);
        self.count_freed();
        if let Some(slot) = owner.slot() {
            self.chain_delist(once, slot, mfn, frame);
        }
        let raw = mfn.0 as u32;
        let zone = zone_of(raw);
        let head = &self.heap.heads[zone][LOOSE as usize];
        let old = head.get();
        match self.linked(old) {
            Some(second) => once.then_set(&second.links, links(second.next(), raw)),
            None => once.then_set(&self.heap.orders[zone], self.heap.orders[zone].get() | 1 << LOOSE),
        }
        once.then_set(&frame.links, links(old, 0));
        once.then_set(head, raw);
        once.then_set(&self.heap.free, self.heap.free.get() + 1);
        once.then(Effect { kind: kind::M2P, x: 0, a: mfn.0, b: u64::MAX });
    }

    /// Whether a block of `order` below `2^address_bits` is free: a hint, no lock is taken.
    pub fn has_block(&self, order: u32, address_bits: u32) -> bool {
        let unfit = if order == 0 { 0 } else { 1 << LOOSE };
        let mut zones = 0..=zones_below(address_bits);
        zones.any(|zone| (self.heap.orders[zone].get() & !unfit).checked_shr(order).unwrap_or(0) != 0)
    }

    /// Settles some loose frames below `2^address_bits`. Returns whether there was one. Takes at most 220 undo
    /// entries: 7 for a frame, 3 for a join.
    pub fn settle(&self, tx: &mut Tx<'_>, address_bits: u32) -> bool {
        tx.lock(&self.locks.heap);
        let is_loose = |zone: &usize| self.heap.orders[*zone].get() & 1 << LOOSE != 0;
        let (mut settled, mut joins) = (0, 0);
        while settled < SETTLED && joins < MAX_ORDER {
            let Some(zone) = (0..=zones_below(address_bits)).rev().find(is_loose) else { break };
            let mfn = self.heap.heads[zone][LOOSE as usize].get();
            self.unlink(tx, mfn, LOOSE);
            joins += self.settle_block(tx, mfn, 0);
            settled += 1;
        }
        settled > 0
    }

    /// Joins a block that is on no list with its buddy as often as that is free and settled, and lists it; the heap
    /// lock is held. Returns how often.
    pub(crate) fn settle_block(&self, tx: &mut Tx<'_>, mfn: u32, order: u32) -> u32 {
        let (mut first, mut grown) = (mfn, order);
        while grown < MAX_ORDER && self.is_free_block(first ^ 1 << grown, grown) {
            self.unlink(tx, first ^ 1 << grown, grown);
            first &= !(1 << grown);
            grown += 1;
        }
        self.push(tx, first, grown);
        grown - order
    }

    /// Whether `mfn` heads a settled block of `order`.
    fn is_free_block(&self, mfn: u32, order: u32) -> bool {
        self.frame(Mfn(mfn.into())).is_some_and(|frame| frame.block_order() == Some(order))
    }
}
