//! `platform_op` and `mca`.

use crate::fixture::{ARGUMENT, LIST, NOWHERE, OTHER, World};
use xen_abi::kexec::{KexecExec, KexecLoad, KexecRange};
use xen_abi::mca::{Mc, McinfoLogicalCpu};
use xen_abi::platform::PlatformOp;

const OP: u64 = 7;
const MCA: u64 = 48;

fn op(world: &World, cmd: u32, words: &[u64]) -> (i64, [u64; 16]) {
    let mut u = [0; 16];
    u[..words.len()].copy_from_slice(words);
    world.put(ARGUMENT, &PlatformOp { cmd, interface_version: 0x0300_0001, u });
    (world.call(OP, &[ARGUMENT]), world.get::<PlatformOp>(ARGUMENT).u)
}

#[test]
fn the_wall_clock_is_that_of_system_time_0() {
    let mut world = World::new();
    assert_eq!(op(&world, 62, &[1000, 5, 2_000_000_007]).0, 0);
    let clock = |world: &World| {
        let clock = world.state.timers().wall_clock();
        (clock.seconds, clock.nanoseconds)
    };
    assert_eq!(clock(&world), (997, 999_999_998));
    assert_eq!(world.seen.borrow().wall_clock, 1);
    assert_eq!(op(&world, 62, &[1000, 5 | 1 << 32, 0]).0, -22);
    assert_eq!(op(&world, 62, &[1, 0, 2_000_000_000]).0, -22);
    assert_eq!(op(&world, 17, &[7 | 9 << 32, 0]).0, 0);
    assert_eq!(clock(&world), (7, 9));
    world.caller = OTHER;
    assert_eq!(op(&world, 62, &[1000, 5, 0]).0, -1);
}

#[test]
fn tells_of_firmware_and_processors() {
    let mut world = World::new();
    for (kind, index, result) in
        [(5, 0, 0), (5, 1, -3), (1, 6, -3), (2, 16, -3), (3, 1, -3), (4, 0, -38), (9, 0, -22)]
    {
        assert_eq!(op(&world, 50, &[kind | index << 32]).0, result, "{kind}");
    }
    let (result, words) = op(&world, 55, &[1]);
    assert_eq!((result, words[0] >> 32, words[1], words[2] as u32), (0, 1, 1 | 0x21 << 32, 0x11));
    let (result, words) = op(&world, 55, &[2]);
    assert_eq!((result, words[0] >> 32, words[1] as u32), (0, 1, 2));
    let (result, words) = op(&world, 48, &[0]);
    assert_eq!((result, &words.map(u64::to_le_bytes).concat()[8..20]), (0, &b"AuthenticAMD"[..]));
    assert_eq!((words[2] >> 32, words[3]), (0x17, 0x31 | 1 << 32));
    assert_eq!((op(&world, 56, &[1]).0, op(&world, 56, &[2]).0, op(&world, 57, &[1]).0), (0, -22, -95));
    assert_eq!(op(&world, 49, &[1]).0, -38);
    assert_eq!(
        (op(&world, 54, &[0x10]).0, op(&world, 54, &[9]).0, op(&world, 54, &[2 << 32]).0),
        (0, -22, -38)
    );
    world.put(LIST, &[1u32, 1, 0xffff_ffff]);
    assert_eq!(op(&world, 54, &[3 << 32 | 0xffff_ffff, LIST]).0, 0);
    assert_eq!(world.get::<u32>(LIST + 8), 0xbff);
    assert_eq!(op(&world, 54, &[3 << 32, NOWHERE]).0, -14);
    let (result, words) = op(&world, 63, &[9, LIST]);
    assert_eq!((result, words[0], world.get::<u8>(LIST)), (0, 1, 0), "no names");
    assert_eq!((op(&world, 63, &[1 << 32]).0, op(&world, 63, &[9, NOWHERE]).0), (-34, -14));
    assert_eq!(op(&world, 65, &[0]).0, -38);
    assert!(world.seen.borrow().console.ends_with("(XEN) d0: unsupported platform_op 65\n"));
    world.put(ARGUMENT, &PlatformOp { cmd: 62, interface_version: 0x0300_0002, u: [0; 16] });
    world.caller = OTHER;
    assert_eq!(world.call(OP, &[ARGUMENT]), -13);
}

