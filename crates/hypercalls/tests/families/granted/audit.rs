//! Every count of every frame, and the flags of every grant, recomputed.

use crate::fixture::{DOM0, FRAMES, OTHER, RAM, World};
use ::audit::{Audited, Found, Held, check_frames};
use frames::Owner;
use grants::Use;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr, Mfn};

const SLOTS: [DomainSlot; 2] = [DOM0, OTHER];

struct Whole<'w>(&'w World);

impl Whole<'_> {
    fn shared(&self) -> impl Iterator<Item = Mfn> + use<'_> {
        let grants = &self.0.state.grants;
        SLOTS.into_iter().flat_map(move |slot| grants.frames(slot).chain(grants.status(slot)))
    }
}

impl Audited for Whole<'_> {
    fn word(&self, at: Maddr) -> u64 {
        self.0.memory.load64(at)
    }

    fn is_slot_right(&self, _: Mfn, _: u64, entry: u64) -> bool {
        entry == 0
    }

    fn held(&self, hold: &mut dyn FnMut(Mfn, Held)) {
        let frames = self.0.state.frames;
        for mfn in (RAM..FRAMES).map(Mfn) {
            if frames.frame(mfn).is_some_and(|frame| frame.usage().is_allocated()) {
                hold(mfn, Held::General);
            }
        }
        self.shared().for_each(|mfn| hold(mfn, Held::Writable));
        for mapped in self.0.state.grants.mappings() {
            let how = if mapped.usage.writes() { Held::Writable } else { Held::General };
            (0..mapped.usage.references()).for_each(|_| hold(mapped.frame, how));
        }
    }

    fn is_placed(&mut self, found: &Found) -> Result<(), String> {
        let Found { mfn, usage, free, listed, alive } = *found;
        let right = match usage.owner().slot() {
            Some(slot) => !free && alive && (listed == Some(slot)) != self.shared().any(|m| m == mfn),
            None if usage.owner() == Owner::FREE => free && !alive && listed.is_none(),
            None => listed.is_none(),
        };
        if right { Ok(()) } else { Err(format!("free {free}, listed {listed:?}")) }
    }

    fn is_granted(&self, to: Owner, mfn: Mfn, write: bool) -> bool {
        // What the tables of a domain that ends name goes with them.
        if SLOTS.iter().any(|slot| Owner::domain(*slot) == to && self.0.state.grants.is_closed(*slot)) {
            return true;
        }
        let mut mappings = self.0.state.grants.mappings();
        mappings.any(|m| {
            let enough = m.usage.has(Use::HOST) && (m.usage.writes() || !write);
            Owner::domain(m.mapper) == to && m.frame == mfn && enough
        })
    }

    fn may_map_device(&self, _: Mfn, _: bool) -> bool {
        false
    }
}

impl World {
    /// Checks counts, lists and the flags of grants that are in use.
    pub(crate) fn audit_all(&self) {
        check_frames(self.state.frames, 2, &mut Whole(self)).expect("right");
        for slot in SLOTS {
            self.audit_flags(slot);
        }
        let waiting = (0..2).any(|vcpu| self.state.grants.is_waiting(ids::VcpuSlot(vcpu)));
        assert!(!waiting, "nothing waits between calls");
    }

    /// Whether each entry says that it is in use if it is, and only then.
    fn audit_flags(&self, slot: DomainSlot) {
        let grants = &self.state.grants;
        let is_v2 = grants.version(slot) == 2;
        for (index, mfn) in (0..).zip(grants.frames(slot)) {
            let entries = if is_v2 { 256 } else { 512 };
            for entry in 0..entries {
                let gref = index * entries + entry;
                let mut wanted = 0;
                for m in grants.mappings().filter(|m| m.granter == slot && u64::from(m.gref) == gref) {
                    wanted |= if m.usage.writes() { 24 } else { 8 };
                }
                let at = if is_v2 {
                    let page = grants.status(slot).nth(gref as usize / 2048).expect("a status frame");
                    page.maddr().0 + gref % 2048 * 2
                } else {
                    mfn.maddr().0 + entry * 8
                };
                let word = self.memory.load32(Maddr(at & !3)) >> (8 * (at & 2));
                if !is_v2 && wanted == 0 && word & 3 == 2 {
                    // It accepts a frame: the same bits say how far that is.
                    continue;
                }
                assert_eq!(word as u16 & 24, wanted, "{slot:?} grant {gref}");
            }
        }
    }
}
