//! Frames given away: each is one domain's or the other's, whatever crashes.

use super::{SELF, frames_of, grant_at, id, page, scene};
use crate::crash::everywhere;
use crate::fixture::{DOM0, LIST, OTHER, World};
use crate::grants::OP;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr};
use xen_abi::grant_table::GnttabTransfer;

/// Flags: accepts; is committed; is complete.
const ACCEPT: u64 = 2;
const COMPLETE: u64 = 2 | 4 | 8;
const OKAY: i16 = 0;
const GENERAL_ERROR: i16 = -1;
const BAD_DOMAIN: i16 = -2;
const BAD_PAGE: i16 = -9;

/// A domain accepts a frame of another, which is to have the number `wanted`.
fn accept(world: &World, taker: DomainSlot, gref: u64, from: DomainSlot, wanted: u64) {
    let word = ACCEPT | u64::from(id(from)) << 16 | wanted << 32;
    world.memory.store64(grant_at(world, taker, gref), word);
}

fn put(world: &World, transfers: &[(u64, u16, u32)]) {
    for (index, (mfn, domid, gref)) in transfers.iter().enumerate() {
        let request = GnttabTransfer {
            mfn: *mfn,
            domid: *domid,
            ref_: *gref,
            status: 99,
            _pad0: [0; 2],
            _pad1: [0; 6],
        };
        world.put(LIST + 24 * index as u64, &request);
    }
}

fn status(world: &World, index: u64) -> i16 {
    world.get::<GnttabTransfer>(LIST + 24 * index).status
}

fn owns(world: &World, slot: DomainSlot, mfn: u64) -> bool {
    frames_of(world, slot).contains(&mfn)
}

#[test]
fn frames_go_to_who_accepts_them() {
    let given = |world: &World| [0, 1, 2].map(|n| page(world, DOM0, n));
    let first = std::cell::Cell::new([0; 3]);
    let prepare = |world: &mut World| {
        scene(world);
        first.set(given(world));
        for (gref, mfn) in (7..).zip(first.get()) {
            accept(world, OTHER, gref, DOM0, 0x700 + gref);
            world.memory.store64(Maddr(mfn << 12), 0xabc0 + gref);
        }
        accept(world, OTHER, 8, OTHER, 0x708);
        let [one, two, three] = first.get();
        put(world, &[(one, id(OTHER), 7), (two, id(OTHER), 8), (three, id(OTHER), 9)]);
    };
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        world.audit_all();
        let [one, two, three] = first.get();
        // What the second entry does not accept is lost.
        assert_eq!([0, 1, 2].map(|n| status(world, n)), [OKAY, GENERAL_ERROR, OKAY]);
        for (gref, mfn) in [(7, one), (9, three)] {
            assert!(owns(world, OTHER, mfn) && !owns(world, DOM0, mfn));
            let entry = world.memory.load64(grant_at(world, OTHER, gref));
            assert_eq!(entry, COMPLETE | u64::from(id(DOM0)) << 16 | mfn << 32);
            assert_eq!(world.seen.borrow().m2p[mfn as usize], 0x700 + gref);
            assert_eq!(world.memory.load64(Maddr(mfn << 12)), 0xabc0 + gref, "with what it held");
        }
        assert!(!owns(world, OTHER, two) && !owns(world, DOM0, two));
        assert_eq!(
            world.memory.load64(grant_at(world, OTHER, 8)),
            0x708 << 32 | u64::from(id(OTHER)) << 16 | 2
        );
        assert!(world.seen.borrow().flushes > 0);
    };
    everywhere(OP, &[4, LIST, 3], prepare, check);
}

#[test]
fn a_domain_gives_to_itself_and_back() {
    let first = std::cell::Cell::new(0);
    let prepare = |world: &mut World| {
        scene(world);
        first.set(page(world, OTHER, 3));
        world.caller = OTHER;
        accept(world, OTHER, 3, OTHER, 0x123);
        accept(world, DOM0, 4, OTHER, 0x124);
        put(world, &[(first.get(), id(OTHER), 3), (first.get(), 0, 4)]);
    };
    let check = |world: &World, value: i64| {
        assert_eq!((value, status(world, 0), status(world, 1)), (0, OKAY, OKAY));
        world.audit_all();
        assert!(owns(world, DOM0, first.get()) && !owns(world, OTHER, first.get()));
        assert_eq!(world.seen.borrow().m2p[first.get() as usize], 0x124);
    };
    everywhere(OP, &[4, LIST, 2], prepare, check);
}

#[test]
fn what_is_refused_has_the_status_of_xen() {
    let mut world = World::new();
    scene(&mut world);
    let [table, used] = [frames_of(&world, DOM0)[0], page(&world, DOM0, 0)];
    let transfer = |mfn: u64, domid: u16, gref: u32| {
        put(&world, &[(mfn, domid, gref)]);
        assert_eq!(world.call(OP, &[4, LIST, 1]), 0);
        world.audit_all();
        status(&world, 0)
    };
    // The frame stays: a table, another's, none.
    let others = page(&world, OTHER, 0);
    for mfn in [table, others, 1 << 40, u64::MAX, 1] {
        assert_eq!(transfer(mfn, id(OTHER), 1), BAD_PAGE, "{mfn:#x}");
        assert_eq!(transfer(mfn, 0x1234, 1), BAD_PAGE, "{mfn:#x}");
    }
    // It is lost.
    assert_eq!(transfer(used, 0x1234, 1), BAD_DOMAIN);
    assert_eq!(transfer(used, 0x1234, 1), BAD_PAGE);
    for (domid, gref, wanted) in
        [(SELF, 1, BAD_DOMAIN), (id(OTHER), 1, GENERAL_ERROR), (id(OTHER), 1 << 30, GENERAL_ERROR)]
    {
        assert_eq!(transfer(page(&world, DOM0, 1), domid, gref), wanted);
    }
    // The other domain has all the frames that it may have.
    let frames = world.state.frames;
    let pages = frames.list(OTHER).pages();
    world.change(|tx| frames.set_max_pages(tx, OTHER, pages));
    accept(&world, OTHER, 5, DOM0, 1);
    let given = page(&world, DOM0, 1);
    assert_eq!(transfer(given, id(OTHER), 5), GENERAL_ERROR);
    assert!(!owns(&world, DOM0, given) && !owns(&world, OTHER, given));
    assert_eq!(world.memory.load64(grant_at(&world, OTHER, 5)) as u16, 2, "not committed");
}
