//! Locks and hints: thrown away and made again by every microreboot.

use crate::Error;
use crate::region::Region;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering};
use ids::DomainSlot;
use vault::LockWord;

/// The derived state of the event channels.
#[derive(Debug)]
pub struct Derived {
    domains: Box<[DomainLocks]>,
    /// Covers the chunk pool and the handlers of global VIRQs.
    pub(crate) pool: LockWord,
}

#[derive(Debug, Default)]
pub(crate) struct DomainLocks {
    /// Covers the domain's records and those of its vCPUs, held until the outbox is empty.
    pub(crate) records: LockWord,
    /// Held while an event is delivered to the domain, so that the frames it is written to stay.
    pub(crate) delivery: LockWord,
    /// No port below is free.
    lowest_free: AtomicU32,
}

/// Makes the derived state for a region: at first boot and at every recovery.
pub fn rebuild(region: &Region) -> Derived {
    Derived {
        domains: region.domains.iter().map(|_| DomainLocks::default()).collect(),
        pool: LockWord::new(),
    }
}

impl Derived {
    pub(crate) fn domain(&self, slot: DomainSlot) -> Result<&DomainLocks, Error> {
        self.domains.get(usize::from(slot.0)).ok_or(Error::NoSuchDomain)
    }
}

impl DomainLocks {
    /// Where to look for a free port.
    pub(crate) fn lowest_free(&self) -> u32 {
        self.lowest_free.load(Ordering::Relaxed).max(1)
    }

    /// Every port below is known to be in use.
    pub(crate) fn raise_lowest_free(&self, port: u32) {
        self.lowest_free.store(port, Ordering::Relaxed);
    }

    /// `port` is about to become free.
    pub(crate) fn lower_lowest_free(&self, port: u32) {
        self.lowest_free.fetch_min(port, Ordering::Relaxed);
    }
}
