//! `memory_op`.

use crate::fixture::{
    ARGUMENT, DOM0, FORBIDDEN, FRAMES, LIST, LIST2, NOWHERE, OTHER, OTHER_ID, OWNED, RAM, World,
};
use guest_memory::GuestMemory;
use ids::{Maddr, Mfn};
use xen_abi::e820::E820Entry;
use xen_abi::memory::{MemoryExchange, MemoryMap, MemoryReservation};

pub(crate) const OP: u64 = 12;
const SELF: u16 = 0x7ff0;

pub(crate) fn reservation(list: u64, count: u64, order: u32) -> MemoryReservation {
    MemoryReservation {
        extent_start: list,
        nr_extents: count,
        extent_order: order,
        mem_flags: 0,
        domid: SELF,
        _pad0: [0; 6],
    }
}

pub(crate) fn put_list(world: &World, at: u64, list: &[u64]) {
    for (index, value) in (0..).zip(list) {
        world.put(at + 8 * index, value);
    }
}

pub(crate) fn get_list(world: &World, at: u64, count: u64) -> Vec<u64> {
    (0..count).map(|index| world.get(at + 8 * index)).collect()
}

#[test]
fn answers_queries() {
    let mut world = World::new();
    world.put(ARGUMENT, &SELF);
    assert_eq!(world.call(OP, &[2, 0]), FRAMES as i64);
    assert_eq!(world.call(OP, &[3, ARGUMENT]), OWNED as i64);
    assert_eq!(world.call(OP, &[4, ARGUMENT]), 0xffff_ffff);
    assert_eq!(world.call(OP, &[12, ARGUMENT]), 0);
    assert_eq!(get_list(&world, ARGUMENT, 3), [0xffff_8000_0000_0000, 0xffff_8040_0000_0000, FRAMES - 1]);
    world.put(ARGUMENT, &OTHER_ID);
    assert_eq!(world.call(OP, &[4, ARGUMENT]), 20);
    assert_eq!(world.call(OP, &[26, ARGUMENT]), -95);
    world.put(ARGUMENT, &77u16);
    assert_eq!(world.call(OP, &[3, ARGUMENT]), -3);
    assert_eq!(world.call(OP, &[3, NOWHERE]), -14);
    assert_eq!(world.call(OP, &[18, 0]), 0);
    assert_eq!(world.call(OP, &[9, ARGUMENT]), -38);
    assert_eq!(world.call(OP, &[40, ARGUMENT]), -38);
    world.caller = OTHER;
    world.put(ARGUMENT, &0u16);
    assert_eq!(world.call(OP, &[3, ARGUMENT]), -1);
    assert_eq!(world.call(OP, &[10, ARGUMENT]), -1);
}

#[test]
fn the_machine_map_shows_what_dom0_must_not_map() {
    let world = World::new();
    world.put(ARGUMENT, &MemoryMap { nr_entries: 128, _pad0: [0; 4], buffer: LIST });
    assert_eq!(world.call(OP, &[10, ARGUMENT]), 0);
    let count = world.get::<MemoryMap>(ARGUMENT).nr_entries;
    let entries: Vec<_> = (0..u64::from(count))
        .map(|index| world.get::<E820Entry>(LIST + 20 * index))
        .map(|entry| (entry.addr, entry.size, entry.type_))
        .collect();
    let forbidden = FORBIDDEN.1 + 1 - FORBIDDEN.0;
    assert_eq!(
        entries,
        [
            (0, 0x9_fc00, 1),
            (0x10_0000, 0x7fe0_0000, 1),
            (0xfec0_0000, 0x1000, 2),
            (FORBIDDEN.0 << 12, forbidden << 12, 2),
            (0xfffc_0000, 0x4_0000, 2)
        ]
    );
    for (room, result) in [(2, -22), (5, -22), (6, 0)] {
        world.put(ARGUMENT, &MemoryMap { nr_entries: room, _pad0: [0; 4], buffer: LIST });
        assert_eq!(world.call(OP, &[10, ARGUMENT]), result, "room for {room}");
    }
}

