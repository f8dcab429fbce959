//! Tables that a guest may not have.

use crate::world::{World, subject};
use frames::Kind;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr};
use pv_mmu::{MmuError, Pte};

/// An entry of an L1 table that maps device memory, which domain 1 may not.
const DEVICE: u64 = 1 << 12 | Pte::P;
/// A large page.
const LARGE: u64 = Pte::PSE | Pte::P;

#[test]
fn a_table_that_is_refused_at_its_first_entry_was_never_one() {
    let world = World::new();
    world.logs[0].begin();
    let (mmu, mut j) = world.parts(0, 30);
    let page = j.transaction(|tx| world.frames.allocate(tx, DomainSlot(1), 0, 64)).expect("room");
    let frame = world.frames.frame(page).expect("a frame");
    for (level, entry, why) in [(1, DEVICE, MmuError::NotPermitted), (2, LARGE, MmuError::Invalid)] {
        for (index, kind) in [(0, Kind::None), (3, Kind::table(level))] {
            world.memory.clear_frame(page.maddr());
            world.memory.store64(Maddr(page.maddr().0 + 8 * index), entry);
            assert_eq!(mmu.pin(&mut j, page, level, subject(1), |_| {}), Err(why));
            let usage = frame.usage();
            assert_eq!(
                (usage.kind(), usage.typed(), usage.is_in_work()),
                (kind, 0, false),
                "{level} {index}"
            );
            // It is none any more, and processors forget that it was.
            mmu.reclaim(&mut j, page).expect("no work");
            assert_eq!(frame.usage().kind(), Kind::None);
        }
    }
    world.logs[0].end();
}
