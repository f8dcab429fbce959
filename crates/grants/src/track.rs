//! Tracks: who maps what, from a pool that all domains share.

use crate::table::HEADS;
use crate::{Limits, Parties, Region, Table};
use ids::{DomainSlot, Mfn, VcpuSlot};
use vault::{Durable, Tx, record};
use xen_abi::grant_table::GNTST_NO_SPACE;

/// Mappings of one grant for reading, and as many for writing, at most; Xen's counters overflow there.
pub const READERS_AT_MOST: u32 = 128;
/// Tracks of one list that a domain other than Dom0 may add to: whoever looks for a grant goes through all.
const LONGEST: u32 = 512;

record! {
    /// A mapping of a grant, or a part of the pool.
    ///
    /// Lock: the granter's table's; `waiting` of a free one the pool's, else its vCPU's own.
    /// Rebuild: nothing is derived.
    pub struct Track {
        /// Reference (0..32), the granter's slot (32..48), a [`Use`] (48..64); 0: free.
        pub(crate) grant: Durable<u64>,
        /// The frame (0..48), the mapper's slot (48..64).
        pub(crate) frame: Durable<u64>,
        /// The next on the granter's list; 0: none. Says nothing of a free track, nor does `frame`.
        pub(crate) next: Durable<u32>,
        /// The next on the list of a vCPU's that wait for a flush, or of the pool; 0: none. Says nothing of a mapping that
        /// somebody can use.
        pub(crate) waiting: Durable<u32>,
    }
}

record! {
    /// The pool of tracks.
    ///
    /// Lock: `Locks::pool`. Rebuild: nothing is derived.
    pub struct Pool {
        /// First free track; 0: none.
        pub(crate) free: Durable<u32>,
        /// Tracks that have ever been used; those behind are free too.
        pub(crate) fresh: Durable<u32>,
        /// Tracks in use.
        pub(crate) used: Durable<u32>,
        spare: Durable<u32>,
    }
}

record! {
    /// The mappings that a vCPU has removed from page tables and not yet given up: the processors flush in between.
    ///
    /// Lock: none, its own vCPU's alone; the pool's at its domain's end. Rebuild: nothing is derived.
    pub struct Waiting {
        /// First track; 0: none.
        pub(crate) head: Durable<u32>,
        spare: Durable<u32>,
    }
}

/// What a mapping is for: bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use(pub u16);

impl Use {
    /// A page-table entry.
    pub const HOST: u16 = 1;
    /// A device's access.
    pub const DEVICE: u16 = 2;
    /// Not for writing.
    pub const READ_ONLY: u16 = 4;
    /// The page-table entry was named by its machine address.
    pub const BY_ENTRY: u16 = 8;
    /// It holds two references: the one of its page-table entry, which is gone, too.
    pub const BOTH: u16 = 1 << 14;
    /// The track is not free.
    pub(crate) const TAKEN: u16 = 1 << 15;

    /// Whether it has one of these bits.
    pub const fn has(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    /// Whether it is for writing too.
    pub const fn writes(self) -> bool {
        !self.has(Self::READ_ONLY)
    }

    /// References to the frame that it holds.
    pub const fn references(self) -> usize {
        if self.has(Self::BOTH) { 2 } else { 1 }
    }

    /// Whether anybody can use the mapping.
    pub const fn is_alive(self) -> bool {
        self.has(Self::HOST | Self::DEVICE)
    }
}

/// How an entry is in use, by mappings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pins {
    pub(crate) readers: u32,
    pub(crate) writers: u32,
    pub(crate) frame: Mfn,
    pub(crate) mapper: DomainSlot,
}

pub(crate) const SLOT: u32 = 48;
pub(crate) const FRAME: u64 = (1 << SLOT) - 1;

impl Track {
    pub(crate) fn gref(&self) -> u32 {
        self.grant.get() as u32
    }

    pub(crate) fn granter(&self) -> DomainSlot {
        DomainSlot((self.grant.get() >> 32) as u16)
    }

    pub(crate) fn usage(&self) -> Use {
        Use((self.grant.get() >> SLOT) as u16)
    }

    pub(crate) fn mfn(&self) -> Mfn {
        Mfn(self.frame.get() & FRAME)
    }

