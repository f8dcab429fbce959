//! An entry that fails whenever it is dispatched ends its domain.

use ids::DomainSlot;
use simulator::{Cut, Guest, Size, World};
use system::{MOST_FAILURES, Power};

/// Entries tried.
const ENTRIES: u32 = 60;

#[test]
fn an_entry_that_fails_again_and_again_ends_its_domain() {
    let mut world = World::boot(Size { cpus: 1, vcpus: 1 }).expect("a guest");
    let mut guest = Guest::new(&world, 11);
    world.start_cpu(0).expect("it runs");
    let (mut ends, mut nobodys) = (0, 0);
    for _ in 0..ENTRIES {
        let Some(vcpu) = world.vcpu_on(0) else { break };
        let entry = guest.next(&world, 0, vcpu);
        world.present(&entry);
        let saved = world.save();
        let steps = world.enter(&entry, 0).steps;
        for step in 1..=steps {
            world.restore(&saved, true);
            assert_eq!(world.enter(&entry, step).result.err(), Some(Cut::Crash));
            let Some(first) = world.charge(0) else {
                nobodys += 1;
                continue;
            };
            assert_eq!(first, 1);
            // The same failure in what recovery does of it, until it is not tried again.
            for failures in 2..=MOST_FAILURES {
                assert_eq!(world.charge(0), Some(failures));
            }
            let result = world.recover(0, 0).0.result;
            assert_eq!(result, Err(Cut::Off(Power::Reset)), "step {step} of {entry:x?}");
            let domain = world.system.state.domains.domain(DomainSlot(0));
            assert_eq!(domain.life(), domains::Life::Shutdown);
            assert_eq!(domain.charged.get(), u32::from(MOST_FAILURES));
            ends += 1;
        }
        world.restore(&saved, true);
        let ended = world.enter(&entry, 0).result;
        if ended.is_err() {
            world.restore(&saved, true);
            world.withdraw(&entry);
        }
    }
    assert!(ends > 100 && nobodys > 0, "{ends} ends, {nobodys} failures that are nobody's");
}

#[test]
fn an_entry_that_fails_less_often_is_complete() {
    let mut world = World::boot(Size { cpus: 1, vcpus: 1 }).expect("a guest");
    let mut guest = Guest::new(&world, 12);
    world.start_cpu(0).expect("it runs");
    for _ in 0..ENTRIES {
        let Some(vcpu) = world.vcpu_on(0) else { break };
        let entry = guest.next(&world, 0, vcpu);
        world.present(&entry);
        let saved = world.save();
        let steps = world.enter(&entry, 0).steps;
        world.restore(&saved, true);
        assert_eq!(world.enter(&entry, 1 + steps / 2).result.err(), Some(Cut::Crash));
        for _ in 1..MOST_FAILURES {
            world.charge(0);
        }
        let result = world.recover(0, 0).0.result;
        if result.is_err() {
            // The entry itself ends the domain.
            world.restore(&saved, true);
            world.withdraw(&entry);
            continue;
        }
        assert_eq!(world.system.state.contexts.context(vcpu).failures.get(), 0, "{entry:x?}");
    }
}
