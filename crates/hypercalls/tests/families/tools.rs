//! Requests of tools: debug keys, power settings, patches, triggers, and tools of the second release.

use crate::control::{domctl, sysctl, with_vcpu};
use crate::crash::everywhere;
use crate::fixture::{ARGUMENT, DOM0, LIST, NOWHERE, OTHER, World, quiet_crashes};
use guest_memory::GuestMemory;
use ids::{Gva, VcpuSlot};
use xen_abi::domctl::Domctl;
use xen_abi::sysctl::Sysctl;

const DEBUG_KEYS: u32 = 7;
const PM_OP: u32 = 12;
const TRIGGER: u32 = 28;

fn press(world: &World, keys: &str) -> (i64, String) {
    world.seen.borrow_mut().console.clear();
    let mut bytes = [0_u8; 64];
    bytes[..keys.len()].copy_from_slice(keys.as_bytes());
    world.put(LIST, &bytes);
    let result = sysctl(world, DEBUG_KEYS, &[LIST, keys.len() as u64]).0;
    let said = world.seen.borrow().console.clone();
    (result, said)
}

#[test]
fn every_key_prints_its_state() {
    let world = with_vcpu();
    let (result, help) = press(&world, "h");
    assert_eq!(result, 0);
    let keys: Vec<char> =
        help.lines().filter_map(|line| line.strip_prefix("(XEN)  key '")?.chars().next()).collect();
    assert!(keys.len() >= 19, "{help}");
    for key in keys {
        let (result, said) = press(&world, &key.to_string());
        assert_eq!(result, 0);
        let named = said.starts_with(&format!("(XEN) '{key}' pressed -"));
        assert_eq!(named, "0cdequx".contains(key), "{said}");
        // This machine has no I/O APICs and no PCI devices.
        assert!(!said.is_empty() || "Qz".contains(key), "'{key}' says nothing");
        assert!(said.lines().all(|line| line.starts_with("(XEN) ") && line.len() < 200), "{said}");
    }
    assert!(press(&world, "q").1.contains("VCPU information and callbacks for domain 0:"));
    assert!(press(&world, "qr").1.contains("Cpupool 0: CPUs {0,1}, scheduler credit2"));
    // All of them at once, in many pieces.
    assert!(press(&world, "*").1.matches("\n(XEN) [").count() >= 18);
}

#[test]
fn keys_that_nobody_knows_do_nothing_but_are_noted() {
    let mut world = with_vcpu();
    assert_eq!(press(&world, "\u{1}"), (0, "(XEN) d0: unsupported sysctl 7\n".into()));
    assert_eq!(press(&world, ""), (0, String::new()));
    assert_eq!(sysctl(&world, DEBUG_KEYS, &[NOWHERE, 1]).0, -14);
    assert_eq!(sysctl(&world, DEBUG_KEYS, &[LIST, 65]).0, -7);
    world.caller = OTHER;
    assert_eq!(sysctl(&world, DEBUG_KEYS, &[LIST, 1]).0, -1);
}

#[test]
fn a_key_goes_on_where_a_failure_cut_it() {
    quiet_crashes();
    let whole = press(&with_vcpu(), "*").1.lines().count();
    for crash in (1..).step_by(5) {
        let mut world = with_vcpu();
        world.put(LIST, b"*");
        let mut u = [0; 16];
        u[..2].copy_from_slice(&[LIST, 1]);
        world.put(ARGUMENT, &Sysctl { cmd: DEBUG_KEYS, interface_version: 0x15, u });
        let (result, reached) = world.call_crashing(35, &[ARGUMENT], crash);
        assert_eq!(result, 0, "step {crash}");
        let lines = world.seen.borrow().console.lines().count();
        // The piece whose printing the failure hit may be there twice.
        assert!((whole..=whole + 30).contains(&lines), "step {crash}: {lines} lines of {whole}");
        if !reached {
            assert!(crash > 20);
            break;
        }
    }
}

