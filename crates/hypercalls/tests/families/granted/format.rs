//! Formats of entries, exchange of entries.

use super::{HOST, Map, entry, grant, grant_at, map, page, scene, unmap};
use crate::fixture::{ARGUMENT, DOM0, LIST, OTHER, World};
use crate::grants::OP;
use guest_memory::GuestMemory;
use ids::Maddr;
use xen_abi::grant_table::{GnttabCacheFlush, GnttabGetStatusFrames, GnttabSwapGrantRef};

fn ready() -> World {
    let mut world = World::new();
    scene(&mut world);
    world
}

/// The other domain asks for a format; the result, and the format there is.
pub(super) fn set(world: &mut World, version: u32) -> (i64, u32) {
    let caller = std::mem::replace(&mut world.caller, OTHER);
    world.put(ARGUMENT, &version);
    let result = world.call(OP, &[8, ARGUMENT, 1]);
    world.caller = caller;
    world.audit_all();
    (result, world.get(ARGUMENT))
}

fn status_frames(world: &World, nr_frames: u32) -> (i16, u64) {
    let dom = super::id(OTHER);
    let request = GnttabGetStatusFrames { nr_frames, dom, status: 99, frame_list: LIST };
    world.put(LIST, &0_u64);
    world.put(ARGUMENT, &request);
    assert_eq!(world.call(OP, &[9, ARGUMENT, 1]), 0);
    (world.get::<GnttabGetStatusFrames>(ARGUMENT).status, world.get(LIST))
}

#[test]
fn the_first_entries_outlive_a_change_of_format() {
    let mut world = ready();
    let mfn = page(&world, OTHER, 0);
    grant(&world, OTHER, 1, DOM0, 1, mfn);
    grant(&world, OTHER, 8, DOM0, 1, page(&world, OTHER, 1));
    let one = Map { from: OTHER, gref: 1, flags: HOST, at: 1 << 12 };
    let eight = Map { from: OTHER, gref: 8, flags: HOST, at: 2 << 12 };
    assert_eq!((map(&world, one).0, map(&world, eight).0), (0, 0));
    assert_eq!(set(&mut world, 2), (-16, 1));
    assert_eq!(unmap(&world, 2 << 12, 1), 0);
    assert_eq!(status_frames(&world, 1).0, -1);
    assert_eq!(set(&mut world, 2), (0, 2));
    assert_eq!(set(&mut world, 2), (0, 2));
    // Entry 1 stands there, in use by its status; entry 8 is empty.
    let base = grant_at(&world, OTHER, 0).0;
    assert_eq!(world.memory.load64(Maddr(base + 16)), 1);
    assert_eq!(world.memory.load64(Maddr(base + 24)), mfn);
    assert_eq!(world.memory.load64(Maddr(base + 128)), 0);
    let (status, frame) = status_frames(&world, 1);
    assert_eq!(status, 0);
    assert_eq!(world.memory.load64(Maddr(frame << 12)), 24 << 16);
    assert_eq!(status_frames(&world, 2).0, -1);
    // A grant of the new format.
    world.memory.store64(Maddr(base + 16 * 200), 1);
    world.memory.store64(Maddr(base + 16 * 200 + 8), page(&world, OTHER, 2));
    assert_eq!(map(&world, Map { from: OTHER, gref: 200, flags: HOST, at: 2 << 12 }).0, 0);
    assert_eq!(world.memory.load32(Maddr(frame << 12 | 400)), 24);
    assert_eq!(map(&world, Map { from: OTHER, gref: 256, flags: HOST, at: 3 << 12 }).0, -3);
    assert_eq!(set(&mut world, 1), (-16, 2));
    assert_eq!(unmap(&world, 2 << 12, 1), 0);
    // What has no place in format 1.
    world.memory.store64(Maddr(base + 32), 3);
    assert_eq!(set(&mut world, 1), (-34, 2));
    world.memory.store64(Maddr(base + 32), 0);
    assert_eq!(set(&mut world, 1), (0, 1));
    assert_eq!(world.memory.load64(Maddr(base + 8)), (1 | 24) | mfn << 32);
    assert_eq!(unmap(&world, 1 << 12, 0), 0);
    assert_eq!(world.memory.load64(Maddr(base + 8)), 1 | mfn << 32);
    assert_eq!(world.state.grants.status(OTHER).count(), 0);
}

#[test]
fn entries_change_places_unless_they_are_in_use() {
    let mut world = ready();
    grant(&world, OTHER, 1, DOM0, 1, page(&world, OTHER, 0));
    grant(&world, OTHER, 2, DOM0, 1 | 4, page(&world, OTHER, 1));
    let words = |world: &World| [1, 2].map(|gref| world.memory.load64(grant_at(world, OTHER, gref)));
    let [one, two] = words(&world);
    let swap = |world: &mut World, ref_a, ref_b| {
        let caller = std::mem::replace(&mut world.caller, OTHER);
        world.put(LIST, &GnttabSwapGrantRef { ref_a, ref_b, status: 99, _pad0: [0; 2] });
        assert_eq!(world.call(OP, &[11, LIST, 1]), 0);
        world.caller = caller;
        world.audit_all();
        world.get::<GnttabSwapGrantRef>(LIST).status
    };
    assert_eq!(swap(&mut world, 1, 2), 0);
    assert_eq!(words(&world), [two, one]);
    assert_eq!((swap(&mut world, 1, 512), swap(&mut world, 1, 1)), (-3, 0));
    assert_eq!(map(&world, Map { from: OTHER, gref: 2, flags: HOST, at: 1 << 12 }).0, 0);
    assert_eq!((swap(&mut world, 1, 2), swap(&mut world, 2, 1)), (-12, -12));
}

#[test]
fn caches_need_no_care() {
    let world = ready();
    let flush = |a: u64, offset, length, op| {
        world.put(LIST, &GnttabCacheFlush { a, offset, length, op });
        world.call(OP, &[12, LIST, 1])
    };
    let (own, theirs) = (page(&world, DOM0, 0) << 12, page(&world, OTHER, 0) << 12);
    assert_eq!(flush(own, 0, 4096, 3), 0);
    assert_eq!(flush(own, 4096, 0, 1), -22);
    assert_eq!(flush(own, 4000, 97, 1), -22);
    assert_eq!(flush(own, 0, 1, 4), -22);
    assert_eq!(flush(own, 0, 1, 1 << 31), -22);
    assert_eq!(flush(theirs, 0, 0, 1), 0);
    assert_eq!(flush(theirs, 0, 1, 1), -22);
    assert_eq!(flush(u64::MAX, 0, 1, 1), -22);
    grant(&world, OTHER, 1, DOM0, 1, theirs >> 12);
    let at = entry(&world, DOM0, 1).0;
    assert_eq!(map(&world, Map { from: OTHER, gref: 1, flags: HOST | super::BY_ENTRY, at }).0, 0);
    assert_eq!(flush(theirs, 0, 1, 1), 0);
}