    pub(crate) fn mapper(&self) -> DomainSlot {
        DomainSlot((self.frame.get() >> SLOT) as u16)
    }
}

impl Table {
    /// The first track of the list that a reference belongs to.
    #[inline(always)]
    pub(crate) fn head(&self, gref: u32) -> &Durable<u32> {
        &self.heads[gref as usize % HEADS]
    }
}

/// Tracks that a transaction fills for one domain; the pool's words follow when it is done
/// ([`Region::filled`]).
#[derive(Debug)]
pub struct Filling {
    mapper: DomainSlot,
    privileged: bool,
    free: u32,
    fresh: u32,
    /// How many it may be.
    left: u32,
    filled: u32,
}

/// Tracks of one domain that a transaction gives back; the pool's words follow when it is done.
pub(crate) struct Emptying {
    mapper: DomainSlot,
    /// First free track.
    pub(crate) free: u32,
    emptied: u32,
}

impl Region {
    /// A track by its number, from 1.
    pub(crate) fn track(&self, number: u32) -> Option<&'static Track> {
        self.tracks.get((number as usize).checked_sub(1)?)
    }

    pub(crate) fn waiting(&self, vcpu: VcpuSlot) -> &'static Waiting {
        &self.waiting[vcpu.0 as usize]
    }

    pub(crate) fn lock_pool(&self, tx: &mut Tx<'static>) {
        tx.lock(&self.locks.pool);
    }

    /// How a grant is in use by mappings, if it is; the granter's lock must be held.
    #[inline(always)]
    pub(crate) fn pins(&self, table: &Table, gref: u32) -> Option<Pins> {
        let first = table.head(gref).get();
        if first == 0 { None } else { self.count_pins(first, gref) }
    }

    #[inline(never)]
    fn count_pins(&self, first: u32, gref: u32) -> Option<Pins> {
        let mut found: Option<Pins> = None;
        let mut number = first;
        while let Some(track) = self.track(number) {
            number = track.next.get();
            if track.gref() == gref {
                let (frame, mapper) = (track.mfn(), track.mapper());
                let pins = found.get_or_insert(Pins { readers: 0, writers: 0, frame, mapper });
                let count = if track.usage().writes() { &mut pins.writers } else { &mut pins.readers };
                *count += 1;
            }
        }
        found
    }

    /// Begins to fill tracks for `mapper`: locks the pool.
    pub fn fill(&self, tx: &mut Tx<'static>, mapper: DomainSlot, privileged: bool) -> Filling {
        self.lock_pool(tx);
        let limit = u64::from(self.limits(mapper).maptrack_frames) * u64::from(Limits::TRACKS_A_FRAME);
        let (pool, held) = (self.tracks.len() as u32, self.table(mapper).tracks.get());
        let most = if privileged { pool } else { pool / 2 };
        let used = self.pool.used.get();
        let own = limit.saturating_sub(held.into()).min(u64::from(u32::MAX)) as u32;
        let left = own.min(most.saturating_sub(used));
        let (free, fresh) = (self.pool.free.get(), self.pool.fresh.get());
        Filling { mapper, privileged, free, fresh, left, filled: 0 }
    }

    /// Whether there is room for one more mapping; the granter's table is locked. Half of the pool is Dom0's alone
    /// (`privileged`), who serves all others.
    ///
    /// # Errors
    /// `GNTST_no_space`.
    #[inline(always)]
    pub fn room(&self, filling: &Filling, parties: &Parties, gref: u32) -> Result<(), i16> {
        let full = filling.filled >= filling.left;
        let is_long = || !filling.privileged && self.length(parties.table, gref) >= LONGEST;
        if full || is_long() { Err(GNTST_NO_SPACE) } else { Ok(()) }
    }

    /// Tracks on the list that a grant's would come to.
    fn length(&self, table: &Table, gref: u32) -> u32 {
        let (mut length, mut number) = (0, table.head(gref).get());
        while let Some(track) = self.track(number) {
            (length, number) = (length + 1, track.next.get());
        }
        length
    }

    /// Enters a mapping of a claimed grant, for which there is [room](Self::room), in the next track; it holds a
    /// reference to the frame (typed as writable, if it is not read-only), which the caller has taken in this
    /// transaction. Returns its handle.
    #[inline(always)]
    pub fn enter(
        &self,
        tx: &mut Tx<'static>,
        filling: &mut Filling,
        parties: &Parties,
        gref: u32,
        frame: Mfn,
        usage: Use,
    ) -> u32 {
        let is_fresh = filling.free == 0;
        let number = if is_fresh { filling.fresh + 1 } else { filling.free };
        let Some(track) = self.track(number) else { return u32::MAX };
        if is_fresh {
            filling.fresh = number;
        } else {
            filling.free = track.waiting.get();
        }
        filling.filled += 1;
        let head = parties.table.head(gref);
        let usage = u64::from(usage.0 | Use::TAKEN);
        tx.prepare(&track.frame, frame.0 & FRAME | u64::from(parties.mapper.0) << SLOT);
        tx.prepare(&track.next, head.get());
        tx.set(&track.grant, u64::from(gref) | u64::from(parties.granter.0) << 32 | usage << SLOT);
        tx.set(head, number);
        number - 1
    }

    /// Counts the tracks that were filled.
    pub fn filled(&self, tx: &mut Tx<'static>, filling: &Filling) {
        if filling.filled == 0 {
            return;
        }
        let held = &self.table(filling.mapper).tracks;
        tx.set(held, held.get() + filling.filled);
        tx.set(&self.pool.used, self.pool.used.get() + filling.filled);
        for (word, value) in [(&self.pool.fresh, filling.fresh), (&self.pool.free, filling.free)] {
            if word.get() != value {
                tx.set(word, value);
            }
        }
    }

    /// Begins to give tracks of `mapper`'s back: locks the pool.
    pub(crate) fn empty(&self, tx: &mut Tx<'static>, mapper: DomainSlot) -> Emptying {
        self.lock_pool(tx);
        Emptying { mapper, free: self.pool.free.get(), emptied: 0 }
    }

    /// Takes a track off the list of its granter, whose table is locked: it is free. The pool's list is the caller's.
    #[inline(always)]
    pub(crate) fn take_off(
        &self,
        tx: &mut Tx<'static>,
        emptying: &mut Emptying,
        table: &'static Table,
        number: u32,
        track: &'static Track,
    ) {
        let head = table.head(track.gref());
        let link = if head.get() == number { Some(head) } else { self.link_to(head, number) };
        if let Some(link) = link {
            tx.set(link, track.next.get());
        }
        tx.set(&track.grant, 0);
        emptying.emptied += 1;
    }

    /// The link to a track on the list that begins at `link`.
    #[inline(never)]
    fn link_to(&self, mut link: &'static Durable<u32>, number: u32) -> Option<&'static Durable<u32>> {
        while link.get() != number {
            link = &self.track(link.get())?.next;
        }
        Some(link)
    }

    /// Counts the tracks that were given back.
    pub(crate) fn emptied(&self, tx: &mut Tx<'static>, emptying: &Emptying) {
        if emptying.emptied == 0 {
            return;
        }
        let held = &self.table(emptying.mapper).tracks;
        tx.set(held, held.get().saturating_sub(emptying.emptied));
        tx.set(&self.pool.free, emptying.free);
        tx.set(&self.pool.used, self.pool.used.get().saturating_sub(emptying.emptied));
    }

    /// Every mapping there is, for audits.
    pub fn mappings(&self) -> impl Iterator<Item = Mapped> {
        let taken = (0..).zip(self.tracks).filter(|(_, track)| track.grant.get() != 0);
        taken.map(|(handle, track)| Mapped {
            handle,
            granter: track.granter(),
            gref: track.gref(),
            mapper: track.mapper(),
            frame: track.mfn(),
            usage: track.usage(),
        })
    }
}

/// A mapping, as its record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    /// What the mapper calls it.
    pub handle: u32,
    /// Whose grant.
    pub granter: DomainSlot,
    /// Its reference.
    pub gref: u32,
    /// Who has it mapped.
    pub mapper: DomainSlot,
    /// The frame.
    pub frame: Mfn,
    /// What for.
    pub usage: Use,
}
