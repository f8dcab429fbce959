//! Shares, affinity and CPU pools through `sysctl` and `domctl`; each change with a crash at every step.

use crate::control::{domctl, member, sysctl, with_vcpu};
use crate::fixture::{ARGUMENT, DOM0, LIST, LIST2, NOWHERE, OTHER, OTHER_ID, World, quiet_crashes};
use domains::VcpuState;
use ids::{CpuId, VcpuSlot};
use sched::CpuSet;
use xen_abi::domctl::{Domctl, DomctlGetdomaininfo, DomctlVcpuaffinity};
use xen_abi::sysctl::Sysctl;

const SYSCTL: u64 = 35;
const DOMCTL: u64 = 36;
const VCPU: VcpuSlot = VcpuSlot(0);
const HARD: u64 = 1 << 32;
const SOFT: u64 = 2 << 32;
const FORCE: u64 = 4 << 32;
const ANY: u64 = u32::MAX as u64;

/// The arguments of an affinity call on vCPU 0, with both maps where [`put_maps`] puts them.
fn maps(flags: u64) -> [u64; 5] {
    [flags, LIST, 8, LIST + 8, 8]
}

fn put_maps(world: &World, hard: u8, soft: u8) {
    world.put(LIST, &[0xee_u8; 16]);
    world.put(LIST, &hard);
    world.put(LIST + 8, &soft);
}

fn set(world: &World, flags: u64, hard: u8, soft: u8) -> (i64, u8, u8) {
    put_maps(world, hard, soft);
    let (result, _) = domctl(world, 9, 0, &maps(flags));
    (result, world.get(LIST), world.get(LIST + 8))
}

fn get(world: &World) -> (u8, u8) {
    assert_eq!(domctl(world, 25, 0, &maps(HARD | SOFT)).0, 0);
    (world.get(LIST), world.get(LIST + 8))
}

#[test]
fn affinity_is_what_was_set_and_told_is_what_counts() {
    let world = with_vcpu();
    assert_eq!(size_of::<DomctlVcpuaffinity>(), 40);
    assert_eq!(get(&world), (3, 3));
    assert_eq!(set(&world, HARD, 1, 0xff), (0, 1, 0xff));
    assert_eq!(get(&world), (1, 3));
    assert_eq!(set(&world, SOFT, 5, 2), (0, 5, 0), "soft affinity that hard affinity does not have");
    assert_eq!(get(&world), (1, 2));
    assert_eq!(set(&world, HARD | SOFT, 0xff, 0xff), (0, 3, 3));
    assert_eq!([set(&world, HARD, 0, 0).0, set(&world, HARD, 0xf0, 0).0, set(&world, 0, 1, 1).0], [-22; 3]);
    let refused = [&[HARD, 0, 8][..], &[HARD, NOWHERE, 8], &[HARD | 1, LIST, 8]];
    assert_eq!(refused.map(|words| domctl(&world, 9, 0, words).0), [-22, -14, -22]);
    let all = [HARD | FORCE << 1, LIST, 4];
    assert_eq!(
        (domctl(&world, 25, 0, &all).0, world.get::<u8>(LIST)),
        (0, 3),
        "as many bits as there is room for"
    );
    assert_eq!(world.seen.borrow().looks, 3, "CPUs look at it after each change");
}

#[test]
fn who_has_to_stay_keeps_its_affinity() {
    let world = with_vcpu();
    let pin = &world.state.domains.vcpu(VCPU).pin;
    world.change(|tx| tx.set(pin, 2));
    assert_eq!(get(&world), (2, 3));
    assert_eq!([set(&world, HARD, 3, 3).0, set(&world, SOFT, 3, 3).0], [-16, -16]);
    assert_eq!(sysctl(&world, 18, &[5, 0, 1]).0, -98, "nor does its CPU leave the pool");
    assert_eq!((set(&world, FORCE, 1, 1).0, pin.get()), (0, 0));
    assert_eq!(set(&world, HARD | FORCE, 1, 1).0, 0);
}

