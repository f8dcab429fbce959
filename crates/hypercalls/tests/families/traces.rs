//! Trace buffers: what is refused, and a crash at every step of making them.

use crate::control::sysctl;
use crate::crash::everywhere;
use crate::fixture::{ARGUMENT, LIST, OTHER, World};
use guest_memory::GuestMemory;
use ids::{Maddr, Mfn};
use trace_buffers::Stage;
use xen_abi::Errno;
use xen_abi::sysctl::Sysctl;
use xen_abi::trace::TRC_ALL;

const SYSCTL: u64 = 35;
const TBUF_OP: u32 = 2;
const INFO: u64 = 0;
const CPUS: u64 = 1;
const EVENTS: u64 = 2;
const MAKE: u64 = 3;
const ENABLE: u64 = 4;
const DISABLE: u64 = 5;

/// Words of the argument: command, map of CPUs (address, bits), events, table, frames or bytes.
fn words(command: u64, map: (u64, u64), events: u64, size: u64) -> [u64; 6] {
    [command, map.0, map.1, events, 0, size]
}

fn ask(world: &World, command: u64, size: u64) -> (i64, [u64; 3]) {
    let (result, u) = sysctl(world, TBUF_OP, &words(command, (0, 0), 0, size));
    (result, [u[3] & 0xffff_ffff, u[4], u[5] & 0xffff_ffff])
}

/// Frames that trace buffers have, their table's first, as their record says.
pub(crate) fn held(world: &World) -> Vec<u64> {
    let traces = &world.state.traces;
    if traces.stage() == Stage::None {
        return Vec::new();
    }
    let (frames, buffers) = (traces.frames(), traces.buffers());
    let table = buffers.table.get();
    let word = |index| u64::from(world.memory.load32(frames.place(Mfn(table), index)));
    let tables = table..table + u64::from(frames.table.next_power_of_two());
    tables.chain((0..buffers.taken.get()).map(word)).collect()
}

#[test]
fn buffers_are_made_once() {
    let world = World::new();
    assert_eq!(ask(&world, INFO, 0), (0, [TRC_ALL.into(), 0, 0]));
    assert_eq!(ask(&world, ENABLE, 0).0, Errno::EINVAL.to_result());
    assert_eq!(ask(&world, MAKE, 0).0, Errno::EINVAL.to_result());
    assert_eq!(ask(&world, MAKE, 400).0, Errno::ENOMEM.to_result());
    assert_eq!(ask(&world, MAKE, 20).0, 0);
    assert_eq!(ask(&world, MAKE, 20).0, Errno::EBUSY.to_result());
    assert_eq!(ask(&world, MAKE, 21).0, Errno::EINVAL.to_result());
    let (result, [events, table, bytes]) = ask(&world, INFO, 0);
    assert_eq!((result, events, bytes), (0, TRC_ALL.into(), 4096));
    // Frames of a buffer, and where the two lists begin.
    assert_eq!(world.memory.load64(Mfn(table).maddr()) & 0xffff_ffff_ffff, 20 | 2 << 16 | 22 << 32);
    assert_eq!(held(&world).len(), 41);
    world.audit(&[]);
    assert_eq!((ask(&world, ENABLE, 0).0, world.state.traces.buffers().on.get()), (0, true));
    assert_eq!((ask(&world, DISABLE, 0).0, world.state.traces.buffers().on.get()), (0, false));
    assert_eq!(ask(&world, 6, 0).0, Errno::EINVAL.to_result());
}

#[test]
fn masks_are_kept() {
    let mut world = World::new();
    assert_eq!(sysctl(&world, TBUF_OP, &words(EVENTS, (0, 0), 0x2_f000, 0)).0, 0);
    assert_eq!(ask(&world, INFO, 0).1[0], 0x2_f000);
    world.put(LIST, &[2_u8; 8]);
    assert_eq!(sysctl(&world, TBUF_OP, &words(CPUS, (LIST, 64), 0, 0)).0, 0);
    assert_eq!(
        sysctl(&world, TBUF_OP, &words(CPUS, (u64::MAX << 40, 64), 0, 0)).0,
        Errno::EFAULT.to_result()
    );
    world.caller = OTHER;
    assert_eq!(ask(&world, INFO, 0).0, Errno::EPERM.to_result());
}

fn put_request(world: &World, frames: u64) {
    let mut u = [0; 16];
    u[..6].copy_from_slice(&words(MAKE, (0, 0), 0, frames));
    world.put(ARGUMENT, &Sysctl { cmd: TBUF_OP, interface_version: 0x15, u });
}

#[test]
fn making_goes_on_after_a_crash() {
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        world.audit(&[]);
        let held = held(world);
        assert_eq!((held.len(), ask(world, INFO, 0).1[1]), (21, held[0]));
        let cleared = |mfn: &u64| (0..512).all(|word| world.memory.load64(Maddr(mfn * 4096 + 8 * word)) == 0);
        assert!(held[1..].iter().all(cleared), "another's words");
    };
    everywhere(SYSCTL, &[ARGUMENT], |world| put_request(world, 10), check);
}

#[test]
fn what_was_taken_goes_back_where_memory_ran_out() {
    let free = World::new().state.frames.heap().free_frames();
    let prepare = |world: &mut World| {
        assert_eq!(ask(world, MAKE, 20).0, 0);
        let buffers = world.state.traces.buffers();
        world.change(|tx| tx.set(&buffers.stage, Stage::Shrinking as u8));
        put_request(world, 20);
    };
    let check = |world: &World, value: i64| {
        world.audit(&[]);
        if value == 0 {
            // Cut behind the last one, the call found that there are none, and made them.
            return assert_eq!(held(world).len(), 41);
        }
        assert_eq!((value, world.state.traces.stage()), (Errno::ENOMEM.to_result(), Stage::None));
        assert_eq!(world.state.frames.heap().free_frames(), free);
    };
    everywhere(SYSCTL, &[ARGUMENT], prepare, check);
}
