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
