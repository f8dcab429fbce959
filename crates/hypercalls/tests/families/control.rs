//! `sysctl` and `domctl`: what the toolstack is told.

use crate::fixture::{
    ARGUMENT, DOM0, FRAMES, LIST, LIST2, NOWHERE, OTHER, OTHER_ID, OWNED, World, quiet_crashes,
};
use domain::Log;
use domains::VcpuState;
use ids::VcpuSlot;
use xen_abi::domctl::{
    Domctl, DomctlGetdomaininfo, DomctlGetvcpuinfo, XEN_DOMINF_BLOCKED, XEN_DOMINF_SHUTDOWN,
};
use xen_abi::sysctl::{Sysctl, SysctlPhysinfo};
use zerocopy::{FromBytes, IntoBytes};

const SYSCTL: u64 = 35;
const DOMCTL: u64 = 36;
/// A log whose first bytes are gone already.
const TEXT: &[u8] = b"(XEN) a line\n(d0) another\n";
const OLDEST: u32 = 100;
pub(crate) static LOG: Fake = Fake;

#[derive(Debug)]
pub(crate) struct Fake;

impl Log for Fake {
    fn start(&self, from: Option<u32>) -> u32 {
        from.filter(|from| *from >= OLDEST).unwrap_or(OLDEST)
    }
    fn copy(&self, at: u32, out: &mut [u8]) -> (usize, u32) {
        let rest = &TEXT[(at - OLDEST) as usize..];
        // In small pieces, as the ring may.
        let count = rest.len().min(out.len()).min(5);
        out[..count].copy_from_slice(&rest[..count]);
        (count, at + count as u32)
    }
}

pub(crate) fn sysctl(world: &World, cmd: u32, words: &[u64]) -> (i64, [u64; 16]) {
    let mut u = [0; 16];
    u[..words.len()].copy_from_slice(words);
    world.put(ARGUMENT, &Sysctl { cmd, interface_version: 0x15, u });
    (world.call(SYSCTL, &[ARGUMENT]), world.get::<Sysctl>(ARGUMENT).u)
}

pub(crate) fn domctl(world: &World, cmd: u32, domain: u16, words: &[u64]) -> (i64, Domctl) {
    let mut u = [0; 16];
    u[..words.len()].copy_from_slice(words);
    world.put(ARGUMENT, &Domctl { cmd, interface_version: 0x15, domain, _pad: [0; 3], u });
    (world.call(DOMCTL, &[ARGUMENT]), world.get(ARGUMENT))
}

/// A machine whose Dom0 has its vCPU.
pub(crate) fn with_vcpu() -> World {
    let world = World::new();
    world.change(|tx| {
        tx.set(&world.state.domains.domain(DOM0).vcpus, 1);
        world.state.timers().create_vcpu(tx, VcpuSlot(0), 0).expect("it has none");
    });
    world
}

pub(crate) fn member<T: FromBytes>(u: &[u64; 16]) -> T {
    T::read_from_prefix(u.as_bytes()).expect("it fits").0
}

#[test]
fn who_may_ask_and_in_which_version() {
    let mut world = World::new();
    world.put(ARGUMENT, &Sysctl { cmd: 3, interface_version: 0x14, u: [0; 16] });
    assert_eq!(world.call(SYSCTL, &[ARGUMENT]), -13);
    assert_eq!(world.call(DOMCTL, &[ARGUMENT]), -13);
    assert_eq!((world.call(SYSCTL, &[NOWHERE]), world.call(DOMCTL, &[NOWHERE])), (-14, -14));
    assert_eq!((sysctl(&world, 30, &[]).0, domctl(&world, 4, 0, &[]).0), (-38, -22));
    assert_eq!((domctl(&world, 4, 9, &[]).0, domctl(&world, 5, 0x7ff0, &[]).0), (-3, -22));
    world.caller = OTHER;
    assert_eq!((sysctl(&world, 3, &[]).0, domctl(&world, 5, OTHER_ID, &[]).0), (-1, -1));
}