/// Two GiB from 2 GiB on have a type: `memory_types` of the fixture.
#[test]
fn memory_types_stay() {
    let world = World::new();
    for (mfn, frames, kind, result) in [
        (0x8_0000, 0x10, 6, -22),
        (0x8_0000, 0x10, 0, -95),
        (0x10_0000, 0x10, 6, -95),
        (0x10_0000, 0x11, 6, -22),
        (0x10_0001, 0x10, 6, -22),
        (0x10_0000, 0, 6, -22),
        (0x10_0000, 0x10, 2, -22),
        (0x10_0000, 0x10, 7, -22),
        (u64::MAX, 1, 6, -22),
        (1 << 24, 1, 6, -22),
    ] {
        assert_eq!(op(&world, 31, &[mfn, frames, kind]).0, result, "{mfn:#x} {frames:#x} {kind}");
    }
    let remove = |handle: u64, index: u64| op(&world, 32, &[handle | index << 32]).0;
    assert_eq!([remove(0, 0), remove(1, 0), remove(0, 1), remove(0, 9)], [-95, -22, -22, -22]);
}

#[test]
fn tells_what_the_bios_said() {
    let world = World::new();
    let info = |kind: u64, index: u64, u: [u64; 2]| op(&world, 50, &[kind | index << 32, u[0], u[1]]);
    world.put(LIST, &[0xffff_u16; 40]);
    let (result, words) = info(1, 0, [0, LIST]);
    assert_eq!((result, words[1], words[2]), (0, 0x3f0f_0102_0007_3080, LIST));
    // Its length is an allegation; so is the guest's.
    let parameters: [u16; 40] = world.get(LIST);
    assert_eq!((parameters[0], parameters[36], parameters[37]), (74, 0, 0xffff));
    world.put(LIST, &[4_u16, 7, 7]);
    assert_eq!((info(1, 0, [0, LIST]).0, world.get::<[u16; 3]>(LIST)), (0, [4, 9, 7]));
    assert_eq!((info(1, 1, [0, LIST]).0, info(1, 0, [0, NOWHERE]).0), (-3, -14));
    let (result, words) = info(2, 0, [u64::MAX, 5]);
    assert_eq!((result, words[1], words[2]), (0, 0xfeed_c0de_ffff_ff81, 5));
    assert_eq!(info(2, 1, [0; 2]).0, -3);
    let (result, words) = info(3, 0, [u64::MAX, LIST]);
    assert_eq!((result, words[1], world.get::<[u8; 128]>(LIST)), (0, !0xffff | 0x103, [0xee; 128]));
    assert_eq!((info(3, 1, [0, LIST]).0, info(3, 0, [0, NOWHERE]).0), (-3, -14));
    assert_eq!(info(5, 0, [0; 2]).1[1], 0x21);
}

#[test]
fn switches_off_by_the_values_given() {
    let world = World::new();
    let values = 0x2001 | 0x2002 << 16;
    for (words, result) in [
        ([values | 5 << 32, 1], -1),
        ([values | 5 << 32, 2], -22),
        ([values | 3 << 32, 0], -95),
        ([values | 6 << 32, 0], -22),
        ([0x2001 | 2 << 16 | 5 << 32, 0], -22),
        ([values | 5 << 32, 0], 0),
    ] {
        assert!(world.seen.borrow().power.is_empty());
        assert_eq!(op(&world, 51, &words).0, result, "{words:x?}");
    }
    assert_eq!(world.seen.borrow().power, [(0, 0x2001, 0x2002)]);
}

