//! `grant_table_op`.

use crate::fixture::{ARGUMENT, DOM0, LIST, NOWHERE, OTHER, OTHER_ID, World};
use crate::memory::get_list;
use guest_memory::GuestMemory;
use ids::Maddr;
use xen_abi::grant_table::{GnttabCopy, GnttabQuerySize, GnttabSetupTable};

pub(crate) const OP: u64 = 20;
const SELF: u16 = 0x7ff0;

pub(crate) fn setup(world: &World, dom: u16, nr_frames: u32) {
    let request =
        GnttabSetupTable { dom, _pad0: [0; 2], nr_frames, status: 99, _pad1: [0; 6], frame_list: LIST };
    world.put(ARGUMENT, &request);
}

pub(crate) fn setup_status(world: &World) -> i16 {
    world.get::<GnttabSetupTable>(ARGUMENT).status
}

/// The frames of Dom0's table.
pub(crate) fn frames_of_dom0(world: &World) -> Vec<u64> {
    world.state.grants.frames(DOM0).map(|mfn| mfn.0).collect()
}

fn size(world: &World, dom: u16) -> (u32, u32, i16) {
    let request =
        GnttabQuerySize { dom, _pad0: [0; 2], nr_frames: 0, max_nr_frames: 0, status: 99, _pad1: [0; 2] };
    world.put(ARGUMENT, &request);
    assert_eq!(world.call(OP, &[6, ARGUMENT, 1]), 0);
    let answer: GnttabQuerySize = world.get(ARGUMENT);
    (answer.nr_frames, answer.max_nr_frames, answer.status)
}

#[test]
fn the_table_grows_and_is_the_domains_to_map_but_not_to_give_away() {
    let world = World::new();
    assert_eq!(size(&world, SELF), (1, 64, 0));
    for mfn in 256..320u64 {
        world.memory.store64(Maddr(mfn << 12), 7);
    }
    for (wanted, have) in [(1, 1), (3, 3), (2, 3)] {
        setup(&world, SELF, wanted);
        assert_eq!((world.call(OP, &[2, ARGUMENT, 1]), setup_status(&world)), (0, 0));
        let frames = frames_of_dom0(&world);
        assert_eq!(frames.len(), have);
        assert_eq!(get_list(&world, LIST, wanted.into()), frames[..wanted as usize]);
        assert!(frames.iter().all(|m| world.memory.load64(Maddr(m << 12)) == 0));
        world.audit(&frames);
    }
    assert_eq!(size(&world, 0), (3, 64, 0));
    setup(&world, SELF, 65);
    assert_eq!((world.call(OP, &[2, ARGUMENT, 1]), setup_status(&world)), (0, -1));
    setup(&world, 77, 1);
    assert_eq!((world.call(OP, &[2, ARGUMENT, 1]), setup_status(&world)), (0, -2));
    assert_eq!(world.call(OP, &[2, ARGUMENT, 2]), -22);
    assert_eq!(world.call(OP, &[2, NOWHERE, 1]), -14);
    // A mapping may come and go; giving the frame back is refused.
    let frames = frames_of_dom0(&world);
    world.map(frames[1], true);
    world.map(frames[1], false);
    crate::memory::put_list(&world, LIST, &frames[1..2]);
    world.put(ARGUMENT, &crate::memory::reservation(LIST, 1, 0));
    assert_eq!(world.call(crate::memory::OP, &[1, ARGUMENT]), 0);
    world.audit(&frames);
}

#[test]
fn unknown_operations_and_lists_that_are_none() {
    let mut world = World::new();
    world.put(ARGUMENT, &3_u32);
    assert_eq!(world.call(OP, &[8, ARGUMENT, 1]), -22);
    assert_eq!(world.get::<u32>(ARGUMENT), 1);
    world.put(ARGUMENT, &u64::from(OTHER_ID));
    assert_eq!(world.call(OP, &[10, ARGUMENT, 1]), 0);
    assert_eq!(world.get::<u32>(ARGUMENT + 4), 1);
    // A list of copies of nothing, longer than one run.
    let bytes = size_of::<GnttabCopy>() as u64;
    let count = 1030;
    assert_eq!(world.call(OP, &[5, LIST, count]), 0);
    for index in 0..count {
        assert_eq!(world.get::<GnttabCopy>(LIST + bytes * index).status, -8);
    }
    assert_eq!(world.call(OP, &[13, LIST, 1]), -38);
    assert_eq!(world.call(OP, &[3, LIST, 1]), -38);
    assert_eq!(world.call(OP, &[1 << 12, LIST, 1]), -22);
    assert_eq!(world.call(OP, &[5, LIST, 1 << 31]), -22);
    assert_eq!(world.call(OP, &[5, NOWHERE, 1]), -14);
    assert_eq!(world.call(OP, &[0, NOWHERE, 0]), 0);
    world.caller = OTHER;
    assert_eq!(size(&world, 0).2, -8);
}