#[test]
fn the_machine() {
    let world = World::new();
    let (result, u) = sysctl(&world, 3, &[]);
    let info: SysctlPhysinfo = member(&u);
    assert_eq!((result, info.nr_cpus, info.max_cpu_id, info.nr_nodes), (0, 2, 1, 1));
    assert_eq!(
        (info.total_pages, info.max_mfn, info.capabilities),
        (FRAMES, FRAMES - 1, 1 << 1 | 1 << 8 | 1 << 9)
    );
    assert_eq!(info.free_pages, world.state.frames.heap().free_frames());
    assert_eq!(
        (sysctl(&world, 4, &[]).1[0] as u32, sysctl(&world, 9, &[0, u64::from(u32::MAX)]).1[2]),
        (6, info.free_pages << 12)
    );
    assert_eq!((sysctl(&world, 9, &[0, 7]).0, sysctl(&world, 9, &[32, 0]).0), (-22, -38));
    // How many there are, then all of them, then as many as there is room for.
    assert_eq!(
        sysctl(&world, 16, &[0, 0]),
        (0, {
            let mut u = [0; 16];
            u[0] = 2;
            u
        })
    );
    for room in [5, 1] {
        world.put(LIST, &[u32::MAX; 9]);
        let count = room.min(2);
        assert_eq!(sysctl(&world, 16, &[room, LIST]).1[0], count);
        let places: [u32; 9] = world.get(LIST);
        assert_eq!(places.iter().filter(|word| **word != u32::MAX).count() as u64, 3 * count);
    }
    assert_eq!(sysctl(&world, 16, &[2, NOWHERE]).0, -14);
    assert_eq!(sysctl(&world, 17, &[4, LIST, LIST2]).1[0], 1);
    assert_eq!(world.get::<[u64; 2]>(LIST), [FRAMES << 12, info.free_pages << 12]);
    assert_eq!((world.get::<u32>(LIST2), sysctl(&world, 17, &[0, LIST, 0]).1[0]), (10, 0));
}

#[test]
fn no_device_is_near() {
    let world = World::new();
    world.put(LIST, &[0_u32, 8]);
    assert_eq!(sysctl(&world, 22, &[2, LIST, LIST2]).1[0], 2);
    assert_eq!(world.get::<[u32; 2]>(LIST2), [u32::MAX - 1; 2]);
    assert_eq!(
        [[0, LIST, LIST2], [2, 0, LIST2], [2, LIST, NOWHERE]].map(|w| sysctl(&world, 22, &w).0),
        [-22, -22, -14]
    );
    assert_eq!(sysctl(&world, 22, &[1000, LIST, LIST2]).1[0], 64);
}

#[test]
fn the_pool_has_all_cpus() {
    let world = World::new();
    world.put(LIST, &[0xff_u8; 4]);
    // Number, CPUs: 12 bits, of which the rest of the last byte is clear too.
    let (result, u) = sysctl(&world, 18, &[3, 0, 0, LIST, 12]);
    assert_eq!((result, u[1] as u32, u[2] >> 32), (0, 6, 2));
    assert_eq!(world.get::<[u8; 4]>(LIST), [3, 0, 0xff, 0xff]);
    assert_eq!(sysctl(&world, 18, &[7, 0, 0, LIST, 1]).0, 0);
    assert_eq!(world.get::<u8>(LIST), 0);
    let refused = [&[3 | 1 << 32, 0, 0, LIST, 12][..], &[9], &[3, 0, 0, NOWHERE, 8]];
    assert_eq!(refused.map(|words| sysctl(&world, 18, words).0), [-2, -38, -14]);
    assert_eq!(sysctl(&world, 19, &[6 << 32, 1, 9]).1[2] as u32, 1000);
    assert_eq!(
        [[5 << 32, 1], [6 << 32 | 1, 1], [6 << 32, 2]].map(|w| sysctl(&world, 19, &w).0),
        [-22, -3, -22]
    );
}