#[test]
fn a_frame_is_cleared_when_no_processor_knows_it_any_more() {
    let world = World::new();
    let first = world.audit(&[])[0][0];
    for _ in 0..2 {
        put_list(&world, LIST, &[first]);
        world.put(ARGUMENT, &reservation(LIST, 1, 0));
        assert_eq!(world.call(OP, &[1, ARGUMENT]), 1);
        world.seen.borrow_mut().stale = Some(Mfn(first));
        put_list(&world, LIST, &[0x77]);
        assert_eq!(world.call(OP, &[6, ARGUMENT]), 1);
        // The frame freed last is handed out first.
        assert_eq!(get_list(&world, LIST, 1), [first]);
        assert_eq!(world.seen.borrow().stale, None, "all processors flushed");
        assert_eq!(world.memory.load64(Maddr(first << 12)), 0, "before it was cleared");
    }
    // Nothing became free since: no flush.
    let flushes = world.seen.borrow().flushes;
    put_list(&world, LIST, &[0x78]);
    assert_eq!(world.call(OP, &[6, ARGUMENT]), 1);
    assert_eq!(world.seen.borrow().flushes, flushes);
}

#[test]
fn frames_come_and_go() {
    let mut world = World::new();
    for budget in [1000, 1] {
        world.budget = budget;
        let before = world.audit(&[])[0].clone();
        // Somebody's secrets are in free memory.
        for mfn in (RAM..FRAMES).filter(|m| !before.contains(m)) {
            world.memory.store64(Maddr(mfn << 12), 0x5ec7e7);
        }
        let pfns: Vec<u64> = (0..20).map(|i| 0x1000 + i).collect();
        put_list(&world, LIST, &pfns);
        world.put(ARGUMENT, &reservation(LIST, 20, 0));
        assert_eq!(world.call(OP, &[6, ARGUMENT]), 20);
        let mfns = get_list(&world, LIST, 20);
        let [owned, _] = world.audit(&[]);
        for (mfn, pfn) in mfns.iter().zip(&pfns) {
            assert!(owned.contains(mfn) && !before.contains(mfn));
            assert_eq!(world.seen.borrow().m2p[*mfn as usize], *pfn);
            assert_eq!(world.memory.load64(Maddr(mfn << 12)), 0, "cleared");
        }
        world.put(ARGUMENT, &reservation(LIST, 20, 0));
        assert_eq!(world.call(OP, &[1, ARGUMENT]), 20);
        let [mut after, mut sorted] = [world.audit(&[])[0].clone(), before.clone()];
        after.sort_unstable();
        sorted.sort_unstable();
        assert_eq!(after, sorted);
        assert!(mfns.iter().all(|m| world.seen.borrow().m2p[*m as usize] == u64::MAX));
        // They are gone: nobody can give them back twice, nor what never was a frame.
        world.put(ARGUMENT, &reservation(LIST, 1, 0));
        assert_eq!(world.call(OP, &[1, ARGUMENT]), 0);
        put_list(&world, LIST, &[before[0], u64::MAX, before[1]]);
        world.put(ARGUMENT, &reservation(LIST, 3, 0));
        assert_eq!(world.call(OP, &[1, ARGUMENT]), 1, "stops at the first that is refused");
        world.put(ARGUMENT, &reservation(LIST, 1, 0));
        assert_eq!(world.call(OP, &[0, ARGUMENT]), 1);
        world.audit(&[]);
    }
}

#[test]
fn larger_extents_limits_and_mapped_frames() {
    let mut world = World::new();
    put_list(&world, LIST, &[0x2000]);
    world.put(ARGUMENT, &reservation(LIST, 1, 6));
    assert_eq!(world.call(OP, &[6, ARGUMENT]), 1);
    let first: u64 = world.get(LIST);
    assert_eq!(first % 64, 0);
    assert_eq!(world.seen.borrow().m2p[first as usize + 63], 0x2000 + 63);
    // Of a frame that is mapped the domain keeps the page until the mapping goes.
    world.map(first + 3, true);
    world.put(ARGUMENT, &reservation(LIST, 1, 6));
    assert_eq!(world.call(OP, &[1, ARGUMENT]), 1);
    assert!(world.audit(&[])[0].contains(&(first + 3)));
    put_list(&world, LIST, &[first + 3]);
    world.put(ARGUMENT, &reservation(LIST, 1, 0));
    assert_eq!(world.call(OP, &[1, ARGUMENT]), 0);
    world.map(first + 3, false);
    assert_eq!(world.audit(&[])[0].len() as u64, OWNED);
    // More than memory or the limit has room for.
    world.put(ARGUMENT, &reservation(0, 1 << 20, 0));
    let got = world.call(OP, &[0, ARGUMENT]);
    assert_eq!(got as u64, FRAMES - RAM - OWNED);
    assert_eq!(world.state.frames.heap().free_frames(), 0);
    let owned = world.audit(&[])[0].clone();
    put_list(&world, LIST, &owned[..100]);
    world.put(ARGUMENT, &reservation(LIST, 100, 0));
    assert_eq!(world.call(OP, &[1, ARGUMENT]), 100);
    world.caller = OTHER;
    world.put(ARGUMENT, &reservation(LIST, 30, 0));
    assert_eq!(world.call(OP, &[0, ARGUMENT]), 20);
    assert_eq!(world.audit(&[])[1].len(), 20);
    world.put(ARGUMENT, &MemoryReservation { domid: 0, ..reservation(LIST, 1, 0) });
    assert_eq!(world.call(OP, &[0, ARGUMENT]), 0, "not its domain");
}

