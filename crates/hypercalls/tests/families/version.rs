//! `xen_version`.

use crate::fixture::{ARGUMENT, NOWHERE, OTHER, World};
use xen_abi::version::{CompileInfo, FeatureInfo};

const OP: u64 = 17;

fn text(world: &World, command: u64, len: usize) -> String {
    world.put(ARGUMENT, &[0xffu8; 1024]);
    assert_eq!(world.call(OP, &[command, ARGUMENT]), 0);
    let bytes = world.get::<[u8; 1024]>(ARGUMENT);
    assert!(bytes[len..].iter().all(|b| *b == 0xff), "no more than {len} bytes are written");
    let end = bytes.iter().position(|b| *b == 0).expect("an end");
    assert!(bytes[end..len].iter().all(|b| *b == 0));
    String::from_utf8(bytes[..end].to_vec()).unwrap()
}

#[test]
fn says_it_is_4_17() {
    let world = World::new();
    assert_eq!(world.call(OP, &[0, 0]), 0x0004_0011);
    assert_eq!(text(&world, 1, 16), ".7");
    assert_eq!(world.call(OP, &[2, ARGUMENT]), 0);
    let info: CompileInfo = world.get(ARGUMENT);
    assert_eq!((&info.compiler[..6], &info.compile_by[..9]), (&b"rustc\0"[..], &b"Revenant\0"[..]));
    assert_eq!(text(&world, 3, 1024), "xen-3.0-x86_64 ");
    assert!(text(&world, 4, 64).starts_with("Revenant"));
    assert_eq!(text(&world, 9, 1024), "");
    assert_eq!(world.call(OP, &[5, ARGUMENT]), 0);
    assert_eq!(world.get::<u64>(ARGUMENT), 0xffff_8000_0000_0000);
    assert_eq!(world.call(OP, &[7, 0]), 4096);
    assert_eq!(world.call(OP, &[7, 8]), -22);
    assert_eq!(world.call(OP, &[8, ARGUMENT]), 0);
    assert_eq!(world.get::<u128>(ARGUMENT), 0);
    assert_eq!(world.call(OP, &[10, 0]), -61);
    assert_eq!(world.call(OP, &[1, NOWHERE]), -14);
}

#[test]
fn tells_pv_domains_their_features() {
    let mut world = World::new();
    let features = |world: &World, submap_idx| {
        world.put(ARGUMENT, &FeatureInfo { submap_idx, submap: 0 });
        let result = world.call(OP, &[6, ARGUMENT]);
        (result, world.get::<FeatureInfo>(ARGUMENT).submap)
    };
    assert_eq!(features(&world, 0), (0, 1 << 5 | 1 << 6 | 1 << 7 | 1 << 11 | 1 << 13 | 1 << 17));
    assert_eq!(features(&world, 1).0, -22);
    world.caller = OTHER;
    assert_eq!(features(&world, 0), (0, 1 << 5 | 1 << 6 | 1 << 7 | 1 << 13 | 1 << 17));
    assert_eq!(world.call(OP, &[10, 0]), -1);
    assert_eq!(text(&world, 9, 9), "<denied>");
}

#[test]
fn the_unknown_is_refused_and_logged_once() {
    let mut world = World::new();
    for _ in 0..3 {
        assert_eq!(world.call(OP, &[11, ARGUMENT]), -38);
    }
    assert_eq!(world.seen.borrow().console, "(XEN) d0: unsupported xen_version 11\n");
    world.caller = OTHER;
    assert_eq!(world.call(OP, &[11, ARGUMENT]), -38);
    assert_eq!(world.call(900, &[0]), -38);
    assert_eq!(world.call(27, &[0]), -38);
    assert_eq!(world.call(40, &[4]), -95);
    world.put(ARGUMENT, &{
        let mut words = [0_u64; 18];
        words[0] = 0x15_0000_0006;
        words
    });
    assert_eq!(world.call(36, &[ARGUMENT]), -1);
    world.caller = crate::fixture::DOM0;
    assert_eq!(world.call(36, &[ARGUMENT]), -38);
    let seen = world.seen.borrow();
    let lines: Vec<_> = seen.console.lines().collect();
    assert_eq!(
        lines[1..],
        [
            "(XEN) d5: unsupported xen_version 11",
            "(XEN) d5: unsupported hypercall 63",
            "(XEN) d0: unsupported domctl 6"
        ]
    );
}