#[test]
fn power_settings_are_kept() {
    let world = World::new();
    let power = |cmd: u64, cpu: u64, value: u64| {
        let (result, u) = sysctl(&world, PM_OP, &[cmd | cpu << 32, value]);
        (result, u[1] as u32)
    };
    assert_eq!(power(0x22, 0, 7), (0, 1));
    assert_eq!(power(0x23, 0, 2).0, 0);
    assert_eq!((power(0x22, 0, 7), power(0x22, 1, 7)), ((0, 2), (0, u32::MAX)));
    assert_eq!(power(0x23, 0, u64::from(u32::MAX)).0, 0);
    assert_eq!(power(0x22, 0, 7), (0, u32::MAX));
    assert_eq!((power(0x21, 0, 1), power(0x21, 0, 0)), ((0, 0), (0, 1)));
    // Frequencies, turbo mode, what is gone, a CPU that there is not.
    assert_eq!((power(0x11, 0, 0).0, power(0x26, 0, 0).0, power(0x24, 0, 0).0), (-22, -13, -22));
    assert_eq!(power(0x22, 2, 0).0, -22);
}

#[test]
fn what_there_is_not_is_refused_as_on_xen() {
    let world = World::new();
    // Statistics of idle states, of frequencies; CPUs that come and go; patches; caches; coverage.
    assert_eq!((sysctl(&world, 10, &[0x21]).1[1], sysctl(&world, 10, &[0x23]).0), (2, -22));
    world.put(LIST, &[7_u64; 4]);
    let (result, u) = sysctl(&world, 10, &[0x22, 2, 0, LIST, LIST + 16]);
    assert_eq!((result, u[1], u[2], world.get::<[u64; 4]>(LIST)), (0, 2, 0, [1, 1, 0, 0]));
    assert_eq!((sysctl(&world, 10, &[0x11]).0, sysctl(&world, 10, &[0x21 | 9 << 32]).0), (-19, -22));
    assert_eq!((sysctl(&world, 11, &[1]).0, sysctl(&world, 11, &[1 | 1 << 32]).0), (-17, -95));
    assert_eq!((sysctl(&world, 27, &[2, 0, 1, 3]).0, sysctl(&world, 27, &[1]).0), (0, -2));
    assert_eq!(
        (sysctl(&world, 21, &[]).0, sysctl(&world, 23, &[]).0, sysctl(&world, 20, &[]).0),
        (-19, -19, -95)
    );
}

#[test]
fn a_vcpu_gets_an_nmi() {
    let world = with_vcpu();
    let send = |what: u64, vcpu: u64| domctl(&world, TRIGGER, 0, &[what | vcpu << 32]).0;
    assert_eq!((send(3, 0), send(1, 0), send(0, 9)), (-22, -38, -3));
    assert!(!world.state.domains.vcpu(VcpuSlot(0)).nmi_pending.get());
    assert_eq!(send(0, 0), 0);
    assert!(world.state.domains.vcpu(VcpuSlot(0)).nmi_pending.get());
}

#[test]
fn tools_of_both_releases_are_served() {
    let world = with_vcpu();
    let ask = |interface_version| {
        world.put(ARGUMENT, &Domctl { cmd: 5, interface_version, domain: DOM0.0, _pad: [0; 3], u: [0; 16] });
        (world.call(36, &[ARGUMENT]), world.get::<Domctl>(ARGUMENT).u)
    };
    assert_eq!((ask(0x15).0, ask(0x17).0, ask(0x16).0), (0, 0, -13));
    assert_eq!(ask(0x15).1[..4], ask(0x17).1[..4]);
}

const HYPFS: u64 = 42;

/// Reads an entry: result, type, length of its content, and that.
fn read_entry(world: &World, path: &str, room: u64) -> (i64, u8, Vec<u8>) {
    let mut text = [0_u8; 64];
    text[..path.len()].copy_from_slice(path.as_bytes());
    world.put(ARGUMENT, &text);
    world.put(LIST, &[0xee_u8; 1024]);
    let result = world.call(HYPFS, &[1, ARGUMENT, path.len() as u64 + 1, LIST, room]);
    let bytes: [u8; 1024] = world.get(LIST);
    let length = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    let content = if result == 0 { bytes[12..12 + length].to_vec() } else { Vec::new() };
    (result, bytes[0], content)
}

/// The names and types in a folder.
fn folder(world: &World, path: &str) -> Vec<(String, u8)> {
    let (result, kind, content) = read_entry(world, path, 1000);
    assert_eq!((result, kind), (0, 0), "{path}");
    let (mut at, mut found) = (0, Vec::new());
    loop {
        let next = usize::from(u16::from_ne_bytes([content[at + 12], content[at + 13]]));
        let name = content[at + 14..].split(|byte| *byte == 0).next().expect("a name");
        found.push((String::from_utf8(name.to_vec()).expect("text"), content[at]));
        if next == 0 {
            return found;
        }
        at += next;
    }
}