pub(crate) fn exchange(world: &World, given: (u64, u32), taken: (u64, u32), bits: u32) {
    let mut out = reservation(LIST2, taken.0, taken.1);
    out.mem_flags = bits;
    world.put(ARGUMENT, &MemoryExchange { in_: reservation(LIST, given.0, given.1), out, nr_exchanged: 0 });
}

#[test]
fn exchanges_single_frames_for_adjacent_ones_and_back() {
    let mut world = World::new();
    for budget in [1000, 2] {
        world.budget = budget;
        let given: Vec<u64> = world.audit(&[])[0][..64].to_vec();
        put_list(&world, LIST, &given);
        put_list(&world, LIST2, &[0x3000]);
        exchange(&world, (64, 0), (1, 6), 32);
        assert_eq!(world.call(OP, &[11, ARGUMENT]), 0);
        assert_eq!(world.get::<MemoryExchange>(ARGUMENT).nr_exchanged, 64);
        let first: u64 = world.get(LIST2);
        let [owned, _] = world.audit(&[]);
        assert_eq!((owned.len() as u64, first % 64), (OWNED, 0));
        assert!((first..first + 64).all(|m| owned.contains(&m)));
        assert!((0..64).all(|i| world.seen.borrow().m2p[(first + i) as usize] == 0x3000 + i));

        put_list(&world, LIST, &[first]);
        put_list(&world, LIST2, &(0..64).map(|i| 0x4000 + i).collect::<Vec<_>>());
        exchange(&world, (1, 6), (64, 0), 0);
        assert_eq!(world.call(OP, &[11, ARGUMENT]), 0);
        let taken = get_list(&world, LIST2, 64);
        let [owned, _] = world.audit(&[]);
        assert!(taken.iter().all(|m| owned.contains(m)) && !owned.contains(&first));
        assert!((0..64).all(|i| world.seen.borrow().m2p[taken[i] as usize] == 0x4000 + i as u64));
    }
}

#[test]
fn exchange_is_wholly_done_or_refused() {
    let mut world = World::new();
    let given: Vec<u64> = world.audit(&[])[0][..64].to_vec();
    let before = world.audit(&[]);
    put_list(&world, LIST, &given);
    let refused = |world: &World, errno: i64| {
        put_list(world, LIST2, &[0x3000]);
        assert_eq!(world.call(OP, &[11, ARGUMENT]), -errno);
        assert_eq!(world.get::<u64>(LIST2), 0x3000);
        assert_eq!(world.get::<MemoryExchange>(ARGUMENT).nr_exchanged, 0);
        assert_eq!(world.audit(&[]), before);
    };
    exchange(&world, (64, 0), (1, 6), 18);
    refused(&world, 12);
    // A list with a frame twice, or of others, is refused before anything is taken.
    exchange(&world, (128, 0), (1, 7), 0);
    refused(&world, 22);
    exchange(&world, (1 << 13, 0), (1, 13), 0);
    refused(&world, 12);
    exchange(&world, (63, 0), (1, 6), 0);
    refused(&world, 22);
    exchange(&world, (1 << 19, 0), (1, 19), 0);
    refused(&world, 1);
    exchange(&world, (64, 0), (1, 6), 0);
    world.map(given[63], true);
    refused(&world, 22);
    world.map(given[63], false);
    put_list(&world, LIST, &[given[1]]);
    refused(&world, 22);
    put_list(&world, LIST, &[FRAMES]);
    refused(&world, 22);
    world.caller = OTHER;
    refused(&world, 22);
    assert_eq!(world.state.frames.list(DOM0).first(), Some(Mfn(before[0][0])));
}

