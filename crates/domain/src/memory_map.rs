//! The memory map that the toolstack gives a domain (`XENMEM_set_memory_map`).

use vault::{Durable, Tx, record};

/// Entries there is room for. A PV domain gets one, unless it is to see the machine's holes.
pub const MAP_ENTRIES: usize = 16;

/// Adjacent bytes of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapEntry {
    /// The first.
    pub start: u64,
    /// How many.
    pub len: u64,
    /// `E820_*`.
    pub kind: u32,
}

record! {
    /// One entry.
    ///
    /// Lock: `domains::Locks` of the slot. Rebuild: nothing is derived.
    pub struct Entry {
        start: Durable<u64>,
        len: Durable<u64>,
        kind: Durable<u32>,
        spare: Durable<u32>,
    }
}

record! {
    /// The map of one domain slot.
    ///
    /// Lock: `domains::Locks` of the slot. Rebuild: nothing is derived.
    pub struct DomainMap {
        count: Durable<u32>,
        spare: Durable<u32>,
        entries: [Entry; MAP_ENTRIES],
    }
}

impl DomainMap {
    /// Sets all of it, an empty one if there are none. False: there are too many.
    #[must_use]
    pub fn set(&self, tx: &mut Tx<'_>, entries: &[MapEntry]) -> bool {
        let Some(places) = self.entries.get(..entries.len()) else { return false };
        for (place, entry) in places.iter().zip(entries) {
            tx.set(&place.start, entry.start);
            tx.set(&place.len, entry.len);
            tx.set(&place.kind, entry.kind);
        }
        tx.set(&self.count, entries.len() as u32);
        true
    }

    /// What was set.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = MapEntry> + '_ {
        let places = &self.entries[..(self.count.get() as usize).min(MAP_ENTRIES)];
        places.iter().map(|e| MapEntry { start: e.start.get(), len: e.len.get(), kind: e.kind.get() })
    }
}
