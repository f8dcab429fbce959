//! Limits, resources, and a domain's end.

use super::{HOST, Map, entry, flags, frames_of, grant, id, map, page, scene, unmap};
use crate::fixture::{ARGUMENT, DOM0, LIST, OTHER, World};
use crate::memory::get_list;
use grants::Limits;
use guest_memory::GuestMemory;
use xen_abi::memory::MemAcquireResource;

fn ready() -> World {
    let mut world = World::new();
    scene(&mut world);
    world
}

fn acquire(world: &World, part: u32, frame: u64, nr_frames: u32, frame_list: u64) -> i64 {
    let request =
        MemAcquireResource { domid: id(OTHER), type_: 1, id: part, nr_frames, pad: 0, frame, frame_list };
    world.put(ARGUMENT, &request);
    let result = world.call(crate::memory::OP, &[28, ARGUMENT]);
    world.audit_all();
    result
}

#[test]
fn a_table_is_a_resource() {
    let mut world = ready();
    assert_eq!(acquire(&world, 0, 0, 0, 0), 0);
    assert_eq!(world.get::<MemAcquireResource>(ARGUMENT).nr_frames, 64);
    assert_eq!(acquire(&world, 1, 0, 0, 0), 0);
    assert_eq!(world.get::<MemAcquireResource>(ARGUMENT).nr_frames, 8);
    let table = |world: &World| world.state.grants.frames(OTHER).map(|mfn| mfn.0).collect::<Vec<_>>();
    assert_eq!(acquire(&world, 0, 0, 1, LIST), 0);
    assert_eq!(get_list(&world, LIST, 1), table(&world));
    // It grows for it.
    assert_eq!(acquire(&world, 0, 1, 2, LIST), 0);
    assert_eq!(table(&world).len(), 3);
    assert_eq!(get_list(&world, LIST, 2), table(&world)[1..]);
    assert_eq!(acquire(&world, 0, 0, 1, crate::fixture::NOWHERE), -14);
    for (part, frame, count, list) in
        [(0, 0, 65, LIST), (0, 64, 1, LIST), (0, 0, 1, 0), (0, 0, 0, LIST), (2, 0, 1, LIST), (1, 0, 1, LIST)]
    {
        assert_eq!(acquire(&world, part, frame, count, list), -22, "{part} {frame} {count}");
    }
    assert_eq!(super::format::set(&mut world, 2), (0, 2));
    assert_eq!(acquire(&world, 1, 1, 1, LIST), 0);
    let status: Vec<_> = world.state.grants.status(OTHER).map(|mfn| mfn.0).collect();
    assert_eq!((get_list(&world, LIST, 1), table(&world).len()), (status[1..].to_vec(), 16));
    // Dom0 maps what it got: mmu_update on behalf of the other domain.
    world.put(LIST, &entry(&world, DOM0, 1).0);
    world.put(LIST + 8, &(table(&world)[0] << 12 | 7));
    assert_eq!(world.call(1, &[LIST, 1, 0, id(OTHER).into()]), 0);
    world.audit_all();
}

#[test]
fn a_domain_has_the_limits_that_it_got() {
    let mut world = ready();
    let limits = Limits { frames: 2, maptrack_frames: 0, version: 1 };
    assert!(Limits::DEFAULT.allow(limits));
    assert!(!limits.allow(Limits::DEFAULT));
    assert!(!Limits::DEFAULT.allow(Limits { frames: 0, ..limits }));
    world.change(|tx| world.state.grants.open(tx, OTHER, limits));
    assert_eq!(world.state.grants.limits(OTHER), limits);
    assert_eq!(acquire(&world, 0, 0, 0, 0), 0);
    assert_eq!(world.get::<MemAcquireResource>(ARGUMENT).nr_frames, 2);
    assert_eq!(super::format::set(&mut world, 2), (-38, 1));
    world.caller = OTHER;
    grant(&world, OTHER, 1, OTHER, 1, page(&world, OTHER, 0));
    assert_eq!(map(&world, Map { from: OTHER, gref: 1, flags: HOST, at: 1 << 12 }).0, -13);
    let limits = Limits { maptrack_frames: 1, ..limits };
    world.change(|tx| world.state.grants.open(tx, OTHER, limits));
    // Half of the pool is for Dom0 alone.
    for gref in 0..128 {
        grant(&world, OTHER, gref, OTHER, 1, page(&world, OTHER, 0));
        let at = (gref + 1) << 12;
        assert_eq!(map(&world, Map { from: OTHER, gref: gref as u32, flags: HOST, at }).0, 0, "{gref}");
    }
    let one_more = Map { from: OTHER, gref: 0, flags: HOST, at: 200 << 12 };
    assert_eq!(map(&world, one_more).0, -13);
    world.caller = DOM0;
    grant(&world, OTHER, 200, DOM0, 1, page(&world, OTHER, 0));
    assert_eq!(map(&world, Map { from: OTHER, gref: 200, flags: HOST, at: 1 << 12 }).0, 0);
}

