use crate::world::{World, error};
use domains::{Life, VcpuState};
use guest_memory::GuestMemory;
use hypercalls::{Crash, Outcome};
use ids::{DomainSlot, Gva, VcpuSlot};
use xen_abi::Errno;
use xen_abi::event_channel::{EVTCHNOP_BIND_IPI, EVTCHNOP_SEND, EvtchnBindIpi, EvtchnSend};
use xen_abi::hypercall::{EVENT_CHANNEL_OP, MULTICALL, SCHED_OP, SCHED_OP_COMPAT};
use xen_abi::sched::*;
use xen_abi::xen::{DOMID_SELF, MulticallEntry};
use zerocopy::{Immutable, IntoBytes};

fn op<T: IntoBytes + Immutable>(world: &mut World, vcpu: u32, command: u32, argument: &T) -> (i64, Outcome) {
    let at = world.argument(argument);
    world.run(vcpu, SCHED_OP, &[command.into(), at])
}

fn send(world: &mut World, port: u32) {
    let at = world.argument(&EvtchnSend { port });
    assert_eq!(world.value(EVENT_CHANNEL_OP, &[EVTCHNOP_SEND.into(), at]), 0);
}

/// A port that rings vCPU 0.
fn doorbell(world: &mut World) -> u32 {
    let at = world.argument(&EvtchnBindIpi { vcpu: 0, port: 0 });
    assert_eq!(world.value(EVENT_CHANNEL_OP, &[EVTCHNOP_BIND_IPI.into(), at]), 0);
    world.memory.read::<EvtchnBindIpi>(Gva(at)).unwrap().port
}

#[test]
fn yielding_and_blocking() {
    let mut w = World::new();
    assert_eq!(w.value(SCHED_OP_COMPAT, &[0]), error(Errno::ENOSYS));
    assert_eq!(w.value(SCHED_OP, &[8]), error(Errno::ENOSYS));
    assert_eq!(w.run(0, SCHED_OP, &[SCHEDOP_YIELD.into()]), (0, Outcome::Yield));
    assert_eq!(w.vcpu_state(0), VcpuState::Runnable);
    assert_eq!(w.run(0, SCHED_OP, &[SCHEDOP_BLOCK.into()]), (0, Outcome::Block));
    assert_eq!(w.vcpu_state(0), VcpuState::Blocked);
    let runstate = w.runstate(0);
    assert_eq!((runstate.state, runstate.spent), (timers::State::Blocked as u32, [w.now, 0, 0, 0]));
    assert_eq!(w.kicked, [0], "to look once more");
    assert_eq!(w.memory.load8(w.info(0, 1)), 0, "upcalls unmasked");
    let vcpu = w.state.domains.vcpu(VcpuSlot(0));
    w.change(|tx| vcpu.set_state(tx, VcpuState::Runnable));
    w.memory.store64(w.info(0, 0), 0x0101);
    assert_eq!(w.run(0, SCHED_OP, &[SCHEDOP_BLOCK.into()]), (0, Outcome::Replied));
    assert_eq!((w.vcpu_state(0), w.memory.load64(w.info(0, 0))), (VcpuState::Runnable, 1));
}

#[test]
fn polling() {
    let mut w = World::new();
    let (first, second) = (doorbell(&mut w), doorbell(&mut w));
    let ports = w.argument(&[first, second]);
    let poll = |nr_ports, timeout| SchedPoll { ports, nr_ports, _pad0: [0; 4], timeout };
    assert_eq!(op(&mut w, 0, SCHEDOP_POLL, &poll(129, 0)).0, error(Errno::EINVAL));
    let bad = w.argument(&[4000_u32]);
    let invalid = SchedPoll { ports: bad, nr_ports: 1, _pad0: [0; 4], timeout: 0 };
    assert_eq!(op(&mut w, 0, SCHEDOP_POLL, &invalid).0, error(Errno::EINVAL));
    let unmapped = SchedPoll { ports: 1 << 40, nr_ports: 1, _pad0: [0; 4], timeout: 0 };
    assert_eq!(op(&mut w, 0, SCHEDOP_POLL, &unmapped).0, error(Errno::EFAULT));
    let vcpu = w.state.domains.vcpu(VcpuSlot(0));
    assert_eq!((w.vcpu_state(0), w.deadlines(0)), (VcpuState::Runnable, [0; 3]), "refusals leave nothing");

    assert_eq!(op(&mut w, 0, SCHEDOP_POLL, &poll(1, 9_000_000)), (0, Outcome::Yield));
    assert_eq!(w.vcpu_state(0), VcpuState::Polling);
    assert_eq!((w.deadlines(0)[2], vcpu.poll_port.get()), (9_000_000, first));
    assert_eq!((w.runstate(0).state, w.runstate(0).entered), (timers::State::Blocked as u32, w.now));
    // To be woken would end a wait for several ports.
    assert_eq!((&w.kicked[..], &w.timers[..]), (&[][..], &[0][..]));
    w.change(|tx| vcpu.set_state(tx, VcpuState::Runnable));
    assert_eq!(op(&mut w, 0, SCHEDOP_POLL, &poll(2, 0)), (0, Outcome::Yield));
    assert_eq!((w.deadlines(0)[2], vcpu.poll_port.get()), (0, 0));
    w.change(|tx| vcpu.set_state(tx, VcpuState::Runnable));

    send(&mut w, second);
    assert_eq!(op(&mut w, 0, SCHEDOP_POLL, &poll(2, 0)), (0, Outcome::Value(0)), "pending already");
    assert_eq!(op(&mut w, 0, SCHEDOP_POLL, &poll(1, 0)), (0, Outcome::Yield), "upcalls are masked");
    w.change(|tx| vcpu.set_state(tx, VcpuState::Runnable));
    w.memory.store8(w.info(0, 1), 0);
    assert_eq!(op(&mut w, 0, SCHEDOP_POLL, &poll(1, 0)), (0, Outcome::Value(0)), "an upcall comes first");
}