#[test]
fn shares_and_nodes() {
    let world = with_vcpu();
    let share = |command: u64, share: u64| {
        let (result, op) = domctl(&world, 16, 0, &[6 | command << 32, share]);
        (result, op.u[1] as u32)
    };
    assert_eq!(share(1, 0), (0, 256));
    assert_eq!((share(0, 512 | 70 << 16).0, share(1, 0)), (0, (0, 512 | 70 << 16)));
    assert_eq!((share(0, 0).0, share(1, 0)), (0, (0, 512)), "no weight leaves it");
    assert_eq!((share(0, 1 | 101 << 16).0, share(1, 0)), (-22, (0, 512)), "it has one vCPU");
    assert_eq!([share(2, 0).0, share(3, 0).0, share(7, 0).0], [-22; 3]);
    assert_eq!(domctl(&world, 16, 0, &[5 | 1 << 32]).0, -22);
    let nodes = |command, map: u64| {
        world.put(LIST, &map);
        let (result, _) = domctl(&world, command, 0, &[LIST, 64]);
        (result, world.get::<u64>(LIST))
    };
    assert_eq!(nodes(69, 0), (0, 1));
    assert_eq!([nodes(68, 0).0, nodes(68, 4).0, domctl(&world, 68, 0, &[NOWHERE, 64]).0], [-22, -22, -14]);
    assert_eq!((nodes(68, 5).0, nodes(69, 0)), (0, (0, 5)));
    assert_eq!((nodes(68, u64::MAX).0, nodes(69, 0)), (0, (0, 1)));
}

/// A call on a pool; the number that came back, and the CPUs.
fn pool(world: &World, op: u64, id: u64, scheduler: u64, domain: u64, cpu: u64) -> (i64, u64, u8) {
    world.put(LIST2, &0xee_u8);
    let words = [op | id << 32, scheduler | domain << 32, cpu, LIST2, 8];
    let (result, u) = sysctl(world, 18, &words);
    (result, u[0] >> 32, world.get(LIST2))
}

#[test]
fn pools_come_get_cpus_and_go() {
    let world = with_vcpu();
    assert_eq!([pool(&world, 1, 0, 6, 0, 0).0, pool(&world, 1, ANY, 5, 0, 0).0], [-17, -2]);
    assert_eq!([pool(&world, 1, ANY, 6, 0, 0).1, pool(&world, 1, 7, 6, 0, 0).1], [1, 7]);
    assert_eq!(pool(&world, 1, ANY, 6, 0, 0).1, 8);
    assert_eq!(pool(&world, 3, 2, 0, 0, 0), (0, 7, 0), "the next larger number");
    // Adding: to no pool; of another's; no such CPU; none is loose.
    let add = |id, cpu| pool(&world, 4, id, 0, 0, cpu).0;
    assert_eq!([add(9, 1), add(1, 1), add(1, 2), add(1, ANY)], [-2, -19, -22, -19]);
    let remove = |id, cpu| pool(&world, 5, id, 0, 0, cpu).0;
    assert_eq!([remove(9, 1), remove(1, 1), remove(1, ANY), remove(0, 2)], [-2, -99, -22, -22]);
    assert_eq!(set(&world, HARD, 2, 0).0, 0);
    assert_eq!((remove(0, 1), get(&world).0), (0, 3), "who could run nowhere else may run anywhere");
    assert_eq!((remove(0, 0), remove(0, ANY)), (-22, -22));
    assert_eq!((pool(&world, 7, 0, 0, 0, 0).2, pool(&world, 3, 0, 0, 0, 0)), (2, (0, 0, 1)));
    assert_eq!((set(&world, HARD, 2, 0).0, set(&world, HARD, 3, 0)), (-22, (0, 1, 0)));
    assert_eq!((add(7, ANY), pool(&world, 3, 7, 0, 0, 0)), (0, (0, 7, 2)));
    let destroy = |id| pool(&world, 2, id, 0, 0, 0).0;
    assert_eq!([destroy(0), destroy(7), destroy(9), destroy(1)], [-16, -16, -2, 0]);
    assert_eq!(sysctl(&world, 19, &[6 << 32 | 8, 0, 99]).0, -22);
    assert_eq!(sysctl(&world, 19, &[6 << 32 | 8, 0, 2000]).0, 0);
    assert_eq!(sysctl(&world, 19, &[6 << 32 | 8, 1]).1[2] as u32, 2000);
    assert_eq!(
        [sysctl(&world, 19, &[6 << 32 | 9, 0, 0]).0, sysctl(&world, 19, &[5 << 32, 0, 0]).0],
        [-3, -22]
    );
    let is_live = |slot| slot == DOM0 || slot == OTHER;
    assert_eq!(sched::audit(&world.state.sched, is_live), Ok(()));
}

#[test]
fn domains_move() {
    let world = with_vcpu();
    assert_eq!((pool(&world, 1, 4, 6, 0, 0).0, pool(&world, 5, 0, 0, 0, 1).0), (0, 0));
    let go = |id, domain| pool(&world, 6, id, 0, domain, 0).0;
    let other = OTHER_ID.into();
    assert_eq!([go(4, 0), go(4, 77), go(4, ANY), go(9, other), go(0, other)], [-1, -3, -3, -2, 0]);
    assert_eq!((go(4, other), pool(&world, 4, 4, 0, 0, ANY).0), (-2, 0), "nobody goes where no CPU is");
    assert_eq!((go(4, other), pool(&world, 2, 4, 0, 0, 0).0), (0, -16), "a pool with a domain stays");
    assert_eq!(pool(&world, 5, 4, 0, 0, ANY).0, -16, "its last CPU too");
    let (_, op) = domctl(&world, 5, OTHER_ID, &[]);
    let info: DomctlGetdomaininfo = member(&op.u);
    assert_eq!(info.cpupool, 4);
    assert_eq!((go(0, other), pool(&world, 5, 4, 0, 0, 1).0, pool(&world, 2, 4, 0, 0, 0).0), (0, 0, 0));
}

