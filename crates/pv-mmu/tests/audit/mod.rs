//! The machine as the auditor sees it: memory, and what the tests themselves know.

use audit::{Audited, Found, Held};
use frames::{Frames, Kind, Owner};
use guest_memory::{FakeMemory, GuestMemory};
use ids::{DomainSlot, Maddr, Mfn};
use std::collections::HashMap;

/// What the test knows and the frame table must agree with.
#[derive(Clone, Default)]
pub(crate) struct Known {
    /// Frames that belong to a domain: allocated, and not yet given up by all.
    pub(crate) owner: HashMap<u64, DomainSlot>,
    /// General references held by the test: allocations.
    pub(crate) refs: HashMap<u64, u64>,
    /// Typed references held by the test: base pointers, descriptor tables.
    pub(crate) typed: HashMap<u64, u64>,
    /// Frames the hypervisor keeps.
    pub(crate) kept: Vec<u64>,
}

pub(crate) struct Auditor<'a> {
    pub(crate) frames: Frames,
    pub(crate) memory: &'a FakeMemory,
    pub(crate) hypervisor_slots: &'a [u64; 16],
    /// A device frame that may be mapped read-only, and one that may not be mapped.
    pub(crate) io_rules: (u64, u64),
    /// Machine to physical: the owner's number where the tests allocate, all ones for free frames.
    pub(crate) m2p: &'a [u64],
    pub(crate) known: &'a mut Known,
}

impl Audited for Auditor<'_> {
    fn word(&self, at: Maddr) -> u64 {
        self.memory.load64(at)
    }

    fn is_slot_right(&self, _: Mfn, slot: u64, entry: u64) -> bool {
        // No kernel uses a root here: none shows the M2P.
        entry == if slot == 256 { 0 } else { self.hypervisor_slots[slot as usize - 256] }
    }

    fn held(&self, hold: &mut dyn FnMut(Mfn, Held)) {
        for (held, how) in [(&self.known.refs, Held::General), (&self.known.typed, Held::Typed)] {
            for (mfn, count) in held {
                let root = self.frames.frame(Mfn(*mfn)).is_some_and(|f| f.usage().kind() == Kind::L4);
                let how = if how == Held::Typed && root { Held::Root } else { how };
                (0..*count).for_each(|_| hold(Mfn(*mfn), how));
            }
        }
    }

    fn is_placed(&mut self, found: &Found) -> Result<(), String> {
        let (mfn, usage, known) = (found.mfn.0, found.usage, &mut *self.known);
        if !found.alive && !known.kept.contains(&mfn) {
            known.owner.remove(&mfn);
        }
        let owner = known.owner.get(&mfn);
        let right = match owner {
            Some(slot) => usage.owner() == Owner::domain(*slot) && found.listed == Some(*slot) && !found.free,
            None if known.kept.contains(&mfn) => usage.owner() == Owner::HYPERVISOR && !found.free,
            None if usage.owner() == Owner::IO => !found.free && !found.alive,
            None => found.free && !found.alive,
        };
        let wanted = owner.map_or(u64::MAX, |slot| slot.0.into());
        if self.m2p[mfn as usize] != wanted {
            return Err(format!("its M2P entry is {:#x}", self.m2p[mfn as usize]));
        }
        if right { Ok(()) } else { Err(format!("owner {owner:?}, {found:?}")) }
    }

    fn may_map_device(&self, mfn: Mfn, write: bool) -> bool {
        mfn.0 != self.io_rules.1 && !(mfn.0 == self.io_rules.0 && write)
    }
}
