//! A crash at every durable step of calls on grants: each happens wholly or not at all.

use super::copy::{get_copy, put_copy};
use super::{
    BY_ENTRY, HOST, Map, READ_ONLY, SELF, entry, flags, get_map, get_unmap, grant, grant_at, id, map, page,
    put_maps, put_unmaps, scene,
};
use crate::crash::everywhere;
use crate::fixture::{ARGUMENT, DOM0, LIST, OTHER, World};
use crate::grants::OP;
use guest_memory::GuestMemory;
use ids::Maddr;

fn granted(world: &mut World) {
    scene(world);
    for gref in 0..4 {
        grant(world, OTHER, gref, DOM0, 1, page(world, OTHER, gref as usize));
    }
}

#[test]
fn mapping() {
    let prepare = |world: &mut World| {
        granted(world);
        let by_entry = entry(world, DOM0, 9).0;
        let maps = [
            (0, HOST, 1 << 12),
            (1, HOST | READ_ONLY, 2 << 12),
            (7, HOST, 3 << 12),
            (0, HOST | BY_ENTRY, by_entry),
        ];
        put_maps(world, &maps.map(|(gref, flags, at)| Map { from: OTHER, gref, flags, at }));
    };
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        world.audit_all();
        assert_eq!([0, 1, 2, 3].map(|n| get_map(world, n).status), [0, 0, -1, 0]);
        assert_eq!([0, 1, 2, 3].map(|n| get_map(world, n).handle), [0, 1, 0x55, 2]);
        assert_eq!([0, 1, 2].map(|gref| flags(world, OTHER, gref)), [25, 9, 1]);
        for (index, gref) in [(1, 0), (9, 0)] {
            assert_eq!(
                world.memory.load64(entry(world, DOM0, index)) >> 12 & 0xffff,
                page(world, OTHER, gref)
            );
        }
    };
    everywhere(OP, &[0, LIST, 4], prepare, check);
}

#[test]
fn unmapping() {
    let prepare = |world: &mut World| {
        granted(world);
        for (gref, at) in [(0, 1), (0, 2), (1, 3), (2, 4)] {
            assert_eq!(map(world, Map { from: OTHER, gref, flags: HOST, at: at << 12 }).0, 0);
        }
        put_unmaps(world, &[(1 << 12, 0), (5 << 12, 2), (3 << 12, 2), (4 << 12, 3)]);
    };
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        world.audit_all();
        assert_eq!([0, 1, 2, 3].map(|n| get_unmap(world, n)), [0, -1, 0, 0]);
        assert_eq!([0, 1, 2].map(|gref| flags(world, OTHER, gref)), [25, 1, 1]);
        assert_eq!(world.state.grants.mappings().count(), 1);
        assert!(world.seen.borrow().flushes > 0);
    };
    everywhere(OP, &[1, LIST, 4], prepare, check);
}

#[test]
fn moving_an_entry_to_where_a_mapping_was() {
    let prepare = |world: &mut World| {
        granted(world);
        assert_eq!(map(world, Map { from: OTHER, gref: 0, flags: HOST, at: 1 << 12 }).0, 0);
        assert_eq!(map(world, Map { from: OTHER, gref: 1, flags: HOST | READ_ONLY, at: 2 << 12 }).0, 0);
        [1 << 12, 2 << 12, 0_u64].iter().enumerate().for_each(|(i, w)| world.put(LIST + 8 * i as u64, w));
    };
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        world.audit_all();
        let [one, two] = [1, 2].map(|index| world.memory.load64(entry(world, DOM0, index)));
        assert_eq!((one >> 12 & 0xffff, two), (page(world, OTHER, 1), 0));
        assert_eq!([0, 1].map(|gref| flags(world, OTHER, gref)), [1, 9]);
    };
    everywhere(OP, &[7, LIST, 1], prepare, check);
}

#[test]
fn copying() {
    let prepare = |world: &mut World| {
        granted(world);
        world.memory.store64(Maddr(page(world, OTHER, 0) << 12), 0x1234);
        let own = page(world, DOM0, 0);
        put_copy(world, 0, (id(OTHER), 0, 0), (SELF, own, 8), 64, 1);
        put_copy(world, 1, (SELF, own, 8), (id(OTHER), 1, 16), 64, 2);
        put_copy(world, 2, (SELF, own, 8), (id(OTHER), 9, 16), 64, 2);
        put_copy(world, 3, (id(OTHER), 1, 0), (id(OTHER), 2, 0), 64, 3);
    };
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        world.audit_all();
        assert_eq!([0, 1, 2, 3].map(|n| get_copy(world, n)), [0, 0, -1, 0]);
        assert_eq!(world.memory.load64(Maddr(page(world, OTHER, 2) << 12 | 16)), 0x1234);
        assert_eq!([0, 1, 2].map(|gref| flags(world, OTHER, gref)), [1, 1, 1]);
    };
    everywhere(OP, &[5, LIST, 4], prepare, check);
}

