//! `multicall`: each entry has its result once, whatever stood there and wherever a crash comes.

use crate::crash::everywhere;
use crate::fixture::{ARGUMENT, DOM0, FIXED, LIST, LIST2, OWNED, World};
use crate::memory::{self, get_list, put_list, reservation};
use domains::VcpuState;
use guest_memory::GuestMemory;
use ids::{Maddr, VcpuSlot};
use xen_abi::hypercall::{MULTICALL, VM_ASSIST};
use xen_abi::memory::MemoryExchange;
use xen_abi::xen::MulticallEntry;

const POPULATE: u64 = 6;
const EXCHANGE: u64 = 11;
/// An assist, and its bit.
const STRICT: u64 = 32;
/// Where the list is.
const ENTRIES: u64 = LIST2 + 0x800;

fn entry(op: u64, args: [u64; 2], result: i64) -> MulticallEntry {
    let [a, b] = args;
    MulticallEntry { op, result, args: [a, b, 0, 0, 0, 0] }
}

/// The caller runs: a list of one that does not ends.
fn run(world: &World) {
    world.change(|tx| world.state.domains.vcpu(VcpuSlot(0)).set_state(tx, VcpuState::Runnable));
}

/// Asks, with the lists at such a distance, for four runs of four frames in exchange for `given`.
fn exchange(world: &World, offset: u64, given: &[u64]) {
    put_list(world, LIST + offset, given);
    put_list(world, LIST2 + offset, &[0x3000, 0x3004, 0x3008, 0x300c]);
    let out = reservation(LIST2 + offset, 4, 2);
    let request = MemoryExchange { in_: reservation(LIST + offset, 16, 0), out, nr_exchanged: 0 };
    world.put(ARGUMENT + offset, &request);
}

#[test]
fn results_over_whatever_stood_there() {
    let prepare = |world: &mut World| {
        run(world);
        let owned = &world.audit(&[])[0];
        exchange(world, 0, &owned[..16]);
        exchange(world, 0x100, &owned[16..32]);
        put_list(world, LIST + 0x200, &(0x1000..0x1012).collect::<Vec<_>>());
        world.put(ARGUMENT + 0x200, &reservation(LIST + 0x200, 18, 0));
        let list = [
            entry(memory::OP, [EXCHANGE, ARGUMENT], 77),
            entry(memory::OP, [EXCHANGE, ARGUMENT + 0x100], 0),
            entry(memory::OP, [POPULATE, ARGUMENT + 0x200], 0),
            entry(VM_ASSIST, [0, STRICT], 3),
            entry(63, [0; 2], 0),
        ];
        world.put(ENTRIES, &list);
    };
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        let results = get_list(world, ENTRIES, 5 * 8).into_iter().skip(1).step_by(8);
        assert_eq!(results.map(|result| result as i64).collect::<Vec<_>>(), [0, 0, 18, 0, -38]);
        let [owned, _] = world.audit(&[]);
        assert_eq!(owned.len() as u64, OWNED + 18);
        for offset in [0, 0x100] {
            let firsts = get_list(world, LIST2 + offset, 4);
            assert!(firsts.iter().all(|first| (*first..first + 4).all(|m| owned.contains(&m))));
        }
    };
    everywhere(MULTICALL, &[ENTRIES, 5], prepare, check);
}

#[test]
fn a_list_that_cannot_be_written() {
    let said = |result: u64| {
        let world = World::new();
        run(&world);
        for (index, word) in (0..).zip([VM_ASSIST, result, 0, STRICT]) {
            world.memory.store64(Maddr(FIXED + 8 * index), word);
        }
        let value = world.call(MULTICALL, &[FIXED, 1]);
        assert_ne!(world.state.domains.domain(DOM0).assists.get(), 0);
        value
    };
    assert_eq!(said(77), -14, "carried out, and that cannot be said");
    assert_eq!(said(0), 0, "it is said already");
}
