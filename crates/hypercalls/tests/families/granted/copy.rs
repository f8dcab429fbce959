//! Copying.

use super::{BY_ENTRY, HOST, Map, SELF, entry, flags, grant, grant_at, id, map, page, scene};
use crate::fixture::{ARGUMENT, DOM0, FIXED, LIST, OTHER, World};
use crate::grants::OP;
use guest_memory::GuestMemory;
use ids::Maddr;
use xen_abi::grant_table::{GnttabCopy, GnttabCopyPtr};

/// One end: domain, frame or reference, offset.
pub(super) type End = (u16, u64, u16);

pub(super) fn put_copy(world: &World, index: u64, source: End, dest: End, len: u16, flags: u16) {
    let end = |(domid, u, offset): End| GnttabCopyPtr { u, domid, offset, _pad0: [0; 4] };
    let request = GnttabCopy { source: end(source), dest: end(dest), len, flags, status: 99, _pad0: [0; 2] };
    world.put(LIST + 40 * index, &request);
}

pub(super) fn get_copy(world: &World, index: u64) -> i16 {
    world.get::<GnttabCopy>(LIST + 40 * index).status
}

fn copy(world: &World, source: End, dest: End, len: u16, flags: u16) -> i16 {
    put_copy(world, 0, source, dest, len, flags);
    assert_eq!(world.call(OP, &[5, LIST, 1]), 0);
    world.audit_all();
    get_copy(world, 0)
}

fn fill(world: &World, mfn: u64, seed: u64) {
    for word in 0..512 {
        world.memory.store64(Maddr((mfn << 12) + word * 8), (seed << 32) + word * 0x0101_0101);
    }
}

fn bytes(world: &World, mfn: u64, offset: u64, len: u64) -> Vec<u8> {
    (offset..offset + len).map(|at| world.memory.load8(Maddr(mfn << 12 | at))).collect()
}

#[test]
fn bytes_go_from_a_grant_to_a_frame_and_back() {
    let mut world = World::new();
    scene(&mut world);
    let (theirs, own) = (page(&world, OTHER, 0), page(&world, DOM0, 0));
    grant(&world, OTHER, 9, DOM0, 1, theirs);
    grant(&world, OTHER, 10, DOM0, 1 | 4, page(&world, OTHER, 1));
    for (from, to, len) in
        [(0, 0, 4096), (5, 5, 1500), (3, 100, 77), (4095, 0, 1), (7, 9, 0), (8, 1024, 1024)]
    {
        fill(&world, theirs, 7);
        fill(&world, own, 3);
        let wanted = bytes(&world, theirs, from, len);
        let before = bytes(&world, own, 0, 4096);
        let ends = [(id(OTHER), 9, from as u16), (SELF, own, to as u16)];
        assert_eq!(copy(&world, ends[0], ends[1], len as u16, 1), 0);
        assert_eq!(bytes(&world, own, to, len), wanted);
        let after = bytes(&world, own, 0, 4096);
        assert_eq!(after[..to as usize], before[..to as usize]);
        assert_eq!(after[(to + len) as usize..], before[(to + len) as usize..]);
        fill(&world, own, 4);
        assert_eq!(copy(&world, ends[1], ends[0], len as u16, 2), 0);
        assert_eq!(bytes(&world, theirs, from, len), bytes(&world, own, to, len));
        assert_eq!(flags(&world, OTHER, 9), 1);
    }
    // From grant to grant; own frame to own frame.
    assert_eq!(copy(&world, (id(OTHER), 10, 0), (id(OTHER), 9, 0), 4096, 3), 0);
    assert_eq!(bytes(&world, theirs, 0, 4096), bytes(&world, page(&world, OTHER, 1), 0, 4096));
    assert_eq!(copy(&world, (SELF, own, 0), (SELF, page(&world, DOM0, 1), 8), 64, 0), 0);
    assert_eq!(copy(&world, (id(OTHER), 9, 0), (id(OTHER), 9, 8), 8, 3), 0);
}

