//! The end of a domain's table: what it maps is given up, then what it shares.

use crate::Region;
use frames::Frames;
use ids::DomainSlot;
use vault::Tx;

/// Tracks that one step looks at, and mappings that it ends.
const LOOKED_AT: u32 = 512;
const ENDED: u32 = 24;
/// Frames that one step gives back.
const GIVEN_BACK: u32 = 16;

impl Region {
    /// The domain is ending: nobody takes its grants into use any more. What is mapped stays mapped.
    pub fn close(&self, tx: &mut Tx<'static>, slot: DomainSlot) {
        self.lock(tx, slot);
        tx.set(&self.table(slot).closed, true);
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self, slot: DomainSlot) -> bool {
        self.table(slot).closed.get()
    }

    /// A step of giving up what a domain maps. Its vCPUs must not run any more, on any processor; its page tables may
    /// be taken apart before or after. `false`: nothing is left.
    pub fn release_mappings(&self, tx: &mut Tx<'static>, slot: DomainSlot) -> bool {
        let table = self.table(slot);
        let mut emptying = self.empty(tx, slot);
        let (mut at, mut ended, mut granter) = (table.cursor.get(), 0, None);
        let last = self.pool.fresh.get().min(at.saturating_add(LOOKED_AT));
        while at < last && ended < ENDED && table.tracks.get() > ended {
            let Some(track) = self.track(at + 1) else { break };
            if track.grant.get() != 0 && track.mapper() == slot {
                // One granter's lock at a time.
                if granter.is_some_and(|granter| granter != track.granter()) {
                    break;
                }
                granter = Some(track.granter());
                self.lock(tx, track.granter());
                self.end(tx, &mut emptying, self.table(track.granter()), at + 1, track);
                tx.set(&track.waiting, emptying.free);
                emptying.free = at + 1;
                ended += 1;
            }
            at += 1;
        }
        self.emptied(tx, &emptying);
        tx.set(&table.cursor, at);
        table.tracks.get() > 0 && at < self.pool.fresh.get()
    }

    /// A vCPU of a domain whose mappings are all given up waits for none of them any more.
    pub fn forget_waiting(&self, tx: &mut Tx<'static>, vcpu: ids::VcpuSlot) {
        self.lock_pool(tx);
        tx.set(&self.waiting(vcpu).head, 0);
    }

    /// A step of giving up the table's frames, of a domain that is [closed](Self::close): each is one of the frames that
    /// leave with the domain, free when nobody maps it any more. `false`: it has none.
    pub fn release_frames(&self, tx: &mut Tx<'static>, frames: Frames, slot: DomainSlot) -> bool {
        let table = self.table(slot);
        self.lock(tx, slot);
        let mut given = 0;
        let lists = [(&table.status[..], &table.status_count), (&table.frames[..], &table.count)];
        for (list, count) in lists {
            while count.get() > 0 && given < GIVEN_BACK {
                let Some(place) = list.get(count.get() as usize - 1) else { break };
                frames.leave_shared(tx, slot, place.get());
                tx.set(count, count.get() - 1);
                given += 1;
            }
        }
        given > 0
    }

    /// Whether nothing of the table is left: no frames, no mappings by the domain or of its grants. Before that its
    /// slot must not be another domain's.
    pub fn is_free(&self, slot: DomainSlot) -> bool {
        let table = self.table(slot);
        let counts = [&table.count, &table.status_count, &table.tracks];
        counts.iter().all(|count| count.get() == 0) && table.heads.iter().all(|head| head.get() == 0)
    }
}