#[test]
fn large_extents_come_go_and_are_exchanged() {
    let mut world = World::new();
    for frame in RAM..FRAMES {
        world.memory.store64(Maddr(frame << 12), 0x5ec7e7);
    }
    let m2p = |world: &World, mfn: u64| world.seen.borrow().m2p[mfn as usize];
    put_list(&world, LIST, &[0x2000]);
    world.put(ARGUMENT, &reservation(LIST, 1, 7));
    assert_eq!(world.call(OP, &[6, ARGUMENT]), 1);
    let first: u64 = world.get(LIST);
    assert!(first.is_multiple_of(128));
    for at in 0..128 {
        assert_eq!(
            (m2p(&world, first + at), world.memory.load64(Maddr((first + at) << 12))),
            (0x2000 + at, 0)
        );
    }
    assert_eq!(world.audit(&[])[0].len() as u64, OWNED + 128);
    // Back, to single frames with a number each, and to a large one again.
    put_list(&world, LIST2, &(0..128).map(|at| 0x7000 + 3 * at).collect::<Vec<_>>());
    exchange(&world, (1, 7), (128, 0), 0);
    assert_eq!(world.call(OP, &[11, ARGUMENT]), 0);
    let single = get_list(&world, LIST2, 128);
    assert!((0..128).all(|at| m2p(&world, single[at]) == 0x7000 + 3 * at as u64));
    assert!(single.iter().all(|mfn| !(first..first + 128).contains(mfn)));
    put_list(&world, LIST, &single);
    // One that is mapped: nothing happens.
    world.map(single[100], true);
    put_list(&world, LIST2, &[0x9000]);
    exchange(&world, (128, 0), (1, 7), 0);
    assert_eq!((world.call(OP, &[11, ARGUMENT]), world.get::<u64>(LIST2)), (-22, 0x9000));
    world.map(single[100], false);
    exchange(&world, (128, 0), (1, 7), 0);
    assert_eq!(world.call(OP, &[11, ARGUMENT]), 0);
    let [owned, _] = world.audit(&[]);
    let first: u64 = world.get(LIST2);
    assert!((first..first + 128).all(|mfn| owned.contains(&mfn)) && owned.len() as u64 == OWNED + 128);
    // Neither more than memory has, nor more than the domain may have.
    put_list(&world, LIST, &[0x2000]);
    world.put(ARGUMENT, &reservation(LIST, 1, 10));
    assert_eq!(world.call(OP, &[6, ARGUMENT]), 0);
    world.caller = OTHER;
    world.put(ARGUMENT, &reservation(LIST, 1, 7));
    assert_eq!(world.call(OP, &[6, ARGUMENT]), 0);
    assert_eq!(world.audit(&[])[0].len() as u64, OWNED + 128);
}

/// A failure cuts the call, and the guest asks for something else when it is run again.
#[test]
fn what_is_left_of_a_large_extent_goes_back() {
    crate::fixture::quiet_crashes();
    let mut world = World::new();
    let mut kept = 0;
    for crash in (1..).step_by(7) {
        world.reset();
        put_list(&world, LIST, &[0x2000]);
        world.put(ARGUMENT, &reservation(LIST, 1, 7));
        let (_, crashed) = world.call_crashing_then(OP, &[6, ARGUMENT], crash, |world| {
            world.put(ARGUMENT, &reservation(LIST, 1, 0));
        });
        let pages = world.audit(&[])[0].len() as u64 - OWNED;
        if !crashed {
            assert_eq!(pages, 128);
            break;
        }
        // A frame, and those that were handed out before the failure.
        assert!([1, 65, 129, 128].contains(&pages), "{pages}");
        kept += u64::from(pages > 1);
    }
    assert!(kept > 0);
}

#[test]
fn freed_frames_join_for_a_larger_extent() {
    let world = World::new();
    world.put(ARGUMENT, &reservation(0, 1 << 20, 0));
    world.call(OP, &[0, ARGUMENT]);
    let [mut owned, _] = world.audit(&[]);
    owned.sort_unstable();
    // Freed one by one, in an order that leaves no buddies side by side on the list.
    let mut freed: Vec<u64> = (256..320).collect();
    freed.sort_by_key(|m| m.reverse_bits());
    put_list(&world, LIST, &freed);
    world.put(ARGUMENT, &reservation(LIST, 64, 0));
    assert_eq!(world.call(OP, &[1, ARGUMENT]), 64);
    put_list(&world, LIST, &[0x5000]);
    world.put(ARGUMENT, &reservation(LIST, 1, 6));
    assert_eq!(world.call(OP, &[6, ARGUMENT]), 1);
    assert_eq!(world.get::<u64>(LIST), 256);
    world.audit(&[]);
}
