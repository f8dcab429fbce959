//! Grant tables: the frames in which a domain says what it lets others map (public/grant_table.h).
//!
//! A table grows by frames that the hypervisor shares with the domain and never shrinks while the domain
//! lives. Only version 1 entries are offered; mappings are not there yet.
//!
//! State class: the records are durable, their contents shared with the guest; nothing is derived.
#![no_std]
#![forbid(unsafe_code)]

use frames::{Frames, NoMemory};
use ids::{DomainSlot, Mfn};
use vault::{Arena, Durable, LockWord, Tx, record};

/// Frames a table may have (`gnttab_max_frames`, Xen's default).
pub const MAX_FRAMES: u32 = 64;
/// Frames a table has before it grows, as reported (`INITIAL_NR_GRANT_FRAMES`).
pub const INITIAL_FRAMES: u32 = 1;
/// The entry format.
pub const VERSION: u32 = 1;

record! {
    /// The grant table of one domain slot.
    ///
    /// Lock: `Locks` of the slot. Rebuild: nothing is derived.
    pub struct Table {
        count: Durable<u32>,
        spare: Durable<u32>,
        frames: [Durable<Mfn>; MAX_FRAMES as usize],
    }
}

/// Locks of the tables, by domain slot. Derived: all free after a start.
#[derive(Debug)]
pub struct Locks([LockWord; 64]);

impl Locks {
    /// Free locks.
    pub const fn new() -> Self {
        Self([const { LockWord::new() }; 64])
    }
}

impl Default for Locks {
    fn default() -> Self {
        Self::new()
    }
}

/// All tables.
#[derive(Clone, Copy)]
pub struct Region {
    tables: &'static [Table],
    locks: &'static Locks,
}

impl core::fmt::Debug for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Region({} grant tables)", self.tables.len())
    }
}

impl Region {
    /// Carves a table for each of `domains` slots. `None` when the arena is too small.
    pub fn carve(arena: &mut Arena, domains: usize, locks: &'static Locks) -> Option<Self> {
        Some(Self { tables: arena.carve(domains)?, locks })
    }

    fn table(&self, slot: DomainSlot) -> &'static Table {
        &self.tables[usize::from(slot.0)]
    }

    /// Frames the domain's table is said to have.
    pub fn count(&self, slot: DomainSlot) -> u32 {
        self.table(slot).count.get().max(INITIAL_FRAMES)
    }

    /// The frames that are there, for the audit and for listing.
    pub fn frames(&self, slot: DomainSlot) -> impl Iterator<Item = Mfn> {
        let table = self.table(slot);
        table.frames[..table.count.get().min(MAX_FRAMES) as usize].iter().map(Durable::get)
    }

    /// Adds one frame to a table of fewer than `wanted` ones; `prepare` gets it before anybody can see it
    /// and clears it. `Ok(false)`: the table has as many.
    ///
    /// # Errors
    /// [`NoMemory`]; also for more than [`MAX_FRAMES`].
    pub fn grow_by_one(
        &self,
        tx: &mut Tx<'_>,
        frames: Frames,
        slot: DomainSlot,
        wanted: u32,
        prepare: impl FnOnce(Mfn),
    ) -> Result<bool, NoMemory> {
        let table = self.table(slot);
        tx.lock(&self.locks.0[usize::from(slot.0) % self.locks.0.len()]);
        let count = table.count.get();
        if count >= wanted {
            return Ok(false);
        }
        let place = table.frames.get(count as usize).ok_or(NoMemory)?;
        let mfn = frames.allocate_shared(tx, slot)?;
        prepare(mfn);
        tx.set(place, mfn);
        tx.set(&table.count, count + 1);
        Ok(true)
    }
}
