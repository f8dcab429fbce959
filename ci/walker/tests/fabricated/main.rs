//! The walker over machines made by hand: a sound one passes, and every sort of damage is found.

mod world;

use walker::{FRAME, PRESENT, USER, WRITABLE};
use world::{CONFIGURATION, DATA, GDT, L1, L2, L3, ROOT, TABLE, World};

fn violations(world: &World) -> Vec<String> {
    walker::walk(&world.machine(), &[ROOT * FRAME]).expect("the machine can be read").violations
}

/// The one violation that says all of `words`.
fn finds(world: &World, words: &[&str]) {
    let found = violations(world);
    let said = found.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(said, "{words:?} not among {found:#?}");
}

#[test]
fn a_sound_machine_passes() {
    let world = World::new();
    let report = walker::walk(&world.machine(), &[ROOT * FRAME]).expect("the machine can be read");
    assert_eq!(report.violations, Vec::<String>::new());
    assert_eq!((report.roots, report.tables, report.mappings), (1, 4, 3));
    assert_eq!((report.ports, report.irqs), (2, 1));
    assert!(world.machine().is_quiet().expect("logs"));
}

#[test]
fn a_writable_mapping_of_a_page_table_is_found() {
    for table in [ROOT, L3, L2, L1] {
        let mut world = World::new();
        world.set_entry(L1, 1, (table * FRAME) | PRESENT | WRITABLE | USER);
        finds(&world, &["writable", &format!("{table:#x}"), "in use as a page table"]);
    }
    // Read-only is the guest's right.
    let mut world = World::new();
    world.set_entry(L1, 5, (L2 * FRAME) | PRESENT | USER);
    world.change_usage(L2, 1);
    assert_eq!(violations(&world), Vec::<String>::new());
}

#[test]
fn rights_are_those_of_all_levels() {
    let mut world = World::new();
    // Not writable above: the page table below cannot be written through it, but counts as if it could.
    world.set_entry(L2, 0, (L1 * FRAME) | PRESENT | USER);
    assert_eq!(violations(&world), Vec::<String>::new());
    world.set_entry(L1, 1, (L1 * FRAME) | PRESENT | WRITABLE | USER);
    assert!(!violations(&world).iter().any(|line| line.contains("in use as a page table")));
    finds(&world, &["writable and something else"]);
}

#[test]
fn writable_messages_are_found() {
    let mut world = World::new();
    for (index, mfn) in (0x40..).zip([TABLE, TABLE + 1, TABLE + 2, CONFIGURATION, CONFIGURATION + 1]) {
        world.set_entry(L1, index, (mfn * FRAME) | PRESENT | USER);
    }
    // Beside them are other registers.
    world.set_entry(L1, 0x48, ((TABLE + 3) * FRAME) | PRESENT | WRITABLE | USER);
    world.set_entry(L1, 0x49, ((CONFIGURATION + 2) * FRAME) | PRESENT | WRITABLE | USER);
    assert_eq!(violations(&world), Vec::<String>::new());
    for mfn in [TABLE, TABLE + 1, TABLE + 2, CONFIGURATION + 1] {
        let mut world = World::new();
        world.set_entry(L1, 0x40, (mfn * FRAME) | PRESENT | WRITABLE | USER);
        finds(&world, &["writable", &format!("{mfn:#x}")]);
    }
    world.close_table(false);
    finds(&world, &["has messages, but is open"]);
}

#[test]
fn a_count_off_by_one_is_found() {
    for mfn in [ROOT, L1, DATA, GDT] {
        for step in [1, 1 << 24] {
            let mut world = World::new();
            world.change_usage(mfn, step);
            finds(&world, &[&format!("frame {mfn:#x}: found")]);
        }
    }
}

#[test]
fn tables_in_work_hold_what_their_cursor_says() {
    let mut world = World::new();
    let spare = world.own_table(1);
    world.set_entry(spare, 0, (DATA * FRAME) | PRESENT | WRITABLE | USER);
    world.set_entry(spare, 1, (DATA * FRAME) | PRESENT | WRITABLE | USER);
    world.set_in_work(spare, 1);
    finds(&world, &[&format!("frame {DATA:#x}"), "2 writable"]);
    world.change_usage(DATA, 1 << 24);
    assert_eq!(violations(&world), Vec::<String>::new());
}

#[test]
fn foreign_and_hypervisor_memory_is_found() {
    let vault = World::new().vault_start();
    for (target, what) in
        [(vault, "the hypervisor's vault"), (World::FREE, "Free"), (0xfec00, "device memory")]
    {
        let mut world = World::new();
        world.set_entry(L1, 3, (target * FRAME) | PRESENT | USER);
        finds(&world, &["readable", what]);
    }
    let mut world = World::new();
    // Other device memory is Dom0's right, and counted nowhere.
    world.set_entry(L1, 3, (0xfed00 * FRAME) | PRESENT | WRITABLE | USER);
    assert_eq!(violations(&world), Vec::<String>::new());
}

#[test]
fn an_open_log_is_not_quiet() {
    let mut world = World::new();
    world.set_log(1 | 3 << 3);
    assert!(!world.machine().is_quiet().expect("logs"));
    world.set_log(1 | 5 << 48);
    assert!(world.machine().is_quiet().expect("logs"), "progress alone changes nothing");
}

#[test]
fn every_mutation_is_noticed() {
    let sound = World::new();
    let mutations = walker::mutations(&sound.machine()).expect("mutations");
    assert!(mutations.len() > 20, "{}", mutations.len());
    for mutation in mutations {
        let mut world = World::new();
        world.set_entry(mutation.maddr / FRAME, (mutation.maddr % FRAME / 8) as usize, mutation.value);
        assert!(!violations(&world).is_empty(), "missed: {mutation:?}");
    }
}
