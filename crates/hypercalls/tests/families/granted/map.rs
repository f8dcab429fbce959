//! Mapping and unmapping.

use super::{
    BY_ENTRY, HOST, Map, READ_ONLY, entry, flags, get_map, get_unmap, grant, map, page, put_maps, put_unmaps,
    scene, unmap,
};
use crate::fixture::{DOM0, FIXED, LIST, NOWHERE, OTHER, World};
use crate::grants::OP;
use guest_memory::GuestMemory;
use ids::Maddr;
use xen_abi::grant_table::{GnttabMapGrantRef, GnttabUnmapAndReplace, GnttabUnmapGrantRef};

fn ready() -> World {
    let mut world = World::new();
    scene(&mut world);
    world
}

#[test]
fn a_granted_page_is_mapped_by_address_and_unmapped() {
    let world = ready();
    let mfn = page(&world, OTHER, 0);
    grant(&world, OTHER, 9, DOM0, 1, mfn);
    let (status, handle) = map(&world, Map { from: OTHER, gref: 9, flags: HOST, at: 5 << 12 });
    assert_eq!((status, handle), (0, 0));
    assert_eq!(get_map(&world, 0).dev_bus_addr, mfn << 12);
    assert_eq!((get_map(&world, 0).dom, get_map(&world, 0).ref_), (5, 9));
    // A kernel's page: present, writable, user, accessed, dirty, bit 52.
    assert_eq!(world.memory.load64(entry(&world, DOM0, 5)), mfn << 12 | 0x67 | 1 << 52);
    assert_eq!(flags(&world, OTHER, 9), 1 | 8 | 16);
    let flushes = world.seen.borrow().flushes;
    assert_eq!(unmap(&world, 5 << 12, handle), 0);
    assert_eq!(world.seen.borrow().flushes, flushes + 1);
    assert_eq!(world.memory.load64(entry(&world, DOM0, 5)), 0);
    assert_eq!(flags(&world, OTHER, 9), 1);
    assert_eq!(unmap(&world, 5 << 12, handle), -4);
    // The handle is used again.
    assert_eq!(map(&world, Map { from: OTHER, gref: 9, flags: HOST, at: 5 << 12 }), (0, 0));
}

#[test]
fn an_entry_is_named_by_its_address_with_bits_of_the_guests_own() {
    let mut world = ready();
    let mfn = page(&world, DOM0, 0);
    // The other domain maps Dom0's page; read-only, for its processes too.
    grant(&world, DOM0, 0, OTHER, 1 | 4, mfn);
    world.caller = OTHER;
    let at = entry(&world, OTHER, 7).0;
    let flags_wanted = HOST | READ_ONLY | BY_ENTRY | 8 | 5 << 16;
    assert_eq!(map(&world, Map { from: DOM0, gref: 0, flags: flags_wanted, at }), (0, 0));
    // Present, user, accessed, dirty, global, bits 9 and 11.
    assert_eq!(world.memory.load64(entry(&world, OTHER, 7)), mfn << 12 | 0x65 | 0x100 | 0xa00);
    assert_eq!(flags(&world, DOM0, 0), 1 | 4 | 8);
    assert_eq!(unmap(&world, at, 0), 0);
    // A domain's own.
    grant(&world, OTHER, 0, OTHER, 1, page(&world, OTHER, 1));
    assert_eq!(map(&world, Map { from: OTHER, gref: 0, flags: HOST, at: 9 << 12 }), (0, 0));
    assert_eq!(unmap(&world, 9 << 12, 0), 0);
}

