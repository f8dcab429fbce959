//! The page tables of the initial address space, entry by entry.
//!
//! The caller owns frames and memory: it says which machine frame stands behind a frame of the domain and
//! stores the entries. Frames of tables are numbered upper level first, so that the L4 is the first.

use crate::layout::Plan;
use core::ops::Range;
use ids::{FRAME_SHIFT, Gfn, Mfn};

/// Entry flags (AMD APM volume 2, 5.4).
mod flag {
    pub(super) const PRESENT: u64 = 1;
    pub(super) const WRITABLE: u64 = 1 << 1;
    pub(super) const USER: u64 = 1 << 2;
    pub(super) const ACCESSED: u64 = 1 << 5;
    pub(super) const DIRTY: u64 = 1 << 6;
    /// A software bit that marks a page of the guest's kernel: a PV guest's kernel runs in ring 3 too.
    pub(super) const GUEST_KERNEL: u64 = 1 << 52;
}

/// Flags of the entries of L4, L3 and L2 tables.
pub const TABLE_FLAGS: u64 = flag::PRESENT | flag::WRITABLE | flag::USER | flag::ACCESSED | flag::DIRTY;
/// Flags of an L1 entry that maps a page table.
pub const READ_ONLY_FLAGS: u64 = flag::PRESENT | flag::USER | flag::ACCESSED | flag::GUEST_KERNEL;
/// Flags of any other L1 entry.
pub const WRITABLE_FLAGS: u64 = READ_ONLY_FLAGS | flag::WRITABLE;

/// log2 of the number of entries in a table.
const INDEX_BITS: u32 = 9;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

/// The level of a page table; an L4 is a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Maps pages.
    L1 = 1,
    /// Maps L1 tables.
    L2 = 2,
    /// Maps L2 tables.
    L3 = 3,
    /// Maps L3 tables.
    L4 = 4,
}

/// One entry to store. Entries that are never named are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Level of the table.
    pub level: Level,
    /// The table, as a frame of the domain.
    pub table: Gfn,
    /// Index of the entry, below 512.
    pub index: usize,
    /// The entry: machine address and flags.
    pub value: u64,
}

/// The L3, L2 and L1 tables over one range of addresses, and the frames that it maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    /// First page number and the one after the last.
    pages: Range<u64>,
    /// First frame of the L3, L2 and L1 tables.
    first_l3: u64,
    first_l2: u64,
    first_l1: u64,
    /// First frame that is mapped; the others follow.
    pub(crate) first_leaf: u64,
}

impl Tree {
    /// Tables in the frames from `first_table`, mapping the frames from `first_leaf`. `range` is page-aligned.
    pub(crate) fn over(range: &Range<u64>, first_table: u64, first_leaf: u64) -> Self {
        let pages = range.start >> FRAME_SHIFT..range.end >> FRAME_SHIFT;
        let first_l2 = first_table + span(&pages, 3);
        let first_l1 = first_l2 + span(&pages, 2);
        Self { pages, first_l3: first_table, first_l2, first_l1, first_leaf }
    }

    /// Tables in the frames from `first`, the mapped frames directly behind them.
    pub(crate) fn with_leaves(range: &Range<u64>, first: u64) -> Self {
        let mut tree = Self::over(range, first, 0);
        tree.first_leaf = first + tree.table_count();
        tree
    }

    /// Number of L3, L2 and L1 tables.
    pub(crate) fn table_count(&self) -> u64 {
        self.first_l1 + span(&self.pages, 1) - self.first_l3
    }

    /// The frame after the last one mapped.
    pub(crate) fn frames_end(&self) -> u64 {
        self.first_leaf + (self.pages.end - self.pages.start)
    }

    fn tables(&self) -> impl Iterator<Item = (Gfn, Level)> + use<> {
        let end = self.first_l3 + self.table_count();
        let (first_l2, first_l1) = (self.first_l2, self.first_l1);
        (self.first_l3..end).map(move |frame| {
            let level = match frame {
                _ if frame >= first_l1 => Level::L1,
                _ if frame >= first_l2 => Level::L2,
                _ => Level::L3,
            };
            (Gfn(frame), level)
        })
    }

    /// Calls `each` for every entry with (level, table, index, frame it refers to).
    fn for_each<E>(
        &self,
        root: u64,
        mut each: impl FnMut(Level, u64, u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let levels = [
            (Level::L4, root, self.first_l3),
            (Level::L3, self.first_l3, self.first_l2),
            (Level::L2, self.first_l2, self.first_l1),
            (Level::L1, self.first_l1, self.first_leaf),
        ];
        for (level, first_table, first_target) in levels {
            let shift = INDEX_BITS * (level as u32 - 1);
            let range = slots(&self.pages, shift);
            for slot in range.clone() {
                // One L4 serves every slot; below it tables are numbered from the one that holds the first slot.
                let table = match level {
                    Level::L4 => first_table,
                    _ => first_table + ((slot >> INDEX_BITS) - (range.start >> INDEX_BITS)),
                };
                each(level, table, slot & INDEX_MASK, first_target + (slot - range.start))?;
            }
        }
        Ok(())
    }
}

/// The slots of size `1 << shift` pages that hold any of `pages`.
fn slots(pages: &Range<u64>, shift: u32) -> Range<u64> {
    if pages.is_empty() { 0..0 } else { pages.start >> shift..((pages.end - 1) >> shift) + 1 }
}

/// Number of tables of `level` (1 to 3) over `pages`.
fn span(pages: &Range<u64>, level: u32) -> u64 {
    let range = slots(pages, INDEX_BITS * level);
    range.end - range.start
}

/// Every page table of the plan with its level, the L4 first. The frames must be zero before [`build`].
pub fn tables(plan: &Plan) -> impl Iterator<Item = (Gfn, Level)> + use<> {
    let root = (plan.page_tables.start - plan.virt_base) >> FRAME_SHIFT;
    core::iter::once((Gfn(root), Level::L4))
        .chain(plan.initial_tree.tables())
        .chain(plan.p2m_tree.as_ref().map(Tree::tables).into_iter().flatten())
}

/// Describes every entry of the plan's page tables. `machine_frame` tells the machine frame behind a frame of
/// the domain, `store` writes one entry. The hypervisor's own L4 slots are left to the caller.
///
/// # Errors
/// The first error that `machine_frame` or `store` returns.
pub fn build<E>(
    plan: &Plan,
    mut machine_frame: impl FnMut(Gfn) -> Result<Mfn, E>,
    mut store: impl FnMut(Entry) -> Result<(), E>,
) -> Result<(), E> {
    let first_table = (plan.page_tables.start - plan.virt_base) >> FRAME_SHIFT;
    let read_only = first_table..first_table + plan.nr_page_tables();
    for tree in core::iter::once(&plan.initial_tree).chain(&plan.p2m_tree) {
        tree.for_each(first_table, |level, table, index, target| {
            let flags = match level {
                Level::L1 if read_only.contains(&target) => READ_ONLY_FLAGS,
                Level::L1 => WRITABLE_FLAGS,
                _ => TABLE_FLAGS,
            };
            let value = machine_frame(Gfn(target))?.maddr().0 | flags;
            store(Entry { level, table: Gfn(table), index: index as usize, value })
        })?;
    }
    Ok(())
}