#[test]
fn idle_times_are_told() {
    let world = with_vcpu();
    let ask = |most, at| {
        let (result, u) = sysctl(&world, 8, &[most, at]);
        (result, u[2] as u32)
    };
    assert_eq!(
        (ask(9, LIST), ask(1, LIST), ask(0, NOWHERE), ask(1, NOWHERE).0),
        ((0, 2), (0, 1), (0, 0), -14)
    );
}

/// Crashes a call at every step: it happens wholly, whatever fails.
fn crash_everywhere(call: u64, prepare: impl Fn(&mut World), done: impl Fn(&World) -> bool) {
    quiet_crashes();
    let mut world = with_vcpu();
    for crash in 1.. {
        world.reset();
        world.change(|tx| {
            tx.set(&world.state.domains.domain(DOM0).vcpus, 1);
            world.state.domains.vcpu(VCPU).set_state(tx, VcpuState::Runnable);
        });
        prepare(&mut world);
        let (value, crashed) = world.call_crashing(call, &[ARGUMENT], crash);
        assert_eq!(value, 0, "crash at step {crash}");
        assert!(done(&world), "crash at step {crash}");
        assert_eq!(sched::audit(&world.state.sched, |slot| slot == DOM0), Ok(()));
        assert!(world.seen.borrow().looks > 0, "crash at step {crash}: nobody looks");
        if !crashed {
            assert!(crash > 5, "only {crash} steps");
            return;
        }
    }
}

fn put_domctl(world: &World, cmd: u32, words: &[u64]) {
    let mut u = [0; 16];
    u[..words.len()].copy_from_slice(words);
    world.put(ARGUMENT, &Domctl { cmd, interface_version: 0x15, domain: 0, _pad: [0; 3], u });
}

fn put_sysctl(world: &World, cmd: u32, words: &[u64]) {
    let mut u = [0; 16];
    u[..words.len()].copy_from_slice(words);
    world.put(ARGUMENT, &Sysctl { cmd, interface_version: 0x15, u });
}

#[test]
fn changes_happen_once_whatever_fails() {
    let only = |cpu| CpuSet::from_iter([CpuId(cpu)]);
    let bind = |world: &World, cpu| world.change(|tx| world.state.sched.bind(tx, VCPU, &only(cpu)));
    let affinity = |world: &mut World| {
        world.change(|tx| tx.set(&world.state.domains.vcpu(VCPU).pin, 2));
        put_maps(world, 2, 1);
        put_domctl(world, 9, &maps(HARD | SOFT | FORCE));
    };
    crash_everywhere(DOMCTL, affinity, |world| {
        let told = (world.get::<u8>(LIST), world.get::<u8>(LIST + 8));
        let region = &world.state.sched;
        let pin = world.state.domains.vcpu(VCPU).pin.get();
        (region.hard(VCPU), region.soft(VCPU), told, pin) == (only(1), only(0), (2, 0), 0)
    });
    let share = |world: &mut World| put_domctl(world, 16, &[6, 77 | 50 << 16]);
    crash_everywhere(DOMCTL, share, |world| {
        (world.state.sched.weight(DOM0), world.state.sched.cap(DOM0)) == (77, 50)
    });
    let remove = |world: &mut World| {
        bind(world, 1);
        put_sysctl(world, 18, &[5, 0, 1]);
    };
    crash_everywhere(SYSCTL, remove, |world| {
        let region = &world.state.sched;
        (region.loose_cpus(), region.hard(VCPU)) == (only(1), CpuSet::first(2))
    });
    let add = |world: &mut World| {
        world.change(|tx| {
            assert_eq!(world.state.sched.create_pool(tx, None), Ok(1));
        });
        world.change(|tx| {
            assert_eq!(world.state.sched.remove_cpu(tx, 0, CpuId(1), |_| true), Ok(()));
        });
        put_sysctl(world, 18, &[4 | 1 << 32, 0, ANY]);
    };
    crash_everywhere(SYSCTL, add, |world| {
        world.state.sched.pool_from(1).is_some_and(|(slot, _)| world.state.sched.cpus_of(slot) == only(1))
    });
}