#[test]
fn what_is_not_granted_is_not_mapped() {
    let world = ready();
    let mfn = page(&world, OTHER, 0);
    let foreign = page(&world, DOM0, 0);
    grant(&world, OTHER, 8, DOM0, 1 | 4, mfn);
    grant(&world, OTHER, 9, OTHER, 1, mfn);
    grant(&world, OTHER, 10, DOM0, 2, mfn);
    grant(&world, OTHER, 11, DOM0, 1, foreign);
    grant(&world, OTHER, 12, DOM0, 1, 0xffff_ffff);
    grant(&world, OTHER, 13, DOM0, 1, mfn);
    grant(&world, OTHER, 14, DOM0, 1 | 256, mfn);
    // One of its page tables.
    grant(&world, OTHER, 15, DOM0, 1, super::frames_of(&world, OTHER)[0]);
    let at = 3 << 12;
    let wrong = [
        (8, HOST, at, -1),
        (9, HOST, at, -1),
        (10, HOST, at, -1),
        (11, HOST, at, -9),
        (12, HOST, at, -9),
        (14, HOST, at, -1),
        (15, HOST, at, -1),
        (20, HOST, at, -1),
        (512, HOST, at, -3),
        (u32::MAX, HOST, at, -3),
        (13, 0, at, -3),
        (13, HOST, 1 << 21, -1),
        (13, HOST, 1 << 47, -1),
        (13, HOST | BY_ENTRY, entry(&world, DOM0, 3).0 + 4, -1),
        (13, HOST | BY_ENTRY, entry(&world, OTHER, 3).0, -1),
        (13, HOST | BY_ENTRY, super::frames_of(&world, DOM0)[1] << 12, -1),
        (13, HOST | BY_ENTRY, foreign << 12, -1),
        (13, HOST | BY_ENTRY, NOWHERE, -1),
        (13, HOST | BY_ENTRY, 0xffff_ffff_ffff_fff8, -1),
    ];
    for (gref, flags, at, status) in wrong {
        assert_eq!(
            map(&world, Map { from: OTHER, gref, flags, at }),
            (status, 0x55),
            "{gref} {flags:#x} {at:#x}"
        );
    }
    // A page table may be read.
    assert_eq!(map(&world, Map { from: OTHER, gref: 15, flags: HOST | READ_ONLY, at }).0, 0);
    assert_eq!(unmap(&world, at, 0), 0);
    put_maps(&world, &[Map { from: OTHER, gref: 13, flags: HOST, at }]);
    world.put(LIST + 16, &77_u16);
    assert_eq!(world.call(OP, &[0, LIST, 1]), 0);
    assert_eq!(get_map(&world, 0).status, -2);
    for handle in [0, 1, 255, u32::MAX] {
        assert_eq!(unmap(&world, at, handle), -4);
    }
}

#[test]
fn mappings_of_one_grant_add_up() {
    let world = ready();
    grant(&world, OTHER, 9, DOM0, 1, page(&world, OTHER, 0));
    let map = |flags: u32, at: u64| map(&world, Map { from: OTHER, gref: 9, flags, at: at << 12 });
    assert_eq!(map(HOST | READ_ONLY, 1).0, 0);
    assert_eq!(flags(&world, OTHER, 9), 9);
    assert_eq!(map(HOST, 2).0, 0);
    assert_eq!(map(HOST | READ_ONLY, 3).0, 0);
    assert_eq!(map(1 | READ_ONLY, 0).0, 0);
    assert_eq!(flags(&world, OTHER, 9), 25);
    // While it is in use, what the granter makes of the entry counts only for the right to write.
    assert_eq!(unmap(&world, 2 << 12, 1), 0);
    assert_eq!(flags(&world, OTHER, 9), 9);
    grant(&world, OTHER, 9, OTHER, 9, page(&world, OTHER, 1));
    assert_eq!(map(HOST | READ_ONLY, 4).0, 0);
    assert_eq!(world.memory.load64(entry(&world, DOM0, 4)) >> 12 & 0xffff, page(&world, OTHER, 0));
    // Handles: 0, 2, 3 and 1 again. The device's goes by its address.
    for (at, handle) in [(1, 0), (3, 2), (4, 1)] {
        assert_eq!(unmap(&world, at << 12, handle), 0);
    }
    assert_eq!(flags(&world, OTHER, 9), 9);
    assert_eq!(unmap(&world, 5 << 12, 3), 0);
    let device = |address: u64| {
        put_unmaps(&world, &[(0, 3)]);
        world.put(LIST + 8, &address);
        assert_eq!(world.call(OP, &[1, LIST, 1]), 0);
        world.audit_all();
        get_unmap(&world, 0)
    };
    assert_eq!(device(4096), -6);
    assert_eq!(device(page(&world, OTHER, 0) << 12), 0);
    assert_eq!(flags(&world, OTHER, 9), 1);
}

#[test]
fn one_grant_has_so_many_mappings_and_no_more() {
    let world = ready();
    grant(&world, OTHER, 9, DOM0, 1, page(&world, OTHER, 0));
    for at in 0..128 {
        assert_eq!(map(&world, Map { from: OTHER, gref: 9, flags: HOST, at: at << 12 }).0, 0, "{at}");
    }
    assert_eq!(map(&world, Map { from: OTHER, gref: 9, flags: HOST, at: 200 << 12 }).0, -1);
    assert_eq!(map(&world, Map { from: OTHER, gref: 9, flags: HOST | READ_ONLY, at: 200 << 12 }).0, 0);
}

