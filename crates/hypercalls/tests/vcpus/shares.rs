//! How much of a list one entry carries out: by what its requests cost, not by how many they are.

use crate::world::World;
use guest_memory::GuestMemory;
use hypercalls::Outcome;
use ids::{DomainSlot, Maddr, Mfn};
use xen_abi::hypercall::{MMU_UPDATE, MMUEXT_OP};
use xen_abi::xen::{
    DOMID_SELF, MMUEXT_CLEAR_PAGE, MMUEXT_NEW_BASEPTR, MMUEXT_PIN_L1_TABLE, MMUEXT_UNPIN_TABLE, MmuUpdate,
    MmuextOp,
};
use zerocopy::{Immutable, IntoBytes};

const TABLES: usize = 12;
/// Present and for user mode.
const READ_ONLY: u64 = 5;

/// A machine and L1 tables, each with `entries` entries that name the same page.
fn tables(entries: u64) -> (World, [Mfn; TABLES]) {
    let mut w = World::new();
    let page = w.frame(DomainSlot(0));
    let tables = [0; TABLES].map(|_| w.frame(DomainSlot(0)));
    for table in tables {
        for index in 0..entries {
            w.memory.store64(Maddr(table.maddr().0 + 8 * index), page.maddr().0 | READ_ONLY);
        }
    }
    (w, tables)
}

/// Runs a list to its end with `budget`; how many requests each entry has carried out.
fn shares<T: IntoBytes + Immutable>(w: &mut World, op: u64, requests: &[T], budget: u32) -> Vec<u64> {
    let list = requests.iter().map(|request| w.argument(request)).min().expect("some");
    let (mut args, mut shares) = ([list, requests.len() as u64], vec![]);
    w.budget = budget;
    loop {
        let (value, outcome) = w.run(0, op, &[args[0], args[1], 0, DOMID_SELF.into()]);
        let left = args[1] & 0xffff;
        if outcome != Outcome::Again {
            assert_eq!(value, 0);
            shares.push(left);
            w.budget = 1000;
            return shares;
        }
        let registers = w.state.contexts.context(ids::VcpuSlot(0)).registers.arguments();
        (args[0], args[1]) = (registers[0], registers[1]);
        shares.push(left - (args[1] & 0xffff));
        assert!(shares.len() < 400, "no end: {shares:?}");
    }
}

fn all(cmd: u32, frames: &[Mfn]) -> Vec<MmuextOp> {
    frames.iter().map(|mfn| MmuextOp { cmd, _pad0: [0; 4], arg1: mfn.0, arg2: 0 }).collect()
}

#[test]
fn tables_that_give_much_back_take_more_of_an_entry() {
    let (mut w, full) = tables(512);
    assert_eq!(shares(&mut w, MMUEXT_OP, &all(MMUEXT_PIN_L1_TABLE, &full), 1000), [TABLES as u64]);
    // 512 entries are as much as 8 pieces.
    let unpinned = shares(&mut w, MMUEXT_OP, &all(MMUEXT_UNPIN_TABLE, &full), 20);
    assert_eq!(unpinned, [3, 3, 3, 3]);
    assert!(full.iter().all(|table| w.references(*table) == (1, 0)));
    let (mut w, sparse) = tables(0);
    assert_eq!(shares(&mut w, MMUEXT_OP, &all(MMUEXT_PIN_L1_TABLE, &sparse), 20), [TABLES as u64]);
    assert_eq!(shares(&mut w, MMUEXT_OP, &all(MMUEXT_UNPIN_TABLE, &sparse), 20), [TABLES as u64]);
}

#[test]
fn requests_of_one_piece_are_paid_for() {
    let (mut w, frames) = tables(0);
    for cmd in [MMUEXT_CLEAR_PAGE, MMUEXT_PIN_L1_TABLE, MMUEXT_UNPIN_TABLE] {
        let done = shares(&mut w, MMUEXT_OP, &all(cmd, &frames), 4);
        assert_eq!(done, [5, 5, 2], "{cmd}");
    }
}

#[test]
fn entries_of_tables_are_changed_as_many_as_their_tables_allow() {
    let (mut w, full) = tables(512);
    let [root, third, second] = [0; 3].map(|_| w.frame(DomainSlot(0)));
    w.memory.store64(root.maddr(), third.maddr().0 | 7);
    w.memory.store64(third.maddr(), second.maddr().0 | 7);
    shares(&mut w, MMUEXT_OP, &all(MMUEXT_NEW_BASEPTR, &[root]), 1000);
    let write = |(index, val)| MmuUpdate { ptr: second.maddr().0 + 8 * index, val };
    let named = (0..).zip(full).map(|(index, mfn)| write((index, mfn.maddr().0 | 7)));
    let named = shares(&mut w, MMU_UPDATE, &named.collect::<Vec<_>>(), 16);
    // A table of 512 entries is validated by six transactions.
    assert_eq!(named.iter().sum::<u64>(), TABLES as u64);
    assert!(named.iter().all(|share| *share <= 3), "{named:?}");
    let cleared = (0..TABLES as u64).map(|index| write((index, 0)));
    let cleared = shares(&mut w, MMU_UPDATE, &cleared.collect::<Vec<_>>(), 16);
    assert_eq!(cleared, [2; TABLES / 2]);
}

#[test]
fn every_entry_gets_on_with_no_more_than_one_piece() {
    for budget in [0, 1] {
        let (mut w, full) = tables(512);
        shares(&mut w, MMUEXT_OP, &all(MMUEXT_PIN_L1_TABLE, &full), budget);
        let unpinned = shares(&mut w, MMUEXT_OP, &all(MMUEXT_UNPIN_TABLE, &full), budget);
        assert_eq!(unpinned, [1; TABLES]);
    }
}