#[test]
fn domains_come_by_number() {
    let world = with_vcpu();
    let size = size_of::<DomctlGetdomaininfo>() as u64;
    let ask = |first: u64, most: u64| sysctl(&world, 6, &[first | most << 32, LIST]).1[2];
    assert_eq!((ask(0, 8), ask(1, 8), ask(6, 8), ask(0, 1), ask(0, 0)), (2, 1, 0, 1, 0));
    assert_eq!(ask(0, 8), 2);
    let [own, other]: [DomctlGetdomaininfo; 2] = [LIST, LIST + size].map(|at| world.get(at));
    assert_eq!((own.domain, own.tot_pages, own.max_vcpu_id, own.cpupool), (0, OWNED, 0, 0));
    assert_eq!((own.arch_config.emulation_flags, own.gpaddr_bits), (1 << 8, 36));
    assert_eq!((other.domain, other.tot_pages, other.arch_config.emulation_flags), (OTHER_ID, 0, 0));
    assert_eq!(sysctl(&world, 6, &[1 << 32, NOWHERE]).0, -14);
    // The next larger number is meant.
    let (result, op) = domctl(&world, 5, 1, &[]);
    assert_eq!((result, op.domain, member::<DomctlGetdomaininfo>(&op.u)), (0, OTHER_ID, other));
    assert_eq!(domctl(&world, 5, OTHER_ID + 1, &[]).0, -3);
}

#[test]
fn a_domain_that_waits_or_has_ended() {
    let world = with_vcpu();
    let flags = || member::<DomctlGetdomaininfo>(&domctl(&world, 5, 0, &[]).1.u).flags;
    let vcpu = world.state.domains.vcpu(VcpuSlot(0));
    world.change(|tx| vcpu.set_state(tx, VcpuState::Blocked));
    assert_ne!(flags() & XEN_DOMINF_BLOCKED, 0);
    let info: DomctlGetvcpuinfo = member(&domctl(&world, 14, 0, &[0]).1.u);
    assert_eq!((info.online, info.blocked), (1, 1));
    world.change(|tx| vcpu.set_state(tx, VcpuState::Runnable));
    assert_eq!(flags() & XEN_DOMINF_BLOCKED, 0);
    world.change(|tx| tx.set(&world.state.domains.domain(DOM0).shutdown, 2));
    assert_eq!(flags() & 0xff_0000 | flags() & XEN_DOMINF_SHUTDOWN, 1 << 16 | XEN_DOMINF_SHUTDOWN);
    assert_eq!(domctl(&world, 14, 0, &[1]).0, -22);
}

#[test]
fn the_log_goes_on_where_it_ended() {
    let world = World::new();
    let read = |flags: u64, index: u64, count: u64| {
        world.put(LIST, &[0_u8; 64]);
        let (result, u) = sysctl(&world, 1, &[flags | index << 32, LIST, count]);
        let count = u[2] as usize;
        (result, (u[0] >> 32) as u32, world.get::<[u8; 64]>(LIST)[..count].to_vec())
    };
    let end = OLDEST + TEXT.len() as u32;
    assert_eq!(read(0, 7, 64), (0, end, TEXT.to_vec()));
    assert_eq!(read(1 << 8, 102, 8), (0, 110, TEXT[2..10].to_vec()));
    assert_eq!(read(1 << 8, end.into(), 64), (0, end, vec![]));
    assert_eq!(world.seen.borrow().forgotten, None);
    assert_eq!(sysctl(&world, 1, &[0, NOWHERE, 8]).0, -14);
}

#[test]
fn a_log_that_is_cleared_is_read_once_whatever_fails() {
    quiet_crashes();
    let mut world = World::new();
    for crash in 1.. {
        world.reset();
        world.put(ARGUMENT, &Sysctl { cmd: 1, interface_version: 0x15, u: [0; 16] });
        let mut op: Sysctl = world.get(ARGUMENT);
        (op.u[0], op.u[1], op.u[2]) = (1, LIST, 64);
        world.put(ARGUMENT, &op);
        let (value, crashed) = world.call_crashing(SYSCTL, &[ARGUMENT], crash);
        let op: Sysctl = world.get(ARGUMENT);
        let end = OLDEST + TEXT.len() as u32;
        assert_eq!((value, (op.u[0] >> 32) as u32, op.u[2] as usize), (0, end, TEXT.len()));
        assert_eq!(world.seen.borrow().forgotten, Some(end), "crash at step {crash}");
        assert_eq!(&world.get::<[u8; 64]>(LIST)[..TEXT.len()], TEXT);
        if !crashed {
            assert!(crash > 5, "only {crash} steps");
            return;
        }
    }
}
