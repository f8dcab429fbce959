//! A domain's table: its frames, format and limits.

use crate::{Limits, Region};
use frames::{Frames, NoMemory};
use ids::{DomainSlot, Mfn};
use vault::{Durable, Tx, record};

/// Frames a table may have at most (`gnttab_max_frames`, Xen's default).
pub const MAX_FRAMES: u32 = 64;
/// Frames a table has before it grows, as reported (`INITIAL_NR_GRANT_FRAMES`).
pub const INITIAL_FRAMES: u32 = 1;
/// Status frames of the largest table in format 2.
const MAX_STATUS: usize = status_frames(MAX_FRAMES) as usize;
/// Lists of tracks a table has, by reference.
pub(crate) const HEADS: usize = 512;

/// Status frames that `frames` frames of entries need in format 2.
pub const fn status_frames(frames: u32) -> u32 {
    // A status is two bytes, an entry 16.
    frames.div_ceil(8)
}

record! {
    /// The grant table of one domain slot. Zeroed, it is open, has no frames yet and the machine's limits.
    ///
    /// Lock: `Locks::tables` of the slot; `tracks` and `cursor` the pool's. Rebuild: nothing is derived.
    pub struct Table {
        /// Frames of entries.
        pub(crate) count: Durable<u32>,
        /// Status frames.
        pub(crate) status_count: Durable<u32>,
        pub(crate) frames: [Durable<Mfn>; MAX_FRAMES as usize],
        pub(crate) status: [Durable<Mfn>; MAX_STATUS],
        /// Its entries have format 2.
        pub(crate) is_v2: Durable<bool>,
        /// The domain is ending: nobody takes its entries into use any more.
        pub(crate) closed: Durable<bool>,
        /// Highest format; 0: the machine's.
        max_version: Durable<u16>,
        /// Frames at most; 0: the machine's.
        max_frames: Durable<u32>,
        /// Mappings at most, plus one; 0: the machine's.
        max_tracks: Durable<u64>,
        /// Tracks that the domain holds.
        pub(crate) tracks: Durable<u32>,
        /// How far the tracks were looked through at the domain's end.
        pub(crate) cursor: Durable<u32>,
        /// First track of the grants whose reference has this remainder; 0: none.
        pub(crate) heads: [Durable<u32>; HEADS],
    }
}

impl Region {
    /// Opens the table of a new domain in a slot that [is free](Self::is_free). Its frames come when they are asked for.
    pub fn open(&self, tx: &mut Tx<'static>, slot: DomainSlot, limits: Limits) {
        let table = self.table(slot);
        self.lock(tx, slot);
        tx.set(&table.is_v2, false);
        tx.set(&table.closed, false);
        tx.set(&table.cursor, 0);
        tx.set(&table.max_version, limits.version as u16);
        tx.set(&table.max_frames, limits.frames.clamp(1, MAX_FRAMES));
        let tracks = u64::from(limits.maptrack_frames) * u64::from(Limits::TRACKS_A_FRAME);
        tx.set(&table.max_tracks, tracks + 1);
    }

    /// The domain's limits.
    pub fn limits(&self, slot: DomainSlot) -> Limits {
        let table = self.table(slot);
        let or = |value: u32, default| if value == 0 { default } else { value };
        let tracks = table.max_tracks.get().checked_sub(1);
        Limits {
            frames: or(table.max_frames.get(), self.defaults.frames.clamp(1, MAX_FRAMES)),
            maptrack_frames: tracks.map_or(self.defaults.maptrack_frames, |tracks| {
                u32::try_from(tracks / u64::from(Limits::TRACKS_A_FRAME)).unwrap_or(u32::MAX)
            }),
            version: or(table.max_version.get().into(), self.defaults.version),
        }
    }

    /// The format of its entries: 1 or 2.
    pub fn version(&self, slot: DomainSlot) -> u32 {
        1 + u32::from(self.table(slot).is_v2.get())
    }

    /// Frames the domain's table is said to have.
    pub fn count(&self, slot: DomainSlot) -> u32 {
        self.table(slot).count.get().max(INITIAL_FRAMES)
    }

    /// The frames of entries that are there.
    pub fn frames(&self, slot: DomainSlot) -> impl Iterator<Item = Mfn> {
        let table = self.table(slot);
        table.frames[..table.count.get().min(MAX_FRAMES) as usize].iter().map(Durable::get)
    }

    /// The status frames that are there.
    pub fn status(&self, slot: DomainSlot) -> impl Iterator<Item = Mfn> {
        let table = self.table(slot);
        table.status[..(table.status_count.get() as usize).min(MAX_STATUS)].iter().map(Durable::get)
    }

    /// Adds one frame to a table of fewer than `wanted` ones, or a status frame that such a table lacks; `prepare` gets
    /// it before anybody can see it and clears it. `Ok(false)`: the table has as many.
    ///
    /// # Errors
    /// [`NoMemory`]; also for more than the domain may have, and when it is ending.
    pub fn grow_by_one(
        &self,
        tx: &mut Tx<'static>,
        frames: Frames,
        slot: DomainSlot,
        wanted: u32,
        prepare: impl FnOnce(Mfn),
    ) -> Result<bool, NoMemory> {
        let table = self.table(slot);
        self.lock(tx, slot);
        let (count, status) = (table.count.get(), table.status_count.get());
        let lacks_status = table.is_v2.get() && status < status_frames(count.max(wanted));
        if count >= wanted && !lacks_status {
            return Ok(false);
        }
        if wanted > self.limits(slot).frames || table.closed.get() {
            return Err(NoMemory);
        }
        // Before the frame whose entries it is for.
        let (list, counter) = if lacks_status {
            (&table.status[..], &table.status_count)
        } else {
            (&table.frames[..], &table.count)
        };
        let place = list.get(counter.get() as usize).ok_or(NoMemory)?;
        let mfn = frames.allocate_shared(tx, slot)?;
        prepare(mfn);
        tx.set(place, mfn);
        tx.set(counter, counter.get() + 1);
        Ok(true)
    }
}