#[test]
fn what_is_not_granted_is_not_copied() {
    let mut world = World::new();
    scene(&mut world);
    let (theirs, own) = (page(&world, OTHER, 0), page(&world, DOM0, 0));
    grant(&world, OTHER, 9, DOM0, 1, theirs);
    grant(&world, OTHER, 10, DOM0, 1 | 4, theirs);
    grant(&world, OTHER, 11, OTHER, 1, theirs);
    grant(&world, OTHER, 12, DOM0, 1, own);
    let other = id(OTHER);
    let table = super::frames_of(&world, DOM0)[0];
    let wrong = [
        ((other, 11, 0), (SELF, own, 0), 8, 1, -1),
        ((other, 13, 0), (SELF, own, 0), 8, 1, -1),
        ((other, 9999, 0), (SELF, own, 0), 8, 1, -3),
        ((other, 12, 0), (SELF, own, 0), 8, 1, -9),
        ((SELF, own, 0), (other, 10, 0), 8, 2, -1),
        ((other, theirs, 0), (SELF, own, 0), 8, 0, -8),
        ((SELF, theirs, 0), (SELF, own, 0), 8, 0, -9),
        ((SELF, 1 << 40, 0), (SELF, own, 0), 8, 0, -9),
        ((SELF, own, 0), (SELF, table, 0), 8, 0, -1),
        ((77, 9, 0), (SELF, own, 0), 8, 1, -2),
        ((other, 9, 1), (SELF, own, 0), 4096, 1, -10),
        ((other, 9, 0), (SELF, own, 4096), 1, 1, -10),
        ((other, 9, 0), (SELF, own, 0xffff), 0xffff, 1, -10),
    ];
    fill(&world, own, 3);
    let before = bytes(&world, own, 0, 4096);
    for (source, dest, len, flags, status) in wrong {
        assert_eq!(copy(&world, source, dest, len, flags), status, "{source:?} {dest:?} {len}");
    }
    assert_eq!(bytes(&world, own, 0, 4096), before);
    // Reading a page table is no harm.
    assert_eq!(copy(&world, (SELF, table, 0), (SELF, own, 0), 8, 0), 0);
    // A grant that is mapped may be copied from too, and its flags stay.
    let at = entry(&world, DOM0, 1).0;
    assert_eq!(map(&world, Map { from: OTHER, gref: 9, flags: HOST | BY_ENTRY, at }).0, 0);
    assert_eq!(copy(&world, (other, 9, 0), (SELF, own, 0), 8, 1), 0);
    assert_eq!(copy(&world, (SELF, own, 0), (other, 9, 0), 8, 2), 0);
    assert_eq!(flags(&world, OTHER, 9), 25);
}

#[test]
fn a_part_of_a_page_is_copied_and_not_mapped() {
    let mut world = World::new();
    scene(&mut world);
    let (theirs, own) = (page(&world, OTHER, 0), page(&world, DOM0, 0));
    world.caller = OTHER;
    world.put(ARGUMENT, &2_u32);
    assert_eq!(world.call(OP, &[8, ARGUMENT, 1]), 0);
    world.audit_all();
    world.caller = DOM0;
    // Bytes 100 to 300: format 2, type, GTF_sub_page; offset and length; frame.
    let at = grant_at(&world, OTHER, 0).0 + 16 * 9;
    world.memory.store64(Maddr(at), 1 | 256 | 100 << 32 | 200 << 48);
    world.memory.store64(Maddr(at + 8), theirs);
    fill(&world, theirs, 7);
    for (from, len, status) in [(100, 200, 0), (100, 201, -1), (99, 1, -1), (299, 1, 0), (150, 10, 0)] {
        let source = (id(OTHER), 9, from);
        assert_eq!(copy(&world, source, (SELF, own, 0), len, 1), status, "{from} {len}");
    }
    let at = entry(&world, DOM0, 1).0;
    assert_eq!(map(&world, Map { from: OTHER, gref: 9, flags: HOST | BY_ENTRY, at }).0, -1);
}

#[test]
fn a_list_of_copies_ends_where_its_answers_cannot_be_written() {
    let mut world = World::new();
    scene(&mut world);
    for gref in 0..4 {
        grant(&world, OTHER, gref, DOM0, 1, page(&world, OTHER, gref as usize));
    }
    let own = page(&world, DOM0, 0);
    world.memory.store64(Maddr(own << 12), 0x1234);
    // Of four elements the second ends in the page that cannot be written.
    let at = FIXED - 64;
    for gref in 0..4_u64 {
        put_copy(&world, 0, (SELF, own, 0), (id(OTHER), gref, 0), 8, 2);
        for word in 0..5 {
            let value = world.get::<u64>(LIST + 8 * word);
            world.memory.store64(Maddr(at + 40 * gref + 8 * word), value);
        }
    }
    assert_eq!(world.call(OP, &[5, at, 4]), -14);
    world.audit_all();
    assert_eq!([0, 1].map(|n| world.get::<GnttabCopy>(at + 40 * n).status), [0, 99]);
    // What comes of those behind it nobody hears: they may have been copied.
    let found = [0, 1].map(|index| world.memory.load64(Maddr(page(&world, OTHER, index) << 12)));
    assert_eq!(found, [0x1234; 2]);
    assert_eq!([0, 1, 2, 3].map(|gref| flags(&world, OTHER, gref)), [1; 4]);
}