#[test]
fn lists_are_carried_out_element_by_element() {
    let world = ready();
    for gref in 0..70 {
        grant(&world, OTHER, gref, DOM0, 1, page(&world, OTHER, gref as usize % 8));
    }
    let maps: Vec<_> = (0..70_u32)
        .map(|n| Map {
            from: OTHER,
            gref: if n % 10 == 3 { 100 } else { n },
            flags: HOST,
            at: u64::from(n + 1) << 12,
        })
        .collect();
    put_maps(&world, &maps);
    assert_eq!(world.call(OP, &[0, LIST, 70]), 0);
    world.audit_all();
    let handles: Vec<_> = (0..70).map(|n| get_map(&world, n)).map(|m| (m.status, m.handle)).collect();
    assert!((0..70).all(|n| (handles[n].0 == 0) == (n % 10 != 3)));
    let unmaps: Vec<_> = (0..70).map(|n| ((n as u64 + 1) << 12, handles[n].1)).collect();
    put_unmaps(&world, &unmaps);
    let flushes = world.seen.borrow().flushes;
    assert_eq!(world.call(OP, &[1, LIST, 70]), 0);
    world.audit_all();
    assert_eq!(world.seen.borrow().flushes, flushes + 3);
    assert!((0..70).all(|n| (get_unmap(&world, n) == 0) == (n % 10 != 3)));
    assert_eq!(world.state.grants.mappings().count(), 0);
    // A list that ends where no memory is: what was done before stays done.
    grant(&world, OTHER, 9, DOM0, 1, page(&world, OTHER, 0));
    assert_eq!(map(&world, Map { from: OTHER, gref: 9, flags: HOST, at: 1 << 12 }).0, 0);
    let handle = get_map(&world, 0).handle;
    let at = NOWHERE - 24;
    let request: [u64; 3] = [1 << 12, 0, handle.into()];
    request.iter().enumerate().for_each(|(i, word)| world.put(at + 8 * i as u64, word));
    assert_eq!(world.call(OP, &[1, at, 2]), -14);
    world.audit_all();
    assert_eq!(world.state.grants.mappings().count(), 0);
}

#[test]
fn an_overwritten_entry_keeps_the_counts_right() {
    let world = ready();
    grant(&world, OTHER, 9, DOM0, 1, page(&world, OTHER, 0));
    let at = 1 << 12;
    assert_eq!(map(&world, Map { from: OTHER, gref: 9, flags: HOST, at }), (0, 0));
    // mmu_update: the entry goes by itself.
    world.put(LIST, &entry(&world, DOM0, 1).0);
    world.put(LIST + 8, &0_u64);
    assert_eq!(world.call(1, &[LIST, 1, 0, 0x7ff0]), 0);
    world.audit_all();
    assert_eq!(flags(&world, OTHER, 9), 25);
    assert_eq!(unmap(&world, at, 0), -1);
    // Another mapping of the same page there, by another grant.
    grant(&world, OTHER, 10, DOM0, 1, page(&world, OTHER, 0));
    assert_eq!(map(&world, Map { from: OTHER, gref: 10, flags: HOST, at }), (0, 1));
    assert_eq!(unmap(&world, at, 0), 0);
    assert_eq!(flags(&world, OTHER, 9), 1);
    assert_eq!(unmap(&world, at, 1), -1);
}

#[test]
fn an_entry_moves_to_where_a_mapping_was() {
    let world = ready();
    grant(&world, OTHER, 9, DOM0, 1, page(&world, OTHER, 0));
    let [at, from] = [1 << 12, 2 << 12];
    assert_eq!(map(&world, Map { from: OTHER, gref: 9, flags: HOST, at }), (0, 0));
    let own = page(&world, DOM0, 3) << 12 | 0x67 | 1 << 52;
    world.put(LIST, &entry(&world, DOM0, 2).0);
    world.put(LIST + 8, &own);
    assert_eq!(world.call(1, &[LIST, 1, 0, 0x7ff0]), 0);
    let replace = |new_addr: u64| {
        let request = GnttabUnmapAndReplace { host_addr: at, new_addr, handle: 0, status: 99, _pad0: [0; 2] };
        world.put(LIST, &request);
        assert_eq!(world.call(OP, &[7, LIST, 1]), 0);
        world.audit_all();
        world.get::<GnttabUnmapAndReplace>(LIST).status
    };
    assert_eq!(replace(1 << 21), -1);
    assert_eq!(replace(at), -1);
    assert_eq!(replace(from), 0);
    assert_eq!(world.memory.load64(entry(&world, DOM0, 1)), own);
    assert_eq!(world.memory.load64(entry(&world, DOM0, 2)), 0);
    assert_eq!(flags(&world, OTHER, 9), 1);
}

