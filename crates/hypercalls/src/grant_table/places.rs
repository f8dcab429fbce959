//! Where the page-table entries are that elements mean by guest addresses.

use frames::Owner;
use guest_memory::GuestMemory;
use ids::{Gva, Maddr, Mfn};
use pv_mmu::{Leaf, LiveTable, Mmu, walk};
use vault::Tx;

/// Bits of an address below those that choose its L1 table, and below those that choose the entry.
const REGION: u32 = 21;
const PAGE: u32 = 12;

/// An entry has to wait for another transaction.
pub(super) struct Later;

/// The page-table entries that a transaction changes: all of one L1 table, for two would be two locks of one level, and none
/// twice, for what it becomes first is not there before the commit.
pub(super) struct Places {
    root: Mfn,
    owner: Owner,
    /// The region that the table is for, as the guest's page tables have it: elements mostly mean neighbours. No address
    /// has that of the start.
    region: u64,
    table: Option<Mfn>,
    live: Option<LiveTable>,
    /// A bit for each of its entries.
    entries: [u64; 8],
}

impl Places {
    /// Places in the tables of `owner`'s below `root`.
    pub(super) fn new(root: Mfn, owner: Owner) -> Self {
        Self { root, owner, region: u64::MAX, table: None, live: None, entries: [0; 8] }
    }

    /// The L1 entry of an address, which is about to be changed; `None`: there is none that may be.
    #[inline(always)]
    pub(super) fn leaf<M: GuestMemory>(
        &mut self,
        tx: &mut Tx<'static>,
        mmu: Mmu<'_, M>,
        at: Gva,
    ) -> Result<Option<Leaf>, Later> {
        match self.live {
            Some(live) if self.region == at.0 >> REGION => self.note(live.entry((at.0 >> PAGE) as usize)),
            _ => self.find(tx, mmu, at),
        }
    }

    #[inline(never)]
    fn find<M: GuestMemory>(
        &mut self,
        tx: &mut Tx<'static>,
        mmu: Mmu<'_, M>,
        at: Gva,
    ) -> Result<Option<Leaf>, Later> {
        let Some(entry) = self.entry(mmu.memory, at) else { return Ok(None) };
        let leaf = self.named(tx, mmu, entry)?;
        self.region = at.0 >> REGION;
        Ok(leaf)
    }

    /// The L1 entry at a machine address, likewise.
    #[inline(never)]
    pub(super) fn leaf_at<M: GuestMemory>(
        &mut self,
        tx: &mut Tx<'static>,
        mmu: Mmu<'_, M>,
        at: Maddr,
    ) -> Result<Option<Leaf>, Later> {
        self.named(tx, mmu, at)
    }

    #[inline(always)]
    fn named<M: GuestMemory>(
        &mut self,
        tx: &mut Tx<'static>,
        mmu: Mmu<'_, M>,
        at: Maddr,
    ) -> Result<Option<Leaf>, Later> {
        let table = at.mfn();
        match self.table {
            Some(other) if other != table => return Err(Later),
            Some(_) => {}
            None => {
                self.table = Some(table);
                self.live = mmu.live_table(tx, table, self.owner);
            }
        }
        match self.live.and_then(|live| live.leaf(at)) {
            Some(leaf) => self.note(leaf),
            None => Ok(None),
        }
    }

    /// Where the guest's page tables say that the entry of an address is.
    pub(super) fn entry<M: GuestMemory>(&self, memory: &M, at: Gva) -> Option<Maddr> {
        Some(walk(memory, self.root, at)?.at)
    }

    #[inline(always)]
    fn note(&mut self, leaf: Leaf) -> Result<Option<Leaf>, Later> {
        let index = leaf.index();
        let (word, bit) = (&mut self.entries[index / 64 % 8], 1 << (index % 64));
        if *word & bit != 0 {
            return Err(Later);
        }
        *word |= bit;
        Ok(Some(leaf))
    }
}
