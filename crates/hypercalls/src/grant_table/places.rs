//! Where the page-table entries are that elements mean by guest addresses.

use guest_memory::GuestMemory;
use ids::{Gva, Maddr, Mfn};
use pv_mmu::walk;

/// Bits of an address below those that choose its L1 table, and below those that choose the entry.
const REGION: u32 = 21;
const PAGE: u32 = 12;

/// A guest's page tables, and the L1 table that was found last: elements mostly mean neighbours. Whether a table is
/// live, and the guest's, is checked with its lock held.
pub(super) struct Tables {
    root: Mfn,
    /// The region that the table is for; no address has that of the start.
    region: u64,
    table: Maddr,
}

impl Tables {
    /// The tables below `root`.
    pub(super) fn new(root: Mfn) -> Self {
        Self { root, region: u64::MAX, table: Maddr(0) }
    }

    /// The L1 entry of an address.
    #[inline(always)]
    pub(super) fn entry<M: GuestMemory>(&mut self, memory: &M, at: Gva) -> Option<Maddr> {
        if self.region != at.0 >> REGION {
            let found = walk(memory, self.root, at)?.at;
            (self.region, self.table) = (at.0 >> REGION, found.mfn().maddr());
        }
        Some(Maddr(self.table.0 + (at.0 >> PAGE & 511) * 8))
    }
}

/// The entries that a transaction changes: all of one L1 table, for two would be two locks of one level, and none twice,
/// for what it becomes first is not there before the commit.
#[derive(Default)]
pub(super) struct Changed {
    table: Option<Mfn>,
    /// A bit for each of its entries.
    entries: [u64; 8],
}

impl Changed {
    /// Notes that an entry is about to be changed. False: that has to wait for another transaction.
    #[inline(always)]
    pub(super) fn note(&mut self, at: Maddr) -> bool {
        if *self.table.get_or_insert(at.mfn()) != at.mfn() {
            return false;
        }
        let index = at.offset() as usize / 8;
        let (word, bit) = (&mut self.entries[index / 64 % 8], 1 << (index % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_changed_once_and_no_other_table_is() {
        let mut changed = Changed::default();
        for index in 0..512 {
            assert!(changed.note(Maddr(0x5000 + 8 * index)), "{index}");
            assert!(!changed.note(Maddr(0x5000 + 8 * index)));
        }
        let mut changed = Changed::default();
        assert!(changed.note(Maddr(0x5008)));
        assert!(!changed.note(Maddr(0x6010)));
        assert!(!changed.note(Maddr(u64::MAX)));
        assert!(changed.note(Maddr(0x5010)));
    }
}