#[test]
fn a_list_ends_where_its_answers_cannot_be_written() {
    let world = ready();
    for gref in 0..5 {
        grant(&world, OTHER, gref, DOM0, 1, page(&world, OTHER, gref as usize));
    }
    // Of five elements the third begins in the page before, and its answer is in the one that cannot be written.
    let at = FIXED - 2 * 32 - 16;
    let words = |from: &[u64]| {
        let store = |(index, word): (usize, &u64)| world.memory.store64(Maddr(at + 8 * index as u64), *word);
        from.iter().enumerate().for_each(store);
    };
    let element = |gref: u64| [(gref + 1) << 12, gref << 32 | u64::from(HOST), 99 << 16 | 5, 0];
    words(&(0..5).flat_map(element).collect::<Vec<_>>());
    assert_eq!(world.call(OP, &[0, at, 5]), -14);
    world.audit_all();
    let answer = |index: u64| world.get::<GnttabMapGrantRef>(at + 32 * index);
    assert_eq!([0, 1, 2].map(|n| (answer(n).status, answer(n).handle)), [(0, 0), (0, 1), (99, 0)]);
    assert_eq!([0, 1, 2, 3, 4].map(|gref| flags(&world, OTHER, gref)), [25, 25, 25, 1, 1]);
    assert_eq!(world.state.grants.mappings().count(), 3);
    // And back.
    let at = FIXED - 24 - 16;
    let store = |(index, word): (usize, u64)| world.memory.store64(Maddr(at + 8 * index as u64), word);
    let element = |handle: u64| [(handle + 1) << 12, 0, 99 << 32 | handle];
    (0..3).flat_map(element).enumerate().for_each(store);
    assert_eq!(world.call(OP, &[1, at, 3]), -14);
    world.audit_all();
    let answer = |index: u64| world.get::<GnttabUnmapGrantRef>(at + 24 * index).status;
    assert_eq!([0, 1, 2].map(answer), [0, 99, 99]);
    assert_eq!([0, 1, 2].map(|gref| flags(&world, OTHER, gref)), [1, 1, 25]);
}

#[test]
fn what_an_element_asks_stays_as_it_is_and_so_does_the_answer_of_one_that_is_refused() {
    let world = ready();
    for gref in 0..3 {
        grant(&world, OTHER, gref, DOM0, 1, page(&world, OTHER, gref as usize));
    }
    // Flags change from element to element.
    let maps = [(0, HOST | READ_ONLY), (1, HOST), (7, HOST), (2, 1), (1, 4)];
    let maps: Vec<_> = maps.iter().zip(1..).map(|(&(gref, flags), at)| (gref, flags, at << 12)).collect();
    let asked = maps.iter().map(|&(gref, flags, at)| Map { from: OTHER, gref, flags, at });
    put_maps(&world, &asked.collect::<Vec<_>>());
    assert_eq!(world.call(OP, &[0, LIST, 5]), 0);
    world.audit_all();
    for (index, (gref, flags, at)) in maps.into_iter().enumerate() {
        let answer = get_map(&world, index as u64);
        assert_eq!((answer.ref_, answer.flags, answer.host_addr, answer.dom), (gref, flags, at, 5));
        let page = |gref: usize| page(&world, OTHER, gref) << 12;
        let expected = [(0, 0, page(0)), (0, 1, page(1)), (-1, 0x55, 0), (0, 2, page(2)), (-3, 0x55, 0)];
        assert_eq!((answer.status, answer.handle, answer.dev_bus_addr), expected[index]);
    }
    assert_eq!([0, 1, 2].map(|gref| flags(&world, OTHER, gref)), [9, 25, 25]);
    assert_eq!(world.memory.load64(entry(&world, DOM0, 1)) & 2, 0);
}

#[test]
fn tracks_go_back_to_the_pool_in_pieces_and_come_again() {
    let world = ready();
    for gref in 0..8 {
        grant(&world, OTHER, gref, DOM0, 1, page(&world, OTHER, gref as usize));
    }
    let maps: Vec<_> =
        (0..8).map(|gref| Map { from: OTHER, gref, flags: HOST, at: u64::from(gref + 1) << 12 }).collect();
    for round in 0..6 {
        put_maps(&world, &maps);
        assert_eq!(world.call(OP, &[0, LIST, 8]), 0);
        let mut handles: Vec<_> = (0..8).map(|n| get_map(&world, n).handle).collect();
        let unmaps: Vec<_> = (1..).zip(&handles).map(|(at, handle)| (at << 12, *handle)).collect();
        // In one piece, and in two.
        for part in [&unmaps[..round], &unmaps[round..]] {
            put_unmaps(&world, part);
            assert_eq!(world.call(OP, &[1, LIST, part.len() as u64]), 0);
            world.audit_all();
        }
        assert_eq!(world.state.grants.mappings().count(), 0);
        handles.sort_unstable();
        assert_eq!(handles, [0, 1, 2, 3, 4, 5, 6, 7], "no track is lost, and none is there twice");
    }
}