#[test]
fn copies_that_follow_each_other() {
    let prepare = |world: &mut World| {
        granted(world);
        for index in 0..3 {
            world.memory.store64(Maddr(page(world, DOM0, index) << 12), 0x10 + index as u64);
        }
        // Round in a circle: each writes to what the one before has read.
        let [one, two, three] = [0, 1, 2].map(|index| page(world, DOM0, index));
        for (index, (from, to)) in [(one, two), (three, one), (two, three)].into_iter().enumerate() {
            put_copy(world, index as u64, (SELF, from, 0), (SELF, to, 0), 8, 0);
        }
    };
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        world.audit_all();
        let found = [0, 1, 2].map(|index| world.memory.load64(Maddr(page(world, DOM0, index) << 12)));
        assert_eq!(found, [0x12, 0x10, 0x10]);
        assert_eq!([0, 1, 2].map(|n| get_copy(world, n)), [0, 0, 0]);
    };
    everywhere(OP, &[5, LIST, 3], prepare, check);
}

/// Grants of two domains in turn, and one that is refused among them.
fn mixed(world: &mut World) {
    granted(world);
    grant(world, DOM0, 6, DOM0, 1, page(world, DOM0, 1));
    let maps = [(OTHER, 0, 1), (OTHER, 1, 2), (DOM0, 6, 3), (OTHER, 9, 4), (OTHER, 2, 5), (OTHER, 0, 6)];
    put_maps(world, &maps.map(|(from, gref, at)| Map { from, gref, flags: HOST, at: at << 12 }));
}

#[test]
fn mapping_grants_of_two() {
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        world.audit_all();
        assert_eq!([0, 1, 2, 3, 4, 5].map(|n| get_map(world, n).status), [0, 0, 0, -1, 0, 0]);
        assert_eq!(world.state.grants.mappings().count(), 5);
        assert_eq!(flags(world, DOM0, 6), 25);
    };
    everywhere(OP, &[0, LIST, 6], mixed, check);
}

#[test]
fn unmapping_grants_of_two() {
    let prepare = |world: &mut World| {
        mixed(world);
        assert_eq!(world.call(OP, &[0, LIST, 6]), 0);
        let mapped = [0, 1, 2, 4, 5].map(|n| get_map(world, n));
        put_unmaps(world, &mapped.map(|map| (map.host_addr, map.handle)));
    };
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        world.audit_all();
        assert_eq!([0, 1, 2, 3, 4].map(|n| get_unmap(world, n)), [0; 5]);
        assert_eq!(world.state.grants.mappings().count(), 0);
    };
    everywhere(OP, &[1, LIST, 5], prepare, check);
}

#[test]
fn changing_the_format() {
    let prepare = |world: &mut World| {
        granted(world);
        assert_eq!(map(world, Map { from: OTHER, gref: 1, flags: HOST, at: 1 << 12 }).0, 0);
        grant(world, OTHER, 100, DOM0, 1, page(world, OTHER, 0));
        world.caller = OTHER;
        world.put(ARGUMENT, &2_u32);
    };
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        world.audit_all();
        assert_eq!((world.get::<u32>(ARGUMENT), world.state.grants.version(OTHER)), (2, 2));
        let at = |gref: u64| grant_at(world, OTHER, 2 * gref);
        assert_eq!(world.memory.load64(at(3)), 1);
        assert_eq!(world.memory.load64(Maddr(at(3).0 + 8)), page(world, OTHER, 3));
        assert_eq!(world.memory.load64(at(50)), 0);
    };
    everywhere(OP, &[8, ARGUMENT, 1], prepare, check);
    let back = |world: &mut World| {
        prepare(world);
        assert_eq!(world.call(OP, &[8, ARGUMENT, 1]), 0);
        world.put(ARGUMENT, &1_u32);
    };
    let check = |world: &World, value: i64| {
        assert_eq!((value, world.get::<u32>(ARGUMENT)), (0, 1));
        world.audit_all();
        assert_eq!([0, 1, 3].map(|gref| flags(world, OTHER, gref)), [1, 25, 1]);
        assert_eq!(world.memory.load64(grant_at(world, OTHER, 3)) >> 32, page(world, OTHER, 3));
    };
    everywhere(OP, &[8, ARGUMENT, 1], back, check);
}

