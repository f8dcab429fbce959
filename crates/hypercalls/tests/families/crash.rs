//! A crash at every durable step of the calls that move frames: none is lost, none is in two places, and
//! the guest gets the result that it would have got without.

use crate::fixture::{ARGUMENT, DOM0, LIST, LIST2, OWNED, World, quiet_crashes};
use crate::grants::{self, frames_of_dom0, setup, setup_status};
use crate::memory::{OP, exchange, get_list, put_list, reservation};

/// Crashes `call` at every step on a machine that `prepare` made, and has `check` look at the end.
pub(crate) fn everywhere(op: u64, args: &[u64], prepare: impl Fn(&mut World), check: impl Fn(&World, i64)) {
    quiet_crashes();
    let mut crash = 1;
    let mut world = World::new();
    loop {
        world.reset();
        prepare(&mut world);
        let (value, crashed) = world.call_crashing(op, args, crash);
        check(&world, value);
        if !crashed {
            break;
        }
        // Close to the start and to each commit every step matters; in the middle of long runs of the
        // same they are alike.
        crash += match crash {
            ..400 => 1,
            400..1200 => 3,
            _ => 11,
        };
    }
    assert!(crash >= 7, "only {crash} steps");
}

#[test]
fn exchange_of_a_slab() {
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        let first: u64 = world.get(LIST2);
        let [owned, _] = world.audit(&[]);
        assert_eq!(owned.len() as u64, OWNED);
        assert!((first..first + 64).all(|m| owned.contains(&m)));
        assert!((0..64).all(|i| world.seen.borrow().m2p[(first + i) as usize] == 0x3000 + i));
    };
    let prepare = |world: &mut World| {
        put_list(world, LIST, &world.audit(&[])[0][..64]);
        put_list(world, LIST2, &[0x3000]);
        exchange(world, (64, 0), (1, 6), 32);
    };
    everywhere(OP, &[11, ARGUMENT], prepare, check);
}

#[test]
fn exchange_of_a_large_extent() {
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        let first: u64 = world.get(LIST2);
        let [owned, _] = world.audit(&[]);
        assert_eq!(owned.len() as u64, OWNED);
        assert!(first.is_multiple_of(128) && (first..first + 128).all(|m| owned.contains(&m)));
        assert!((0..128).all(|i| world.seen.borrow().m2p[(first + i) as usize] == 0x3000 + i));
    };
    let prepare = |world: &mut World| {
        put_list(world, LIST, &world.audit(&[])[0][..128]);
        put_list(world, LIST2, &[0x3000]);
        exchange(world, (128, 0), (1, 7), 32);
    };
    everywhere(OP, &[11, ARGUMENT], prepare, check);
}

#[test]
fn exchange_of_a_large_extent_for_single_frames() {
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        let [owned, _] = world.audit(&[]);
        assert_eq!(owned.len() as u64, OWNED + 128);
        for (index, mfn) in (0..).zip(get_list(world, LIST2, 128)) {
            assert!(owned.contains(&mfn), "{index}: {mfn:#x}");
            assert_eq!(world.seen.borrow().m2p[mfn as usize], 0x3000 + 3 * index);
        }
    };
    let prepare = |world: &mut World| {
        put_list(world, LIST, &[0x2000]);
        world.put(ARGUMENT, &reservation(LIST, 1, 7));
        assert_eq!(world.call(OP, &[6, ARGUMENT]), 1);
        put_list(world, LIST2, &(0..128).map(|at| 0x3000 + 3 * at).collect::<Vec<_>>());
        exchange(world, (1, 7), (128, 0), 0);
    };
    everywhere(OP, &[11, ARGUMENT], prepare, check);
}