#[test]
fn shutting_down() {
    let mut w = World::new();
    let domain = w.state.domains.domain(DomainSlot(1));
    let reason = |reason| SchedShutdown { reason };
    assert_eq!(op(&mut w, 3, SCHEDOP_SHUTDOWN_CODE, &reason(SHUTDOWN_SUSPEND)), (0, Outcome::Replied));
    assert_eq!(domain.life(), Life::Alive);
    assert_eq!(op(&mut w, 3, SCHEDOP_SHUTDOWN, &reason(SHUTDOWN_REBOOT)), (0, Outcome::Shutdown));
    assert_eq!((domain.life(), domain.shutdown.get()), (Life::Shutdown, SHUTDOWN_SUSPEND + 1));
    assert_eq!(w.kicked, [3]);

    let mut w = World::new();
    assert_eq!(op(&mut w, 3, SCHEDOP_SHUTDOWN, &reason(SHUTDOWN_CRASH)).1, Outcome::Crash(Crash::Asked));
    let remote = |domain_id| SchedRemoteShutdown { domain_id, _pad0: [0; 2], reason: SHUTDOWN_REBOOT };
    assert_eq!(op(&mut w, 3, SCHEDOP_REMOTE_SHUTDOWN, &remote(0)).0, error(Errno::EPERM));
    assert_eq!(op(&mut w, 0, SCHEDOP_REMOTE_SHUTDOWN, &remote(7)).0, error(Errno::ESRCH));
    assert_eq!(op(&mut w, 0, SCHEDOP_REMOTE_SHUTDOWN, &remote(DOMID_SELF)).0, error(Errno::ESRCH));
    assert_eq!(op(&mut w, 0, SCHEDOP_REMOTE_SHUTDOWN, &remote(1)), (0, Outcome::Replied));
    let domain = w.state.domains.domain(DomainSlot(1));
    assert_eq!((domain.life(), domain.shutdown.get()), (Life::Shutdown, SHUTDOWN_REBOOT + 1));
    assert_eq!(op(&mut w, 0, SCHEDOP_REMOTE_SHUTDOWN, &remote(0)), (0, Outcome::Shutdown));
}

#[test]
fn watchdogs() {
    let mut w = World::new();
    let mut set = |id, timeout| op(&mut w, 0, SCHEDOP_WATCHDOG, &SchedWatchdog { id, timeout }).0;
    assert_eq!([set(0, 30), set(0, 1), set(0, 1)], [1, 2, error(Errno::ENOSPC)]);
    assert_eq!([set(3, 1), set(0, 0)], [error(Errno::EINVAL); 2]);
    assert_eq!([set(2, 0), set(2, 5), set(1, 60)], [0, error(Errno::EINVAL), 0]);
    assert_eq!(w.state.timers().watchdogs(VcpuSlot(0)), Ok([w.now + 60_000_000_000, 0]));
}

#[test]
fn pinning() {
    let mut w = World::new();
    let pin = |pcpu| SchedPinOverride { pcpu };
    assert_eq!(op(&mut w, 3, SCHEDOP_PIN_OVERRIDE, &pin(0)).0, error(Errno::EPERM));
    let mut set = |pcpu| op(&mut w, 0, SCHEDOP_PIN_OVERRIDE, &pin(pcpu));
    for pcpu in [-1, 5] {
        assert_eq!(set(pcpu).0, error(Errno::EINVAL));
    }
    assert_eq!(set(0), (0, Outcome::Yield), "it is sent there before it goes on");
    assert_eq!([set(0).0, set(99).0], [error(Errno::EBUSY), error(Errno::EINVAL)]);
    assert_eq!([set(i32::MIN).0, set(-1).0], [0, error(Errno::EINVAL)]);
    assert_eq!(w.state.domains.vcpu(VcpuSlot(0)).pin.get(), 0);
}

#[test]
fn a_multicall_goes_on_after_a_yield() {
    let mut w = World::new();
    let entry =
        |command: u32| MulticallEntry { op: SCHED_OP, result: 77, args: [command.into(), 0, 0, 0, 0, 0] };
    let list = w.argument(&[entry(SCHEDOP_YIELD), entry(SCHEDOP_BLOCK)]);
    let (_, outcome) = w.run(0, MULTICALL, &[list, 2]);
    assert_eq!(outcome, Outcome::Yield);
    assert_eq!(w.run(0, MULTICALL, &[list + 64, 1]), (0, Outcome::Block));
    let after: [[u64; 8]; 2] = w.memory.read(Gva(list)).unwrap();
    assert_eq!([after[0][1], after[1][1]], [0, 0]);
}
