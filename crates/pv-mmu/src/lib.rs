//! Page tables of PV guests: every entry validated and counted, so that a guest maps only what it may.
//!
//! A table's entries hold references: an L1 entry a general one (read-only) or a writable one, an entry
//! of a higher level a typed one to the table below. A frame *in work* with cursor k has exactly the
//! references of its entries `0..k`: validation moves the cursor up, its reverse down, a few entries a
//! transaction, so that either can stop or crash anywhere and be taken up by anybody. The state is the
//! frame table's; this crate owns none but locks.
//!
//! A live entry changes by one transaction: the new entry's reference is taken (undone by delta), the
//! write itself is an effect of the commit, the old entry's reference is dropped after it.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod descriptors;
mod entry;
mod given;
mod granted;
mod pin;
mod pte;
mod root;
mod runs;
mod scan;
mod sweep;
mod together;
mod unwork;
mod update;
mod walk;
mod work;

pub(crate) use entry::holds_reference;
pub use entry::{IoRanges, IoRule};
pub use given::apply_put_entries;
pub use granted::{Blocked, Leaf, LiveTable};
pub use pte::{Pte, adjusted_l1, adjusted_table, same_but_ad};
pub use sweep::DeviceTables;
pub use update::{AdBits, EntryWrite, apply_pte, restore_pte};
pub use walk::{Mapping, walk};
pub use work::Outer;

use frames::{FrameError, Frames, Kind, Owner};
use guest_memory::GuestMemory;
use ids::Mfn;
use vault::{LockWord, Preempted};

/// Why an operation on page tables was refused. The errno is `-EINVAL` unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MmuError {
    /// An entry has bits a guest may not set, or its frame is not the guest's or excluded by its use.
    Invalid,
    /// The frame that a live entry was to name is another's, or used so that it excludes this use (`-EBUSY`).
    Busy,
    /// The frame is device memory that the domain may not reach (`-EPERM`).
    NotPermitted,
    /// Not an error: the work goes on when the guest's entry is run again.
    Preempted,
}

impl From<Preempted> for MmuError {
    fn from(_: Preempted) -> Self {
        Self::Preempted
    }
}

impl From<FrameError> for MmuError {
    fn from(_: FrameError) -> Self {
        Self::Invalid
    }
}

/// Locks of page-table frames: by level, then by frame; and which tables may show device memory. Derived.
///
/// Order: a higher level before a lower one, never two of one level. The lock of descriptor tables, which come in
/// sets, is taken with none of them.
#[derive(Debug)]
pub struct TableLocks {
    tables: [[LockWord; 64]; 4],
    descriptors: LockWord,
    /// Tables with writable mappings of device memory.
    pub devices: DeviceTables,
}

impl TableLocks {
    /// Free locks.
    pub const fn new() -> Self {
        Self {
            tables: [const { [const { LockWord::new() }; 64] }; 4],
            descriptors: LockWord::new(),
            devices: DeviceTables::new(),
        }
    }

    fn of(&'static self, mfn: Mfn, level: u32) -> &'static LockWord {
        &self.tables[(level - 1) as usize & 3][(mfn.0 % 64) as usize]
    }
}

impl Default for TableLocks {
    fn default() -> Self {
        Self::new()
    }
}

/// What page-table work needs: the frame table, memory, and the rules for device memory.
pub struct Mmu<'a, M> {
    /// The frame table.
    pub frames: &'a Frames,
    /// Machine memory.
    pub memory: &'a M,
    /// Table locks.
    pub locks: &'static TableLocks,
    /// What Dom0 may not map.
    pub io: &'a IoRanges,
    /// The hypervisor's entries 256 to 271 of every root table.
    pub hypervisor_slots: &'a [u64; 16],
}

impl<M> core::fmt::Debug for Mmu<'_, M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Mmu")
    }
}

impl<M> Clone for Mmu<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Mmu<'_, M> {}

/// On whose behalf: whose tables are changed and whose frames their leaf entries may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Owner of the page tables.
    pub tables: Owner,
    /// Owner of the frames that L1 entries map (the tables' owner, or a foreign domain).
    pub leaves: Owner,
    /// Whether the tables' owner may map device memory.
    pub io: bool,
}

impl<M: GuestMemory> Mmu<'_, M> {
    /// Whether `mfn` is a validated table of `level` that belongs to `owner`; stable while the caller
    /// holds the table's lock.
    fn is_live_table(&self, mfn: Mfn, owner: Owner, kind: Kind) -> bool {
        self.frames.frame(mfn).is_some_and(|f| {
            let u = f.usage();
            u.owner() == owner && u.kind() == kind && u.is_validated()
        })
    }
}