#[test]
fn populating_a_large_extent() {
    let check = |world: &World, value: i64| {
        assert_eq!(value, 1);
        let first: u64 = world.get(LIST);
        let [owned, _] = world.audit(&[]);
        assert_eq!(owned.len() as u64, OWNED + 128);
        assert!((first..first + 128).all(|m| owned.contains(&m)));
        assert!((0..128).all(|i| world.seen.borrow().m2p[(first + i) as usize] == 0x3000 + i));
    };
    let prepare = |world: &mut World| {
        put_list(world, LIST, &[0x3000]);
        world.put(ARGUMENT, &reservation(LIST, 1, 7));
    };
    everywhere(OP, &[6, ARGUMENT], prepare, check);
}

#[test]
fn exchange_in_several_runs() {
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        let [owned, _] = world.audit(&[]);
        assert_eq!(owned.len() as u64, OWNED);
        for (index, first) in get_list(world, LIST2, 4).into_iter().enumerate() {
            assert!((first..first + 4).all(|m| owned.contains(&m)), "{index}");
            assert_eq!(world.seen.borrow().m2p[first as usize], 0x3000 + 4 * index as u64);
        }
    };
    let prepare = |world: &mut World| {
        put_list(world, LIST, &world.audit(&[])[0][..16]);
        put_list(world, LIST2, &[0x3000, 0x3004, 0x3008, 0x300c]);
        exchange(world, (16, 0), (4, 2), 32);
        world.budget = 2;
    };
    everywhere(OP, &[11, ARGUMENT], prepare, check);
}

#[test]
fn populate_and_decrease() {
    let populated = |world: &World, value: i64| {
        assert_eq!(value, 18);
        let [owned, _] = world.audit(&[]);
        assert_eq!(owned.len() as u64, OWNED + 18);
        for (index, mfn) in (0..).zip(get_list(world, LIST, 18)) {
            assert!(owned.contains(&mfn));
            assert_eq!(world.seen.borrow().m2p[mfn as usize], 0x1000 + index);
        }
    };
    let prepare = |world: &mut World| {
        put_list(world, LIST, &(0x1000..0x1012).collect::<Vec<_>>());
        world.put(ARGUMENT, &reservation(LIST, 18, 0));
        world.budget = 2;
    };
    everywhere(OP, &[6, ARGUMENT], prepare, populated);

    let decreased = |world: &World, value: i64| {
        assert_eq!(value, 80);
        assert_eq!(world.audit(&[])[0].len() as u64, OWNED - 80);
        assert_eq!(world.state.frames.list(DOM0).pages(), OWNED - 80);
    };
    let prepare = |world: &mut World| {
        put_list(world, LIST, &world.audit(&[])[0][..80]);
        world.put(ARGUMENT, &reservation(LIST, 80, 0));
        world.budget = 1;
    };
    everywhere(OP, &[1, ARGUMENT], prepare, decreased);
}

#[test]
fn setup_of_a_grant_table() {
    let check = |world: &World, value: i64| {
        assert_eq!((value, setup_status(world)), (0, 0));
        let frames = frames_of_dom0(world);
        assert_eq!(frames.len(), 3);
        assert_eq!(get_list(world, LIST, 3), frames);
        assert_eq!(world.audit(&frames)[0].len() as u64, OWNED);
    };
    everywhere(grants::OP, &[2, ARGUMENT, 1], |world| setup(world, 0x7ff0, 3), check);
}

#[test]
fn a_version_that_is_not_there_is_refused_once_and_for_all() {
    quiet_crashes();
    let mut world = World::new();
    for crash in 1.. {
        world.reset();
        let limits = ::grants::Limits { version: 1, ..::grants::Limits::DEFAULT };
        world.change(|tx| world.state.grants.open(tx, DOM0, limits));
        world.put(ARGUMENT, &2_u32);
        let (value, crashed) = world.call_crashing(grants::OP, &[8, ARGUMENT, 1], crash);
        assert_eq!(value, xen_abi::Errno::ENOSYS.to_result(), "step {crash}");
        assert_eq!(world.get::<u32>(ARGUMENT), 1);
        if !crashed {
            assert!(crash > 3);
            break;
        }
    }
}
