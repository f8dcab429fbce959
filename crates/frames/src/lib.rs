//! The frame table: who owns each machine frame, what it is used as, how often, and which are free.
//!
//! One 16-byte record a frame. Its first word holds owner, type and both counts, so that taking a
//! reference checks and counts in one compare-exchange:
//!
//! - a *general* reference keeps the frame with its owner (the allocation itself, a read-only mapping);
//! - a *typed* reference does so too and fixes what the frame is used as (a writable mapping, a page
//!   table of one level, a descriptor table). Types exclude each other while typed references exist.
//!
//! A frame returns to the free lists when both counts reach zero. Counts saturate: a frame with millions
//! of mappings stays with its domain until the domain ends, and no guest sees an overflow.
//!
//! References are taken before a commit (undone by delta) and dropped after it, by effects that happen
//! exactly once. State class: durable.
#![no_std]
#![forbid(unsafe_code)]

mod buddy;
mod claim;
mod count;
mod frame;
mod granted;
mod hand_over;
mod leave;
mod list;
mod put;
mod staged;
mod stale;
mod usage;

pub use buddy::{Heap, LOOSE, MAX_ASSIGN_ORDER, MAX_ORDER, NoMemory};
pub use claim::NoClaim;
pub use count::{FrameError, Got};
pub use frame::{Frame, Owner, Stage};
pub use hand_over::NotHanded;
pub use leave::Leaving;
pub use list::PageList;
pub use staged::{PIECE, Staged, Staging};
pub use stale::{Gone, Stale};
pub use usage::{Kind, Usage};

use ids::{Maddr, Mfn};
use vault::{Arena, Effect, LockWord, kind};

/// The frame table with its heap and the locks that cover them.
#[derive(Clone, Copy)]
pub struct Frames {
    table: &'static [Frame],
    lists: &'static [PageList],
    heap: &'static Heap,
    locks: &'static Locks,
}

/// Locks of the frame table, and what they cover that is derived: made anew by every start, all free.
///
/// Order: the heap's before a list's. An outbox that ends frames of several domains then holds the heap's
/// while it takes further lists', so that two of them cannot wait for each other; whoever holds a list's
/// alone waits for nothing.
#[derive(Debug)]
pub struct Locks {
    /// Covers the free lists.
    pub heap: LockWord,
    /// Cover the page lists, by domain slot; few, for one transaction may come to hold all of them.
    pub lists: [LockWord; 8],
    /// Counts frees, under the heap's lock.
    pub stale: Stale,
}

impl Locks {
    /// Free locks.
    pub const fn new() -> Self {
        Self { heap: LockWord::new(), lists: [const { LockWord::new() }; 8], stale: Stale::new() }
    }
}

impl Default for Locks {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Frames {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Frames({} frames)", self.table.len())
    }
}

/// What an effect `PUT_GRANTED` drops, beside the frame's number.
pub(crate) const TYPED: u64 = 1 << 62;
pub(crate) const BOTH: u64 = 1 << 63;

impl Frames {
    /// Carves the table for frames `0..count`, page lists for `domains` slots and the heap. `None` when the arena is too small.
    pub fn carve(arena: &mut Arena, count: usize, domains: usize, locks: &'static Locks) -> Option<Self> {
        let heap = arena.carve::<Heap>(1)?.first()?;
        Some(Self { lists: arena.carve(domains)?, table: arena.carve(count)?, heap, locks })
    }

    /// The record of a frame, if the machine has that frame.
    #[inline(always)]
    pub fn frame(&self, mfn: Mfn) -> Option<&'static Frame> {
        self.table.get(usize::try_from(mfn.0).ok()?)
    }

    /// Frame numbers the table covers, from 0.
    pub fn len(&self) -> u64 {
        self.table.len() as u64
    }

    /// Whether the table covers no frame.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The heap, for figures (`free_frames`).
    pub fn heap(&self) -> &'static Heap {
        self.heap
    }

    /// The effect that drops a general reference.
    pub fn put_ref(mfn: Mfn) -> Effect {
        Effect { kind: kind::PUT_REF, x: 0, a: mfn.0, b: 0 }
    }

    /// The effect that drops the hypervisor's reference to a frame that it [shares](Self::allocate_shared).
    pub fn put_shared(mfn: Mfn) -> Effect {
        Self::put_typed(mfn)
    }

    /// The effect that ends a use of a frame which guest memory tells of: clears `bits` of the 32-bit word at `marks`,
    /// then drops references, typed or general, one or two, exactly once.
    pub fn put_granted(mfn: Mfn, typed: bool, both: bool, marks: Maddr, bits: u32) -> Effect {
        let what = if typed { TYPED } else { 0 } | if both { BOTH } else { 0 };
        Effect { kind: kind::PUT_GRANTED, x: bits, a: marks.0, b: mfn.0 | what }
    }

    /// The effect that drops a typed reference.
    pub fn put_typed(mfn: Mfn) -> Effect {
        Effect { kind: kind::PUT_TYPED, x: 0, a: mfn.0, b: 0 }
    }
}