#[test]
fn there_is_no_machine_check_telemetry() {
    let mut world = World::new();
    let mca = |world: &World, cmd, interface_version, flags| {
        let mut u = [0; 18];
        (u[0], u[2]) = (flags, LIST);
        world.put(ARGUMENT, &Mc { cmd, interface_version, u });
        (world.call(MCA, &[ARGUMENT]), world.get::<Mc>(ARGUMENT).u[0])
    };
    assert_eq!(mca(&world, 1, 0x01ec_c003, 1), (0, 2));
    assert_eq!(mca(&world, 1, 0x01ec_c003, 5), (0, 5));
    assert_eq!(mca(&world, 1, 0x01ec_c003, 8).0, -22);
    assert_eq!(mca(&world, 4, 0x01ec_c003, 0).0, -22);
    assert_eq!(mca(&world, 3, 0x01ec_c003, 0), (0, 2));
    let mut u = [0; 18];
    (u[0], u[1]) = (9, LIST);
    world.put(ARGUMENT, &Mc { cmd: 3, interface_version: 0x01ec_c003, u });
    assert_eq!((world.call(MCA, &[ARGUMENT]), world.get::<Mc>(ARGUMENT).u[0]), (0, 2));
    let second: McinfoLogicalCpu = world.get(LIST + size_of::<McinfoLogicalCpu>() as u64);
    assert_eq!((second.mc_cpunr, second.mc_apicid, second.mc_family, second.mc_vendor), (1, 0x21, 0x17, 2));
    assert_eq!(&second.mc_vendorid[..13], b"AuthenticAMD\0");
    assert_eq!(mca(&world, 1, 1, 1).0, -13);
    world.caller = OTHER;
    assert_eq!(mca(&world, 1, 0x01ec_c003, 1).0, -1);
}

#[test]
fn images_for_kexec_are_refused_and_ranges_told() {
    let mut world = World::new();
    let kexec = |world: &World, command| world.call(37, &[command, ARGUMENT]);
    for (kind, results) in [(0, [-2, 0, 0, 0]), (1, [-2, 0, 0, 0]), (2, [-22, -22, -22, -22])] {
        world.put(ARGUMENT, &KexecExec { type_: kind });
        assert_eq!([0, 2, 5, 6].map(|command| kexec(&world, command)), results, "type {kind}");
    }
    for (range, nr, result) in [(0, 0, 0), (1, 0, 0), (2, 0, -22), (2, 9, -34), (6, 0, 0), (9, 0, -22)] {
        world.put(ARGUMENT, &KexecRange { range, nr, size: 7, start: 7 });
        assert_eq!(kexec(&world, 3), result, "range {range}");
        if range == 1 {
            let told: KexecRange = world.get(ARGUMENT);
            assert_eq!((told.start, told.size), (0x20_0000, 0x10_0000));
        }
    }
    for (type_, arch, result) in [(0, 62, -95), (0, 1, -22), (1, 62, -99), (2, 62, -22)] {
        let load = KexecLoad { type_, _pad: 0, arch, nr_segments: 0, segments: 0, entry_maddr: 0 };
        world.put(ARGUMENT, &load);
        assert_eq!(kexec(&world, 4), result, "{load:?}");
    }
    assert_eq!((world.call(37, &[0, NOWHERE]), world.call(37, &[7, NOWHERE])), (-14, 0));
    world.caller = OTHER;
    assert_eq!(kexec(&world, 0), -1);
}

#[test]
fn memory_types_and_plugged_in_things() {
    let world = World::new();
    let (result, words) = op(&world, 33, &[0]);
    assert_eq!((result, words[1], words[2], words[3] as u32), (0, 0x8_0000, 0x8_0000, 1));
    let (result, words) = op(&world, 33, &[1]);
    assert_eq!((result, words[1], words[2]), (0, 0, 0));
    assert_eq!(op(&world, 33, &[2]).0, -22);
    assert_eq!((op(&world, 58, &[0x21]).0, op(&world, 58, &[0x99]).0), (-17, -95));
    assert_eq!((op(&world, 59, &[5, 5]).0, op(&world, 59, &[5, 6]).0), (-22, -95));
    assert_eq!((op(&world, 60, &[1]).0, op(&world, 60, &[1 | 1 << 32]).0), (0, -95));
    assert_eq!((op(&world, 35, &[LIST, 0]).0, op(&world, 35, &[LIST, 16]).0), (-2, -22));
}
