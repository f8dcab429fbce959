//! The record of one frame.

use crate::usage::Usage;
use ids::DomainSlot;
use static_assertions::const_assert_eq;
use vault::{Durable, Word, record};

/// Who a frame belongs to: a domain, or one of the machine's own purposes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Owner(pub(crate) u16);

impl Owner {
    /// No RAM: a hole, a device, firmware. Dom0 may map it as I/O memory.
    pub const IO: Owner = Owner(0);
    /// On a free list.
    pub const FREE: Owner = Owner(1);
    /// The hypervisor's own.
    pub const HYPERVISOR: Owner = Owner(2);
    /// Of no frame: who maps frames of this owner means those of the hypervisor's that Dom0 may read.
    pub const SHOWN: Owner = Owner(3);
    /// Of the table of trace buffers: Dom0 may read it, without a reference.
    pub const TRACE_TABLE: Owner = Owner(4);
    /// Of trace buffers: Dom0 may read and write them, without a reference.
    pub const TRACE_BUFFER: Owner = Owner(5);
    /// A domain gives it to another, in a transaction that is under way or committed.
    pub(crate) const UNDER_WAY: Owner = Owner(6);
    const FIRST_DOMAIN: u16 = 16;

    /// The owner that stands for a domain.
    pub const fn domain(slot: DomainSlot) -> Owner {
        Owner(Self::FIRST_DOMAIN + slot.0)
    }

    /// The domain, if it is one.
    pub const fn slot(self) -> Option<DomainSlot> {
        match self.0.checked_sub(Self::FIRST_DOMAIN) {
            Some(slot) => Some(DomainSlot(slot)),
            None => None,
        }
    }
}

impl core::fmt::Debug for Owner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (*self, self.slot()) {
            (_, Some(slot)) => write!(f, "{slot:?}"),
            (Self::IO, _) => f.write_str("io"),
            (Self::FREE, _) => f.write_str("free"),
            (Self::TRACE_TABLE, _) => f.write_str("trace table"),
            (Self::TRACE_BUFFER, _) => f.write_str("trace buffer"),
            _ => f.write_str("hypervisor"),
        }
    }
}

/// Where the work on a page table goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage(pub u8);

impl Stage {
    /// It is being validated.
    pub const UP: Stage = Stage(0);
    /// Nobody refers to it any more: it is being unvalidated.
    pub const DOWN: Stage = Stage(1);
    /// It was refused while being validated: it is being unvalidated, then its validator hears of it.
    pub const REFUSED: Stage = Stage(2);
    /// The same, because of device memory its owner may not reach.
    pub const NOT_PERMITTED: Stage = Stage(3);

    /// Whether it was refused, whatever the reason.
    pub const fn is_refused(self) -> bool {
        self.0 >= Self::REFUSED.0
    }
}

record! {
    /// One machine frame.
    ///
    /// Lock: `usage` none (compare-exchange), but the table's lock for what it says of work under way, and the heap
    /// lock while free; `links` the owner's list lock, or the heap lock while free.
    /// Rebuild: nothing is derived from it but the audit's counts.
    pub struct Frame {
        /// Owner, kind, counts, how far work has come: a [`Usage`].
        pub(crate) usage: Word,
        /// Next frame on its list (low half; 0 ends it) and the one before (high half; 0 at the head): one
        /// word, so that linking a frame is one journaled store.
        pub(crate) links: Durable<u64>,
    }
}

const_assert_eq!(size_of::<Frame>(), 16);

/// The two links of a frame as one word.
pub(crate) const fn links(next: u32, prev: u32) -> u64 {
    (prev as u64) << 32 | next as u64
}

impl Frame {
    pub(crate) fn next(&self) -> u32 {
        self.links.get() as u32
    }

    pub(crate) fn prev(&self) -> u32 {
        (self.links.get() >> 32) as u32
    }

    /// Owner, kind and counts.
    #[inline(always)]
    pub fn usage(&self) -> Usage {
        Usage(self.usage.get())
    }
}
