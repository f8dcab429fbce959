//! A vCPU polls for one port whose event waits for its word: the word's coming ends the poll.

use domains::VcpuState;
use ids::{DomainSlot, Mfn, VcpuId, VcpuSlot};
use pv_cpu::{Reg, vector};
use simulator::{Cut, Entry, Size, World, Write};
use xen_abi::event_channel::EVTCHNOP_EXPAND_ARRAY;
use xen_abi::hypercall::EVENT_CHANNEL_OP;

const DOM0: DomainSlot = DomainSlot(0);
const POLLER: VcpuSlot = VcpuSlot(1);
/// The guest's buffer.
const ARGUMENT: u64 = 0xffff_ffff_8000_3000;

/// vCPU 1 polls for a port that is pending and has no event word; also a frame for such words.
fn world() -> (World, Mfn) {
    let world = World::boot(Size { cpus: 1, vcpus: 2 }).expect("a guest");
    world.start_cpu(0).expect("it runs");
    let state = world.system.state;
    let (events, poller) = (state.events(world.machine), state.domains.vcpu(POLLER));
    let mut journal = world.system.journal_beside();
    journal.log().begin();
    let [control, array] =
        [0; 2].map(|_| journal.change(|tx| state.frames.allocate(tx, DOM0, 0, 64)).expect("memory"));
    let port = journal.change(|tx| {
        events.init_control(tx, DOM0, 0, control, 0).expect("a control block");
        events.bind_ipi(tx, DOM0, 0).expect("a port")
    });
    events.raise(DOM0, port);
    journal.change(|tx| {
        tx.set(&poller.initialised, true);
        tx.set(&poller.id, VcpuId(1));
        tx.set(&poller.poll_port, port);
        poller.set_state(tx, VcpuState::Polling);
    });
    journal.log().end();
    (world, array)
}

fn expand(array: Mfn) -> Entry {
    Entry {
        family: "event_channel_op",
        vector: vector::SYSCALL,
        error: EVENT_CHANNEL_OP as u32,
        registers: vec![
            (Reg::Rax, EVENT_CHANNEL_OP),
            (Reg::Rdi, EVTCHNOP_EXPAND_ARRAY.into()),
            (Reg::Rsi, ARGUMENT),
        ],
        writes: vec![Write::Virtual(ARGUMENT, array.0.to_le_bytes().to_vec())],
        ..Entry::default()
    }
}

#[test]
fn the_word_of_a_waiting_event_ends_a_poll() {
    let steps = {
        let (world, array) = world();
        world.present(&expand(array));
        let ran = world.enter(&expand(array), 0);
        assert!(ran.result.is_ok());
        assert_eq!(world.system.state.domains.vcpu(POLLER).state(), VcpuState::Runnable);
        ran.steps
    };
    for step in 1..=steps {
        let (mut world, array) = world();
        world.present(&expand(array));
        assert_eq!(world.enter(&expand(array), step).result, Err(Cut::Crash));
        assert!(world.recover(0, 0).0.result.is_ok());
        assert_eq!(world.system.state.domains.vcpu(POLLER).state(), VcpuState::Runnable, "step {step}");
    }
}
