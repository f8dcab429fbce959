//! The processor of another CPU marks an entry accessed and dirty while an instruction on it is emulated.

use crate::crash::{crashing, quiet};
use crate::world::World;
use crate::world::ops::{Op, Tried};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr};
use pv_mmu::{AdBits, Pte};
use std::cell::Cell;

/// A world with a pinned L1 table whose entry 3 maps a page writable; that entry's address.
fn table() -> (World, u64) {
    let mut world = World::new();
    let Tried::Done = world.run(0, &Op::Allocate { domain: 0, order: 1 }, 30) else { panic!("memory") };
    let first = world.frames.list(DomainSlot(0)).first().expect("two frames").0;
    let entry = (first + 1) << 12 | Pte::P | Pte::RW | Pte::US;
    world.run(0, &Op::Fill { domain: 0, mfn: first, words: vec![(3, entry)] }, 30);
    let Tried::Done = world.run(0, &Op::Pin { domain: 0, mfn: first, level: 1 }, 30) else { panic!("pin") };
    (world, first << 12 | 3 << 3)
}

/// Exchanges the entry with 0 by an instruction that reports what it held. The processor marks it right after
/// it was read for the first time.
fn exchange(world: &World, at: u64, marked: &Cell<bool>) -> u64 {
    let (mmu, mut j) = world.parts(0, 30);
    let reported = Cell::new(0);
    let mut rewrite = |old| {
        reported.set(old);
        if !marked.replace(true) {
            world.memory.or64(Maddr(at), Pte::A | Pte::D);
        }
        Some(0)
    };
    let mut done = |tx: &mut vault::Tx<'static>| tx.advance(1);
    let subject = crate::world::subject(0);
    mmu.update_leaf(&mut j, Maddr(at), AdBits::Exact, subject, &mut rewrite, &mut done)
        .expect("the entry may be exchanged");
    reported.get()
}

#[test]
fn no_mark_is_lost_by_an_emulated_exchange() {
    quiet();
    let mut crashes = 0;
    for step in 0.. {
        let (mut world, at) = table();
        world.logs[0].begin();
        let marked = Cell::new(false);
        let (reported, steps) = crashing(step, || exchange(&world, at, &marked));
        if reported.is_none() {
            crashes += 1;
            world.restart();
        }
        world.audit().unwrap_or_else(|e| panic!("crash at {step}: {e}"));
        let entry = world.memory.load64(Maddr(at));
        match (reported, world.logs[0].head().progress()) {
            (Some(old), _) => assert!(entry == 0 && old & Pte::D != 0, "reported {old:#x}"),
            // What it reports is in the outbox, which this world does not read.
            (None, 1) => assert_eq!(entry, 0),
            (None, _) => {
                assert_eq!(entry & Pte::D != 0, marked.get(), "crash at {step}: {entry:#x}");
                assert!(exchange(&world, at, &marked) & Pte::D != 0, "crash at {step}");
            }
        }
        if step > steps {
            break;
        }
    }
    assert!(crashes > 4, "{crashes} crashes");
}