#[test]
fn the_file_system_has_versions_pools_and_parameters() {
    let world = World::new();
    let names = |path| folder(&world, path).into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ");
    assert_eq!(names("/"), "buildinfo cpupool params");
    assert_eq!(names("/buildinfo/version"), "extra major minor");
    assert_eq!((names("/cpupool"), names("/cpupool/0")), ("0".into(), "sched-gran".into()));
    assert_eq!(read_entry(&world, "/buildinfo/version/minor", 100), (0, 3, vec![17, 0, 0, 0]));
    assert_eq!(read_entry(&world, "/buildinfo/version/extra", 100), (0, 2, b".7\0".to_vec()));
    assert_eq!(read_entry(&world, "/cpupool/0/sched-gran", 16), (0, 2, b"cpu\0".to_vec()));
    assert_eq!(read_entry(&world, "/params/gnttab_max_frames", 100), (0, 2, b"64\0".to_vec()));
    // Too little room for the content, or for its head; what there is not.
    assert_eq!(read_entry(&world, "/cpupool/0/sched-gran", 15).0, -105);
    assert_eq!(read_entry(&world, "/cpupool/0/sched-gran", 11).0, -22);
    for path in ["/none", "/cpupool/1", "/cpupool/x", "/buildinfo/version/minor/x"] {
        assert_eq!(read_entry(&world, path, 100).0, -2, "{path}");
    }
    assert_eq!(read_entry(&world, "params", 100).0, -22);
}

fn write_entry(world: &World, path: &str, text: &str) -> i64 {
    world.put(ARGUMENT, &[0_u8; 64]);
    world.memory.copy_out(Gva(ARGUMENT), path.as_bytes()).expect("a buffer");
    world.memory.copy_out(Gva(LIST), text.as_bytes()).expect("a buffer");
    world.call(HYPFS, &[2, ARGUMENT, path.len() as u64 + 1, LIST, text.len() as u64])
}

fn text_of(world: &World, path: &str) -> String {
    let (result, _, mut text) = read_entry(world, path, 100);
    assert_eq!((result, text.pop()), (0, Some(0)));
    String::from_utf8(text).expect("text")
}

#[test]
fn parameters_change_and_the_rest_stays() {
    let mut world = World::new();
    let frames = "/params/gnttab_max_frames";
    for (text, result) in
        [("40\0", 0), ("0x30\0", 0), ("many\0", -22), ("40", -33), ("", -33), ("4294967295\0", -34)]
    {
        assert_eq!(write_entry(&world, frames, text), result, "{text}");
    }
    assert_eq!(text_of(&world, frames), "48");
    assert_eq!(world.state.grant_limits().frames, 48);
    assert_eq!((write_entry(&world, frames, "100\0"), world.state.grant_limits().frames), (0, 64));
    assert_eq!(world.seen.borrow().console, "(XEN) d0: unsupported hypfs_op 2\n");
    let levels = "/params/guest_loglvl";
    assert_eq!(
        (write_entry(&world, levels, "error/all\0"), text_of(&world, levels)),
        (0, "error/all".into())
    );
    let seen = world.seen.borrow().levels.expect("told")[1];
    assert_eq!((seen.always as u32, seen.rate_limited as u32), (1, 4));
    assert_eq!((write_entry(&world, levels, "loud\0"), text_of(&world, levels)), (-22, "error/all".into()));
    assert_eq!(write_entry(&world, "/buildinfo/version/extra", "x\0"), -13);
    assert_eq!(write_entry(&world, levels, &"x".repeat(129)), -28);
    assert_eq!(
        (
            world.call(HYPFS, &[0, 0, 0, 0, 0]),
            world.call(HYPFS, &[0, 1]),
            world.call(HYPFS, &[3, ARGUMENT, 21])
        ),
        (1, -22, -95)
    );
    assert_eq!(world.call(HYPFS, &[1, NOWHERE, 5]), -14);
    world.caller = OTHER;
    assert_eq!(write_entry(&world, frames, "40\0"), -1);
}

#[test]
fn a_parameter_changes_whole_or_not_at_all() {
    let prepare = |world: &mut World| {
        world.put(ARGUMENT, b"/params/loglvl\0");
        world.put(LIST, b"info/all\0");
    };
    let check = |world: &World, value: i64| {
        assert_eq!((value, text_of(world, "/params/loglvl")), (0, "info/all".into()));
        assert_eq!(world.seen.borrow().levels, Some(world.state.log_levels()));
    };
    everywhere(HYPFS, &[2, ARGUMENT, 15, LIST, 9], prepare, check);
}