#[test]
fn exchanging_entries() {
    let prepare = |world: &mut World| {
        granted(world);
        world.caller = OTHER;
        let list = [1_u32, 2, 99, 2, 3, 99, 1, 9, 99, 5, 6, 99];
        list.iter().enumerate().for_each(|(i, w)| world.put(LIST + 4 * i as u64, w));
    };
    let check = |world: &World, value: i64| {
        assert_eq!((value, world.get::<u32>(LIST + 8) as u16), (0, 0));
        world.audit_all();
        let found = [1, 2, 3, 9].map(|gref| world.memory.load64(grant_at(world, OTHER, gref)) >> 32);
        let [one, two, three] = [1, 2, 3].map(|index| page(world, OTHER, index));
        assert_eq!(found, [0, three, one, two]);
    };
    everywhere(OP, &[11, LIST, 4], prepare, check);
}

/// One entry gets three pages, one after the other, and then loses them by three handles: only one of them is there.
#[test]
fn one_entry_named_again_and_again() {
    let maps = || [0, 1, 0].map(|gref| Map { from: OTHER, gref, flags: HOST, at: 1 << 12 });
    let entered = |world: &World| world.memory.load64(entry(world, DOM0, 1)) >> 12 & 0xffff;
    let mapped = |world: &World, value: i64| {
        assert_eq!(value, 0);
        world.audit_all();
        assert_eq!(
            [0, 1, 2].map(|n| (get_map(world, n).status, get_map(world, n).handle)),
            [(0, 0), (0, 1), (0, 2)]
        );
        assert_eq!(entered(world), page(world, OTHER, 0));
    };
    let prepare = |world: &mut World| {
        granted(world);
        put_maps(world, &maps());
    };
    everywhere(OP, &[0, LIST, 3], prepare, mapped);
    let prepare = |world: &mut World| {
        granted(world);
        put_maps(world, &maps());
        assert_eq!(world.call(OP, &[0, LIST, 3]), 0);
        put_unmaps(world, &[(1 << 12, 1), (1 << 12, 2), (1 << 12, 0)]);
    };
    let unmapped = |world: &World, value: i64| {
        assert_eq!(value, 0);
        world.audit_all();
        assert_eq!([0, 1, 2].map(|n| get_unmap(world, n)), [-1, 0, -1]);
        assert_eq!(world.memory.load64(entry(world, DOM0, 1)), 0);
    };
    everywhere(OP, &[1, LIST, 3], prepare, unmapped);
}

/// A list of changes to one table, some of which name the same entry, go backwards, are refused or are for another table.
#[test]
fn entries_of_one_table_in_a_list() {
    let flags = 0x67 | 1 << 52;
    let value = |world: &World, index: usize| page(world, DOM0, index) << 12 | flags;
    let at = |world: &World, index: u64| entry(world, DOM0, index).0;
    let prepare = |world: &mut World| {
        scene(world);
        let refused = page(world, OTHER, 0) << 12 | flags;
        let list = [
            (at(world, 1), value(world, 0)),
            (at(world, 2), value(world, 1)),
            (at(world, 2), value(world, 2)),
            (at(world, 3) | 2, value(world, 0)),
            (at(world, 1), 0),
            (at(world, 4), value(world, 3)),
            (at(world, 5), refused),
            (at(world, 6), value(world, 1)),
        ];
        for (index, (at, new)) in (0..).zip(list) {
            world.put(LIST + 16 * index, &at);
            world.put(LIST + 16 * index + 8, &new);
        }
    };
    let check = |world: &World, result: i64| {
        assert_eq!((result, world.get::<u32>(ARGUMENT)), (-16, 6));
        world.audit_all();
        let expected = [0, value(world, 2), value(world, 0), value(world, 3), 0, 0];
        assert_eq!([1, 2, 3, 4, 5, 6].map(|index| world.memory.load64(entry(world, DOM0, index))), expected);
    };
    everywhere(1, &[LIST, 8, ARGUMENT, SELF.into()], prepare, check);
}
