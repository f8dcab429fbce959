//! Descriptor tables in frames that are something else, which takes longer than one entry.

use crate::world::World;
use frames::Frames;
use guest_memory::GuestMemory;
use hypercalls::Outcome;
use ids::{DomainSlot, Maddr, Mfn};
use xen_abi::hypercall::{MMUEXT_OP, SET_GDT, UPDATE_DESCRIPTOR};
use xen_abi::xen::{DOMID_SELF, MMUEXT_PIN_L2_TABLE, MmuextOp};

/// A valid page table that nobody uses any more and nobody has taken apart yet, with tables below it.
fn unused_table(w: &mut World) -> Mfn {
    let table = w.frame(DomainSlot(0));
    for index in 0..4 {
        let below = w.frame(DomainSlot(0));
        w.memory.store64(Maddr(table.maddr().0 + 8 * index), below.maddr().0 | 7);
    }
    let list = w.argument(&MmuextOp { cmd: MMUEXT_PIN_L2_TABLE, _pad0: [0; 4], arg1: table.0, arg2: 0 });
    assert_eq!(w.value(MMUEXT_OP, &[list, 1, 0, DOMID_SELF.into()]), 0);
    let frames = w.state.frames;
    w.change(|tx| {
        frames.unpin(tx, frames.frame(table).expect("there"));
        tx.publish(Frames::put_typed(table));
    });
    table
}

/// Makes a call as often as the guest would; how often.
fn entries(w: &mut World, op: u64, args: &[u64]) -> usize {
    w.budget = 0;
    for entry in 1..40 {
        let (value, outcome) = w.run(0, op, args);
        if outcome != Outcome::Again {
            assert_eq!((value, outcome), (0, Outcome::Replied), "entry {entry}");
            return entry;
        }
    }
    panic!("no end of {op}");
}

#[test]
fn what_was_a_table_becomes_one_of_descriptors_in_several_entries() {
    let mut w = World::new();
    let table = unused_table(&mut w);
    let list = w.argument(&table.0);
    assert!(entries(&mut w, SET_GDT, &[list, 512]) > 1);
    assert_eq!(w.references(table), (1, 1));
}

#[test]
fn a_descriptor_is_written_to_what_was_a_table_in_several_entries() {
    let mut w = World::new();
    let table = unused_table(&mut w);
    assert!(entries(&mut w, UPDATE_DESCRIPTOR, &[table.maddr().0, 0]) > 1);
    assert_eq!(w.memory.load64(table.maddr()), 0);
    assert_eq!(w.references(table), (1, 0));
}
