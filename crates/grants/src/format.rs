//! The format of a table's entries: its change, and the exchange of two entries.

use crate::entry::Place;
use crate::table::status_frames;
use crate::{INITIAL_FRAMES, Region};
use frames::{Frames, NoMemory};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr, Mfn};
use vault::{Effect, Tx, kind};
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTST_BAD_GNTREF, GNTST_EAGAIN, GNTTAB_NR_RESERVED_ENTRIES, GTF_INVALID, GTF_PERMIT_ACCESS, GTF_READING,
    GTF_TRANSITIVE, GTF_TYPE_MASK, GTF_WRITING,
};

/// Entries that a change of format keeps.
const KEPT: usize = GNTTAB_NR_RESERVED_ENTRIES as usize;
/// Words of the first frame that they take in format 2, which is the longer.
const KEPT_WORDS: usize = 2 * KEPT;
const IN_USE: u16 = GTF_READING | GTF_WRITING;

/// What is kept of an entry.
#[derive(Clone, Copy, Default)]
struct Kept {
    flags: u16,
    domain: u16,
    frame: u64,
}

fn store(at: Maddr, value: u64) -> Effect {
    Effect { kind: kind::GUEST_STORE, x: 8, a: at.0, b: value }
}

impl Region {
    /// Adds a status frame that the table needs to get format 2. `Ok(false)`: it has all.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn grow_status(
        &self,
        tx: &mut Tx<'static>,
        frames: Frames,
        slot: DomainSlot,
        prepare: impl FnOnce(Mfn),
    ) -> Result<bool, NoMemory> {
        let table = self.table(slot);
        self.lock(tx, slot);
        let have = table.status_count.get();
        if have >= status_frames(table.count.get().max(INITIAL_FRAMES)) {
            return Ok(false);
        }
        let place = table.status.get(have as usize).ok_or(NoMemory)?;
        let mfn = frames.allocate_shared(tx, slot)?;
        prepare(mfn);
        tx.set(place, mfn);
        tx.set(&table.status_count, have + 1);
        Ok(true)
    }

    /// Changes the format: the first entries are kept, the others cleared, none of which may be in use. Format 2 needs
    /// its status frames ([`grow_status`](Self::grow_status)) before; they are given back with it.
    ///
    /// What is cleared is so before the commit: a repetition clears nothing that counts, for nobody could have taken
    /// such an entry into use meanwhile.
    ///
    /// # Errors
    /// `EBUSY`: entries are in use, or status frames mapped. `ERANGE`: what is kept has no place in format 1.
    pub fn set_format<M: GuestMemory>(
        &self,
        tx: &mut Tx<'static>,
        memory: &M,
        frames: Frames,
        slot: DomainSlot,
        to_v2: bool,
    ) -> Result<(), Errno> {
        let table = self.table(slot);
        self.lock(tx, slot);
        if table.is_v2.get() == to_v2 {
            return Ok(());
        }
        if self.any_in_use(slot) {
            return Err(Errno::EBUSY);
        }
        let kept = self.kept(memory, slot, to_v2)?;
        if !to_v2 {
            self.give_back_status(tx, frames, slot)?;
        }
        for (index, mfn) in self.frames(slot).enumerate() {
            let from = if index == 0 { KEPT_WORDS } else { 0 };
            for word in from..512 {
                memory.store64(Maddr(mfn.maddr().0 + 8 * word as u64), 0);
            }
        }
        tx.set(&table.is_v2, to_v2);
        self.publish_kept(tx, slot, &kept, to_v2);
        Ok(())
    }

    /// Whether an entry beside those that are kept is mapped.
    fn any_in_use(&self, slot: DomainSlot) -> bool {
        self.table(slot).heads.iter().any(|head| {
            let mut number = head.get();
            while let Some(track) = self.track(number) {
                if track.gref() as usize >= KEPT {
                    return true;
                }
                number = track.next.get();
            }
            false
        })
    }

    fn kept<M: GuestMemory>(&self, memory: &M, slot: DomainSlot, to_v2: bool) -> Result<[Kept; KEPT], Errno> {
        let mut kept = [Kept::default(); KEPT];
        for (gref, entry) in (0..).zip(&mut kept) {
            let Some(place) = self.place(slot, gref) else { continue };
            let word = memory.load64(place.header);
            let (flags, domain) = (word as u16, (word >> 16) as u16);
            if to_v2 {
                *entry = Kept { flags, domain, frame: word >> 32 };
                continue;
            }
            let frame = memory.load64(Maddr(place.header.0 + 8));
            match flags & GTF_TYPE_MASK {
                GTF_PERMIT_ACCESS if frame >> 32 != 0 => return Err(Errno::ERANGE),
                GTF_PERMIT_ACCESS => {
                    *entry = Kept { flags: flags | place.in_use(memory), domain, frame };
                }
                GTF_TRANSITIVE => return Err(Errno::ERANGE),
                GTF_INVALID.. => {}
            }
        }
        Ok(kept)
    }

    fn publish_kept(&self, tx: &mut Tx<'static>, slot: DomainSlot, kept: &[Kept; KEPT], to_v2: bool) {
        let Some(base) = self.frames(slot).next().map(Mfn::maddr) else { return };
        let at = |word: u64| Maddr(base.0 + 8 * word);
        for (index, entry) in (0..).zip(kept) {
            let head = |flags: u16| u64::from(flags) | u64::from(entry.domain) << 16;
            if to_v2 {
                tx.publish(store(at(2 * index), head(entry.flags & !IN_USE)));
                tx.publish(store(at(2 * index + 1), entry.frame));
            } else {
                tx.publish(store(at(index), head(entry.flags) | entry.frame << 32));
                tx.publish(store(at(KEPT as u64 + index), 0));
            }
        }
        let Some(status) = self.status(slot).next().filter(|_| to_v2).map(Mfn::maddr) else { return };
        for half in 0..2 {
            let word = kept[4 * half..4 * half + 4].iter().rev();
            let word = word.fold(0, |word, entry| word << 16 | u64::from(entry.flags & IN_USE));
            tx.publish(store(Maddr(status.0 + 8 * half as u64), word));
        }
    }

    fn give_back_status(&self, tx: &mut Tx<'static>, frames: Frames, slot: DomainSlot) -> Result<(), Errno> {
        for mfn in self.status(slot) {
            if !frames.frame(mfn).is_some_and(|frame| frame.usage().is_shared_alone()) {
                return Err(Errno::EBUSY);
            }
            tx.publish(Frames::put_shared(mfn));
        }
        tx.set(&self.table(slot).status_count, 0);
        Ok(())
    }

    /// Exchanges two entries of a domain, neither of which may be in use.
    ///
    /// # Errors
    /// The status (`GNTST_*`).
    pub fn swap<M: GuestMemory>(
        &self,
        tx: &mut Tx<'static>,
        memory: &M,
        slot: DomainSlot,
        refs: [u32; 2],
    ) -> Result<(), i16> {
        self.lock(tx, slot);
        if refs.iter().any(|gref| *gref >= self.entries(slot)) {
            return Err(GNTST_BAD_GNTREF);
        }
        let [one, other] = refs;
        if one == other {
            return Ok(());
        }
        if refs.iter().any(|gref| self.pins(self.table(slot), *gref).is_some()) {
            return Err(GNTST_EAGAIN);
        }
        // A frame that is not there has empty entries.
        let (Some(one), Some(other)) = (self.place(slot, one), self.place(slot, other)) else {
            return Ok(());
        };
        exchange(tx, memory, one, other);
        exchange(tx, memory, other, one);
        Ok(())
    }
}

/// Publishes that the entry at `to` becomes that at `from`.
fn exchange<M: GuestMemory>(tx: &mut Tx<'static>, memory: &M, from: Place, to: Place) {
    for word in 0..if from.is_v2 { 2 } else { 1 } {
        let [from, to] = [from, to].map(|place| Maddr(place.header.0 + 8 * word));
        tx.publish(store(to, memory.load64(from)));
    }
}
