//! Grant tables: what a domain lets others map and copy, and who does (public/grant_table.h).
//!
//! A domain writes *entries* to frames that it shares with the hypervisor. Who maps a grant gets a *track*, a record
//! from a pool that all domains share: the grant, the frame, the mapper. It holds one reference to the frame of its
//! own, beside the one of the page-table entry, so that the two go in any order. The tracks of a granter's grants are
//! linked by reference, and they are all there is: how often an entry is in use is counted over them when asked.
//!
//! While an entry is in use its flags *reading* and *writing* say so to the granter. They are shared words: set before
//! the commit of whoever takes the entry into use (undone by clearing them again), cleared by an effect of whoever was
//! the last. The granter's lock is held over both, so nobody else sets or clears them meanwhile.
//!
//! Locks, in this order: the pool's, then those of granters in the order of slots; under them page tables' and frames'.
//!
//! State class: the records are durable, the entries shared with guests; nothing is derived.
#![no_std]
#![forbid(unsafe_code)]

mod claim;
mod entry;
mod format;
mod limits;
mod release;
mod table;
mod track;
mod transfer;
mod unmap;

pub use claim::{Claim, Parties, Want};
pub use limits::Limits;
pub use table::{INITIAL_FRAMES, MAX_FRAMES, Table, status_frames};
pub use track::{Filling, Mapped, Pool, READERS_AT_MOST, Track, Use, Waiting};
pub use unmap::{Leaving, Mapping, NoMapping};

use ids::DomainSlot;
use vault::{Arena, LockWord, Tx};

/// Machine frames for each of which the pool has a track, and the fewest and the most that there are.
const FRAMES_A_TRACK: usize = 64;
const FEWEST_TRACKS: usize = 256;
const MOST_TRACKS: usize = 1 << 20;

/// Tracks that a machine of `frames` frames has.
pub const fn tracks_of(frames: usize) -> usize {
    let wanted = frames / FRAMES_A_TRACK;
    if wanted < FEWEST_TRACKS {
        FEWEST_TRACKS
    } else if wanted > MOST_TRACKS {
        MOST_TRACKS
    } else {
        wanted
    }
}

/// Locks of the tables, by domain slot, and of the pool. Derived: all free after a start.
#[derive(Debug)]
pub struct Locks {
    tables: [LockWord; 64],
    pool: LockWord,
}

impl Locks {
    /// Free locks.
    pub const fn new() -> Self {
        Self { tables: [const { LockWord::new() }; 64], pool: LockWord::new() }
    }
}

impl Default for Locks {
    fn default() -> Self {
        Self::new()
    }
}

/// All tables and tracks.
#[derive(Clone, Copy)]
pub struct Region {
    tables: &'static [Table],
    tracks: &'static [Track],
    pool: &'static Pool,
    waiting: &'static [Waiting],
    locks: &'static Locks,
    /// What a domain may have if nothing else is said of it. Immutable: from the command line.
    pub defaults: Limits,
    /// Whether domains may give frames to each other. Immutable: from the command line.
    pub transfers: bool,
}

impl core::fmt::Debug for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Region({} grant tables, {} tracks)", self.tables.len(), self.tracks.len())
    }
}

impl Region {
    /// Carves a table for each of `domains` slots, what `vcpus` vCPUs need, and a pool for a machine of `frames`
    /// frames. `None` when the arena is too small.
    pub fn carve(
        arena: &mut Arena,
        domains: usize,
        vcpus: usize,
        frames: usize,
        locks: &'static Locks,
    ) -> Option<Self> {
        Some(Self {
            tables: arena.carve(domains)?,
            tracks: arena.carve(tracks_of(frames))?,
            pool: arena.carve(1)?.first()?,
            waiting: arena.carve(vcpus)?,
            locks,
            defaults: Limits::DEFAULT,
            transfers: true,
        })
    }

    fn table(&self, slot: DomainSlot) -> &'static Table {
        &self.tables[usize::from(slot.0)]
    }

    /// Takes the lock of a domain's table.
    pub fn lock(&self, tx: &mut Tx<'static>, slot: DomainSlot) {
        tx.lock(&self.locks.tables[usize::from(slot.0) % self.locks.tables.len()]);
    }

    /// Takes the locks of two domains' tables, in their order.
    pub fn lock_both(&self, tx: &mut Tx<'static>, one: DomainSlot, other: DomainSlot) {
        let place = |slot: DomainSlot| usize::from(slot.0) % self.locks.tables.len();
        let (first, second) = (place(one).min(place(other)), place(one).max(place(other)));
        tx.lock(&self.locks.tables[first]);
        tx.lock(&self.locks.tables[second]);
    }
}
