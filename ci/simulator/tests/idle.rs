//! A CPU that holds no vCPU fails in work beside any entry: afterwards there is nothing to be dispatched again.

use ids::VcpuSlot;
use simulator::{Cut, Entry, Size, World};

/// Home on CPU 1, and never brought up.
const ABSENT: VcpuSlot = VcpuSlot(1);
const DEADLINE: u64 = 50_000_000;

/// CPU 1 sleeps and has a deadline.
fn world() -> World {
    let world = World::boot(Size { cpus: 2, vcpus: 2 }).expect("a guest");
    let timers = world.system.state.timers();
    let mut journal = world.system.journal_beside();
    journal.log().begin();
    journal.change(|tx| timers.set_singleshot(tx, ABSENT, DEADLINE, 0, 0)).expect("a deadline");
    journal.log().end();
    world.start_cpu(0).expect("it runs");
    assert_eq!(world.start_cpu(1), Err(Cut::Asleep));
    world
}

#[test]
fn its_log_is_closed() {
    let timer = Entry {
        cpu: 1,
        idle: Some(system::own_vector::TIMER),
        family: "idle",
        advance: DEADLINE,
        ..Entry::default()
    };
    let steps = {
        let world = world();
        world.present(&timer);
        world.enter(&timer, 0).steps
    };
    for step in 1..=steps {
        let mut world = world();
        world.present(&timer);
        assert_eq!(world.enter(&timer, step).result, Err(Cut::Crash));
        assert_eq!(world.recover(1, 0).0.result, Err(Cut::Asleep));
        world.audit().unwrap_or_else(|e| panic!("step {step}: {e}"));
        let [shot, ..] = world.system.state.timers().deadlines(ABSENT).expect("its deadlines");
        assert_eq!(shot, 0, "step {step}");
    }
}
