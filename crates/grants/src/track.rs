//! Tracks: who maps what, from a pool that all domains share.

use crate::table::HEADS;
use crate::{Limits, Region, Want};
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
    /// Lock: the granter's table's; `next` of a free one the pool's; `waiting` its vCPU's own.
    /// Rebuild: nothing is derived.
    pub struct Track {
        /// Reference (0..32), the granter's slot (32..48), a [`Use`] (48..64); 0: free.
        pub(crate) grant: Durable<u64>,
        /// The frame (0..48), the mapper's slot (48..64).
        frame: Durable<u64>,
        /// The next on the granter's list, or of the pool; 0: none.
        pub(crate) next: Durable<u32>,
        /// The next on the list of a vCPU's that wait for a flush; 0: none.
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

impl Pins {
    pub(crate) const fn any(&self) -> bool {
        self.readers + self.writers > 0
    }
}

const SLOT: u32 = 48;
const FRAME: u64 = (1 << SLOT) - 1;

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

    pub(crate) fn set_usage(&self, tx: &mut Tx<'static>, usage: Use) {
        tx.set(&self.grant, self.grant.get() & FRAME | u64::from(usage.0) << SLOT);
    }

    pub(crate) fn mfn(&self) -> Mfn {
        Mfn(self.frame.get() & FRAME)
    }

    pub(crate) fn mapper(&self) -> DomainSlot {
        DomainSlot((self.frame.get() >> SLOT) as u16)
    }
}

/// Which list of its granter a reference belongs to.
fn list(gref: u32) -> usize {
    gref as usize % HEADS
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

    /// How a grant is in use by mappings; the granter's lock must be held.
    pub(crate) fn pins(&self, granter: DomainSlot, gref: u32) -> Pins {
        let mut pins = Pins { readers: 0, writers: 0, frame: Mfn(0), mapper: granter };
        let mut number = self.table(granter).heads[list(gref)].get();
        while let Some(track) = self.track(number) {
            number = track.next.get();
            if track.gref() == gref {
                let count = if track.usage().writes() { &mut pins.writers } else { &mut pins.readers };
                *count += 1;
                (pins.frame, pins.mapper) = (track.mfn(), track.mapper());
            }
        }
        pins
    }

    /// Finds room for one more mapping, then locks the granter's table. Half of the pool is Dom0's alone
    /// (`privileged`), who serves all others.
    ///
    /// # Errors
    /// `GNTST_no_space`.
    pub fn reserve(&self, tx: &mut Tx<'static>, want: &Want, privileged: bool) -> Result<u32, i16> {
        self.lock_pool(tx);
        let limit = u64::from(self.limits(want.mapper).maptrack_frames) * u64::from(Limits::TRACKS_A_FRAME);
        let pool = self.tracks.len() as u32;
        let most = if privileged { pool } else { pool / 2 };
        if u64::from(self.table(want.mapper).tracks.get()) >= limit || self.pool.used.get() >= most {
            return Err(GNTST_NO_SPACE);
        }
        let number = match self.pool.free.get() {
            0 => self.pool.fresh.get() + 1,
            free => free,
        };
        self.lock(tx, want.granter);
        if !privileged && self.length(want) >= LONGEST {
            return Err(GNTST_NO_SPACE);
        }
        Ok(number)
    }

    /// Tracks on the list that a grant's would come to.
    fn length(&self, want: &Want) -> u32 {
        let (mut length, mut number) = (0, self.table(want.granter).heads[list(want.gref)].get());
        while let Some(track) = self.track(number) {
            (length, number) = (length + 1, track.next.get());
        }
        length
    }

    /// Enters a mapping of a claimed grant in the track that [`reserve`](Self::reserve) found; it holds a reference to
    /// the frame (typed as writable, if it is not read-only), which the caller has taken in this transaction. Returns
    /// its handle.
    pub fn enter(&self, tx: &mut Tx<'static>, number: u32, want: &Want, frame: Mfn, usage: Use) -> u32 {
        let Some(track) = self.track(number) else { return u32::MAX };
        let (pool, head) = (self.pool, &self.table(want.granter).heads[list(want.gref)]);
        if pool.free.get() == number {
            tx.set(&pool.free, track.next.get());
        } else {
            tx.set(&pool.fresh, number);
        }
        tx.set(&pool.used, pool.used.get() + 1);
        let held = &self.table(want.mapper).tracks;
        tx.set(held, held.get() + 1);
        let usage = u64::from(usage.0 | Use::TAKEN);
        tx.set(&track.grant, u64::from(want.gref) | u64::from(want.granter.0) << 32 | usage << SLOT);
        tx.set(&track.frame, frame.0 & FRAME | u64::from(want.mapper.0) << SLOT);
        tx.set(&track.next, head.get());
        tx.set(head, number);
        number - 1
    }

    /// Takes a track off its granter's list and gives it back to the pool; both locks are held.
    pub(crate) fn give_back(&self, tx: &mut Tx<'static>, number: u32, track: &'static Track) {
        let mut link = &self.table(track.granter()).heads[list(track.gref())];
        while link.get() != number {
            let Some(before) = self.track(link.get()) else { break };
            link = &before.next;
        }
        if link.get() == number {
            tx.set(link, track.next.get());
        }
        let held = &self.table(track.mapper()).tracks;
        tx.set(held, held.get().saturating_sub(1));
        tx.set(&track.grant, 0);
        tx.set(&track.next, self.pool.free.get());
        tx.set(&self.pool.free, number);
        tx.set(&self.pool.used, self.pool.used.get().saturating_sub(1));
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