/// Gives up what a domain maps and shares, step by step.
pub(super) fn release(world: &World) {
    let (grants, frames) = (&world.state.grants, world.state.frames);
    world.change(|tx| grants.close(tx, OTHER));
    while world.change(|tx| grants.release_mappings(tx, OTHER)) {}
    world.change(|tx| grants.forget_waiting(tx, ids::VcpuSlot(1)));
    while world.change(|tx| grants.release_frames(tx, frames, OTHER)) {}
}

#[test]
fn a_domain_that_ends_gives_up_what_it_maps_and_what_it_shares() {
    let mut world = ready();
    for gref in 0..60 {
        grant(&world, DOM0, gref, OTHER, 1, page(&world, DOM0, gref as usize));
        grant(&world, OTHER, gref, OTHER, 1, page(&world, OTHER, 0));
    }
    grant(&world, OTHER, 100, DOM0, 1, page(&world, OTHER, 1));
    assert_eq!(map(&world, Map { from: OTHER, gref: 100, flags: HOST, at: 1 << 12 }), (0, 0));
    world.caller = OTHER;
    for gref in 0..60 {
        for (from, at) in [(DOM0, gref + 1), (OTHER, gref + 101)] {
            assert_eq!(map(&world, Map { from, gref, flags: HOST, at: u64::from(at) << 12 }).0, 0);
        }
    }
    world.caller = DOM0;
    release(&world);
    // Its page tables still hold what they name; Dom0 keeps its mapping.
    assert_eq!(world.state.grants.mappings().count(), 1);
    assert_eq!(world.state.grants.frames(OTHER).count(), 0);
    assert!(!world.state.grants.is_free(OTHER));
    assert!((0..60).all(|gref| flags(&world, DOM0, gref) == 1));
    assert_eq!(map(&world, Map { from: OTHER, gref: 1, flags: HOST, at: 3 << 12 }).0, -1);
    let kept = page(&world, OTHER, 1);
    assert_eq!(world.memory.load64(entry(&world, DOM0, 1)) >> 12 & 0xffff, kept);
    assert_eq!(unmap(&world, 1 << 12, 0), 0);
    assert!(world.state.grants.is_free(OTHER));
    assert_eq!(frames_of(&world, OTHER).len(), 12);
}

#[test]
fn frames_that_are_mapped_outlive_the_table_for_a_while() {
    let world = ready();
    assert_eq!(acquire(&world, 0, 0, 3, LIST), 0);
    let frame = world.state.grants.frames(OTHER).nth(1).expect("a frame").0;
    let set = |word: u64| {
        world.put(LIST, &entry(&world, DOM0, 1).0);
        world.put(LIST + 8, &word);
        assert_eq!(world.call(1, &[LIST, 1, 0, id(OTHER).into()]), 0);
    };
    set(frame << 12 | 7);
    release(&world);
    // The one that Dom0 maps has become one of the domain's frames.
    assert_eq!(world.state.grants.frames(OTHER).count(), 0);
    assert!(world.state.grants.is_free(OTHER));
    let list = world.state.frames.list(OTHER);
    let pages = list.pages();
    assert_eq!(list.first_leaving().map(|mfn| mfn.0), Some(frame));
    world.audit_all();
    set(0);
    assert_eq!((list.pages(), list.first_leaving()), (pages - 1, None));
    world.audit_all();
}
