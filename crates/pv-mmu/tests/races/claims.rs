//! A frame is claimed as a descriptor table while another CPU lets go of it.

use super::{beside, meet};
use crate::crash::quiet;
use crate::world::ops::{Op, Tried};
use crate::world::{World, owner};
use ids::{DomainSlot, Mfn};

/// A world with a descriptor table that one CPU uses.
fn table() -> (World, u64) {
    let mut world = World::new();
    let Tried::Done = world.run(0, &Op::Allocate { domain: 0, order: 0 }, 30) else { panic!("memory") };
    let mfn = world.frames.list(DomainSlot(0)).first().expect("a frame").0;
    assert_eq!(world.run(1, &Op::Segments { domain: 0, mfn }, 30), Tried::Done);
    (world, mfn)
}

/// Claims the frame, which the other lets go of by `drop` at each step of that; how the first try ended, each time.
fn claims(mut world: World, mfn: u64, drop: &Op) -> Vec<Tried> {
    let claim = Op::Segments { domain: 0, mfn };
    let (saved, mut ends) = (world.save(), vec![]);
    for at in 1.. {
        world.restore(&saved);
        let before = world.owners();
        let met = meet(&world, [&claim, drop], 30, at, None);
        if met.second.is_none() {
            return ends;
        }
        let first = met.first.expect("nobody crashes");
        for (cpu, op) in [&claim, drop].into_iter().enumerate() {
            if world.logs[cpu].head().progress() > 0 {
                world.book(op, &before);
            }
            world.logs[cpu].end();
        }
        assert_eq!(met.second, Some(Tried::Done), "at {at}");
        world.audit().unwrap_or_else(|e| panic!("at {at}, {first:?}: {e}"));
        if first != Tried::Done {
            assert_eq!(world.run(0, &claim, 30), Tried::Done, "at {at}, after {first:?}");
            world.audit().unwrap_or_else(|e| panic!("at {at}, repeated: {e}"));
        }
        let usage = world.frames.frame(Mfn(mfn)).expect("a frame").usage();
        assert!(usage.is_validated() && usage.typed() == 1, "at {at}, {first:?}: {usage:?}");
        ends.push(first);
    }
    unreachable!("it ends");
}

#[test]
fn a_descriptor_table_that_another_lets_go_of_is_claimed_again() {
    quiet();
    let (world, mfn) = table();
    let ends = claims(world, mfn, &Op::DropSegments { mfn });
    assert!(ends.iter().all(|end| matches!(end, Tried::Done | Tried::Preempted)), "{ends:?}");
    assert!(ends.contains(&Tried::Done) && ends.contains(&Tried::Preempted), "{ends:?}");
}

/// Claims both frames on CPU 0.
fn claim_both(world: &World, frames: [u64; 2]) -> Tried {
    let (mmu, mut j) = world.parts(0, 30);
    mmu.get_descriptors(&mut j, &frames.map(Mfn), owner(0), &Some, &mut |tx| tx.advance(1)).into()
}

#[test]
fn a_page_table_that_another_lets_go_of_is_claimed_in_the_next_try() {
    quiet();
    let mut world = World::new();
    let Tried::Done = world.run(0, &Op::Allocate { domain: 0, order: 1 }, 30) else { panic!("memory") };
    let page = world.frames.list(DomainSlot(0)).first().expect("two frames").0;
    let root = page + 1;
    assert_eq!(world.run(1, &Op::Base { domain: 0, mfn: root }, 30), Tried::Done);
    let (saved, mut ends) = (world.save(), vec![]);
    for at in 1.. {
        world.restore(&saved);
        let drop = Op::DropBase { mfn: root };
        let met = beside(&world, || claim_both(&world, [page, root]), (&drop, 30), at, None);
        if met.second.is_none() {
            break;
        }
        world.book(&drop, &world.owners());
        let first = met.first.expect("nobody crashes");
        assert_ne!(first, Tried::Done, "at {at}: it was in use");
        world.logs.iter().for_each(vault::Log::end);
        world.audit().unwrap_or_else(|e| panic!("at {at}, {first:?}: {e}"));
        world.logs[0].begin();
        assert_eq!(claim_both(&world, [page, root]), Tried::Done, "at {at}, after {first:?}");
        world.logs[0].end();
        for mfn in [page, root] {
            world.book(&Op::Segments { domain: 0, mfn }, &world.owners());
        }
        world.audit().unwrap_or_else(|e| panic!("at {at}, repeated: {e}"));
        ends.push(first);
    }
    assert!(ends.contains(&Tried::Preempted), "{ends:?}");
}
