//! Blocks larger than what one transaction hands out: taken from the heap at once, handed to a domain in pieces.
//!
//! Meanwhile the rest of the block is free but on no list, and nobody else finds it; its frames count among the
//! domain's from the beginning. A record a vCPU: the hypercall that a failure cut is run again by the same vCPU and
//! goes on with it.

use crate::buddy::{MAX_ASSIGN_ORDER, MAX_ORDER, NoMemory};
use crate::usage::Usage;
use crate::{Frames, Owner};
use ids::{DomainSlot, Mfn, VcpuSlot};
use vault::{Arena, Durable, Tx, record};

/// Frames that one transaction hands out or takes back.
pub const PIECE: u32 = 1 << MAX_ASSIGN_ORDER;

record! {
    /// What one vCPU's hypercall is handing out.
    ///
    /// Lock: none; the vCPU's own entry alone uses it. Rebuild: nothing is derived.
    pub struct Staged {
        /// First frame of the block; 0: there is none.
        first: Durable<u32>,
        /// Its order.
        order: Durable<u8>,
        /// Whether frames of the domain are taken back for it first.
        exchange: Durable<bool>,
        /// Whose it comes to be.
        slot: Durable<DomainSlot>,
        /// Frames that were taken back.
        taken: Durable<u32>,
        /// Frames that were handed out.
        handed: Durable<u32>,
    }
}

impl Staged {
    /// Whether it is there.
    pub fn is_active(&self) -> bool {
        self.first.get() != 0
    }

    /// Whether it is there for this.
    pub fn is_for(&self, slot: DomainSlot, order: u32, exchange: bool) -> bool {
        self.is_active()
            && (self.slot.get(), u32::from(self.order.get()), self.exchange.get()) == (slot, order, exchange)
    }

    /// The first frame.
    pub fn first(&self) -> Mfn {
        Mfn(self.first.get().into())
    }

    /// Frames taken back so far.
    pub fn taken(&self) -> u32 {
        self.taken.get()
    }

    /// Frames handed out so far.
    pub fn handed(&self) -> u32 {
        self.handed.get()
    }

    /// Frames of the block.
    pub fn len(&self) -> u32 {
        if self.is_active() { 1 << self.order.get() } else { 0 }
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        !self.is_active()
    }

    /// The next [`PIECE`] frames of the domain were taken back.
    pub fn take(&self, tx: &mut Tx<'_>) {
        tx.set(&self.taken, self.taken.get() + PIECE);
    }
}

/// The records, by vCPU slot.
#[derive(Clone, Copy)]
pub struct Staging {
    blocks: &'static [Staged],
}

impl core::fmt::Debug for Staging {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Staging({} vCPUs)", self.blocks.len())
    }
}

impl Staging {
    /// Carves the records. `None` when the arena is too small.
    pub fn carve(arena: &mut Arena, vcpus: usize) -> Option<Self> {
        Some(Self { blocks: arena.carve(vcpus)? })
    }

    /// A vCPU's record.
    pub fn of(&self, vcpu: VcpuSlot) -> &'static Staged {
        &self.blocks[vcpu.0 as usize]
    }

    /// All of them, for the audit.
    pub fn iter(&self) -> impl Iterator<Item = &'static Staged> {
        self.blocks.iter()
    }
}

impl Frames {
    /// Takes a block of 2^`order` frames below `2^address_bits` out of the heap, for `slot`, whose pages they are from
    /// now on. With `exchange` as many are to be taken back, so that only a domain above its limit is refused.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn stage(
        &self,
        tx: &mut Tx<'_>,
        staged: &Staged,
        (slot, order, exchange): (DomainSlot, u32, bool),
        address_bits: u32,
    ) -> Result<(), NoMemory> {
        if staged.is_active() || !(MAX_ASSIGN_ORDER..=MAX_ORDER).contains(&order) {
            return Err(NoMemory);
        }
        let list = self.list(slot);
        tx.lock(&self.locks.heap);
        tx.lock(self.list_lock(slot));
        let pages = list.pages.get() + (1 << order);
        let counted = if exchange { list.pages.get() } else { pages };
        if counted > list.max_pages.get() {
            return Err(NoMemory);
        }
        let own = if exchange { 0 } else { list.claimed() };
        self.check_claims(1 << order, own)?;
        let first = self.take_block(tx, order, address_bits)?;
        if !exchange {
            self.use_claim(tx, slot, 1 << order);
        }
        tx.set(&list.pages, pages);
        tx.set(&staged.first, first);
        tx.set(&staged.order, order as u8);
        tx.set(&staged.exchange, exchange);
        tx.set(&staged.slot, slot);
        tx.set(&staged.taken, 0);
        tx.set(&staged.handed, 0);
        Ok(())
    }

    /// Hands the next [`PIECE`] frames to the domain: general reference and page list. Their M2P entries are the
    /// caller's. Ends the record with the last piece.
    ///
    /// # Errors
    /// [`NoMemory`]: there is no block.
    pub fn hand_piece(&self, tx: &mut Tx<'_>, staged: &Staged) -> Result<Mfn, NoMemory> {
        if !staged.is_active() {
            return Err(NoMemory);
        }
        let (slot, handed) = (staged.slot.get(), staged.handed.get());
        let first = staged.first.get() + handed;
        tx.lock(self.list_lock(slot));
        for mfn in first..first + PIECE {
            let frame = self.frame(Mfn(mfn.into())).ok_or(NoMemory)?;
            self.own(tx, frame, Usage::allocated(Owner::domain(slot)))?;
        }
        self.link_run(tx, slot, first, PIECE);
        if handed + PIECE == staged.len() {
            tx.set(&staged.first, 0);
        }
        tx.set(&staged.handed, handed + PIECE);
        Ok(Mfn(first.into()))
    }

    /// Gives what is left of the block back to the heap.
    pub fn unstage(&self, tx: &mut Tx<'_>, staged: &Staged) {
        if !staged.is_active() {
            return;
        }
        let (first, handed, slot) = (staged.first.get(), staged.handed.get(), staged.slot.get());
        tx.lock(&self.locks.heap);
        tx.lock(self.list_lock(slot));
        let (mut at, end) = (first + handed, first + staged.len());
        let left = u64::from(end - at);
        while at < end {
            // The largest block that is aligned, and that fits: the whole block is aligned to its length.
            let order = (at - first + staged.len()).trailing_zeros().min((end - at).ilog2());
            self.settle_block(tx, at, order);
            at += 1 << order;
        }
        tx.set(&self.heap.free, self.heap.free.get() + left);
        let list = self.list(slot);
        tx.set(&list.pages, list.pages.get() - left);
        tx.set(&staged.first, 0);
    }
}
