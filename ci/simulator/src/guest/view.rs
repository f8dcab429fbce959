//! What a guest knows about its own memory: which frames it has to play with, and where.

use crate::kernel::BASE;
use crate::random::Random;
use crate::world::{DEVICES, World};
use frames::{Kind, Owner, Usage};
use ids::{DomainSlot, Maddr, Mfn, VcpuSlot};
use std::collections::HashSet;

/// Pages at the end of the initial mapping that the guest maps as it likes.
const PLAY_PAGES: u64 = 64;
/// End of the initial mapping.
const MAPPED_END: u64 = BASE + (4 << 20);
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Entry flags.
pub(crate) mod flag {
    pub(crate) const PRESENT: u64 = 1;
    pub(crate) const WRITE: u64 = 2;
    pub(crate) const USER: u64 = 4;
    pub(crate) const LARGE: u64 = 1 << 7;
    pub(crate) const GLOBAL: u64 = 1 << 8;
    pub(crate) const NO_EXECUTE: u64 = 1 << 63;
}

/// The guest's fixed knowledge.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// Frames of the kernel that are never played with.
    fixed: HashSet<u64>,
    /// The kernel's own entry of root tables: slot and entry.
    pub(crate) kernel_slot: (u64, u64),
    /// Guest address at which the play pages' L1 is mapped read-only.
    pub(crate) l1_at: u64,
    /// That L1.
    pub(crate) l1: Mfn,
}

impl View {
    pub(crate) fn new(world: &World) -> Self {
        let root = world.system.state.contexts.context(VcpuSlot(0)).root_kernel.get();
        let memory = &world.machine.memory;
        let frame_at = |va| memory.leaf(root, va).map(|(_, entry)| (entry & ADDRESS) >> 12);
        let fixed: HashSet<u64> =
            (BASE..MAPPED_END - PLAY_PAGES * 4096).step_by(4096).filter_map(frame_at).collect();
        let l1 = memory.leaf(root, MAPPED_END - 4096).map_or(Mfn(0), |(at, _)| at.mfn());
        let l1_at = (BASE..MAPPED_END).step_by(4096).find(|va| frame_at(*va) == Some(l1.0)).unwrap_or(0);
        let slot = BASE >> 39 & 511;
        let entry = memory.get(Maddr(root.0 * 4096 + slot * 8));
        Self { fixed, kernel_slot: (slot, entry), l1_at, l1 }
    }

    /// A guest address that the guest maps as it likes.
    pub(crate) fn play_address(&self, r: &mut Random) -> u64 {
        MAPPED_END - (1 + r.below(PLAY_PAGES)) * 4096
    }

    /// Where the L1 entry of a play address is: in machine memory, and in the guest's.
    pub(crate) fn entry_of(&self, va: u64) -> (Maddr, u64) {
        let offset = (va >> 12 & 511) * 8;
        (Maddr(self.l1.maddr().0 + offset), self.l1_at + offset)
    }

    /// The play address that an entry of that L1 is for.
    pub(crate) fn address_of(&self, entry: Maddr) -> u64 {
        MAPPED_END - (2 << 20) + entry.offset() / 8 * 4096
    }

    /// The machine address of an entry of the kernel's own table of level 2, past what is mapped.
    pub(crate) fn spare_table_entry(&self, world: &World, r: &mut Random) -> Option<Maddr> {
        let (_, l4_entry) = self.kernel_slot;
        let l3 = (l4_entry & ADDRESS) + (BASE >> 30 & 511) * 8;
        let l2 = world.machine.memory.get(Maddr(l3)) & ADDRESS;
        let index = (MAPPED_END >> 21 & 511) + 1 + r.below(8);
        (l2 != 0).then_some(Maddr(l2 + index * 8))
    }

    /// The frames to play with that `wanted` accepts.
    pub(crate) fn frames(&self, world: &World, wanted: impl Fn(&Usage) -> bool) -> Vec<u64> {
        let state = world.system.state;
        let shared = state.domains.domain(DomainSlot(0)).shared_info.get();
        let table = |slot| state.grants.frames(slot).chain(state.grants.status(slot));
        // Kept as they are: a guest that writes to what says who uses its pages has itself to blame.
        let kept: HashSet<u64> = table(DomainSlot(0)).chain([shared]).map(|mfn| mfn.0).collect();
        (0..state.frames.len())
            .filter(|mfn| !self.fixed.contains(mfn) && !kept.contains(mfn))
            .filter(|mfn| {
                let usage = state.frames.frame(Mfn(*mfn)).map(|frame| frame.usage());
                usage.is_some_and(|u| u.owner() == Owner::domain(DomainSlot(0)) && wanted(&u))
            })
            .collect()
    }

    /// A frame of some kind that plays; rarely one that is none of the guest's business.
    pub(crate) fn frame(&self, world: &World, r: &mut Random) -> u64 {
        if r.chance(4) {
            return r.pick(&[0, 3, 9, 1400, 1471, 5000, 0xfee00, 0xfd000, 1 << 40]);
        }
        if r.chance(4) {
            return DEVICES.start + r.below(DEVICES.end - DEVICES.start);
        }
        let all = self.frames(world, |_| true);
        // Few, so that they meet again.
        let few = all.len().min(if r.chance(70) { 24 } else { 400 }) as u64;
        if few == 0 { 0 } else { all[r.below(few) as usize] }
    }

    /// A page table of `level`, or `None`.
    pub(crate) fn table(&self, world: &World, r: &mut Random, level: u32) -> Option<u64> {
        let all = self.frames(world, |u| u.kind() == Kind::table(level) && u.typed() > 0);
        if all.is_empty() { None } else { Some(r.pick(&all)) }
    }

    /// A frame that nobody uses as anything.
    pub(crate) fn unused(&self, world: &World, r: &mut Random) -> Option<u64> {
        let all = self.frames(world, |u| u.typed() == 0 && !u.is_validated() && !u.is_in_work());
        let few = all.len().min(24) as u64;
        if few == 0 { None } else { Some(all[r.below(few) as usize]) }
    }

    /// An entry for a table of `level`.
    pub(crate) fn entry(&self, world: &World, r: &mut Random, level: u32) -> u64 {
        use flag::{GLOBAL, LARGE, NO_EXECUTE, PRESENT, USER, WRITE};
        if r.chance(15) {
            return if r.chance(50) { 0 } else { r.next() & !PRESENT };
        }
        let target = match level {
            1 => self.frame(world, r),
            _ => match self.table(world, r, level - 1) {
                Some(table) if r.chance(80) => table,
                _ => self.frame(world, r),
            },
        };
        let mut entry = target << 12 | PRESENT | USER | 0x20;
        if level > 1 || r.chance(55) {
            entry |= WRITE;
        }
        if level == 1 && r.chance(20) {
            entry |= r.pick(&[GLOBAL, NO_EXECUTE, 0x40, 1 << 52, 1 << 3, 1 << 9]);
        }
        if r.chance(2) {
            entry ^= r.pick(&[USER, LARGE, 1 << 53]);
        }
        entry
    }
}
