//! Each refusal, and what a hostile guest's words can do: nothing.

mod world;

use events::{Error, MAX_PORTS, Step, Upcall, audit};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Maddr, VcpuSlot};
use world::{Answer, Op, World};

const D: DomainSlot = DomainSlot(1);

fn refused(error: Error) -> Answer {
    Answer::Error(error)
}

#[test]
fn unknown_slots() {
    let mut w = World::new();
    assert_eq!(w.run(Op::AllocUnbound(9, 0)), refused(Error::NoSuchDomain));
    assert_eq!(w.run(Op::Create(0)), refused(Error::Exists));
    assert_eq!(w.run(Op::Create(9)), refused(Error::NoSuchDomain));
    assert_eq!(w.run(Op::CreateVcpu(0, 0)), refused(Error::Exists));
    assert_eq!(w.run(Op::CreateVcpu(0, 2)), refused(Error::NoSuchVcpu));
    assert_eq!(w.run(Op::BindIpi(0, 2)), refused(Error::NoSuchVcpu));
    assert_eq!(
        w.tx(|e, tx| e.teardown_step(tx, DomainSlot(9)).map(|step| u32::from(step == Step::Done))),
        Answer::Value(1)
    );
    assert_eq!(w.run(Op::ResetStep(9)), refused(Error::NoSuchDomain));
    assert_eq!(w.events().unmask(DomainSlot(9), 1), Err(Error::NoSuchDomain));
    assert_eq!(w.events().raise(DomainSlot(9), 1), None);
    assert_eq!(w.events().upcall_state(VcpuSlot(99)), Upcall { pending: false, masked: true });
}

#[test]
fn ports_that_are_not() {
    let mut w = World::new();
    for port in [0, 1, 63, 64, 160, MAX_PORTS, u32::MAX] {
        for op in [Op::Close(1, port), Op::Send(1, port), Op::Unmask(1, port), Op::BindVcpu(1, port, 0)] {
            assert_eq!(w.run(op), refused(Error::Invalid), "{op:?}");
        }
        assert_eq!(w.run(Op::SetPriority(1, port, 0)), refused(Error::Invalid));
        assert_eq!(w.events().is_pending(D, port), Err(Error::Invalid));
        assert_eq!(w.events().raise(D, port), None);
    }
    w.run(Op::BindIpi(1, 0));
    assert_eq!(w.run(Op::Close(1, 0)), refused(Error::Invalid), "port 0 is nobody's");
}

#[test]
fn limits() {
    let mut w = World::new();
    for port in 1..160 {
        assert_eq!(w.run(Op::AllocUnbound(1, 0)), Answer::Value(port));
    }
    assert_eq!(w.run(Op::AllocUnbound(1, 0)), refused(Error::NoSpace));
    assert_eq!(w.run(Op::Close(1, 77)), Answer::Value(0));
    assert_eq!(w.run(Op::AllocUnbound(1, 0)), Answer::Value(77), "the lowest free port");
    assert_eq!(w.run(Op::SetPriority(1, 5, 3)), refused(Error::NoOperation));
    assert_eq!(w.run(Op::ExpandArray(1)), refused(Error::NotSupported));
    assert_eq!(w.run(Op::InitControl(1, 2)), refused(Error::NoSuchVcpu));
    for offset in [4, 4096 - 64, u32::MAX] {
        let answer = w.tx(|e, tx| e.init_control(tx, D, 0, World::frame(1, 1), offset).map(|()| 0));
        assert_eq!(answer, refused(Error::Invalid));
        let answer = w.tx(|e, tx| e.set_vcpu_info(tx, D, 0, World::frame(1, 1), offset | 1).map(|()| 0));
        assert_eq!(answer, refused(Error::BadOffset));
    }
    assert_eq!(w.run(Op::InitControl(1, 0)), Answer::Value(0));
    assert_eq!(w.run(Op::InitControl(1, 0)), refused(Error::Invalid));
    assert_eq!(w.run(Op::SetPriority(1, 5, 16)), refused(Error::Invalid));
    assert_eq!(w.run(Op::SetPriority(1, 5, 256)), refused(Error::Invalid));
    for _ in 0..128 {
        assert_eq!(w.run(Op::ExpandArray(1)), Answer::Value(0));
    }
    assert_eq!(w.run(Op::ExpandArray(1)), refused(Error::NoSpace));
}

#[test]
fn teardown_returns_chunks() {
    let mut w = World::new();
    let slot = DomainSlot(0);
    for d in 0..3 {
        for _ in 1..160 {
            assert!(matches!(w.run(Op::AllocUnbound(d, 0)), Answer::Value(_)));
        }
    }
    assert_eq!(audit(&w.region), Ok(()));
    w.run(Op::TeardownStep(0));
    assert_eq!(w.run(Op::AllocUnbound(0, 1)), refused(Error::Invalid), "it is dying");
    while w.run(Op::TeardownStep(0)) != Answer::Value(0) {}
    assert_eq!(w.events().status(slot, 1), Err(Error::NoSuchDomain));
    assert_eq!(audit(&w.region), Ok(()));
}

#[test]
fn consumed_channels_are_not_the_guests() {
    let mut w = World::new();
    let port = w.tx(|e, tx| e.alloc_consumed(tx, D, 1, DomId(100)));
    assert_eq!(port, Answer::Value(1));
    assert_eq!(w.run(Op::Close(1, 1)), refused(Error::Invalid));
    assert_eq!(w.run(Op::Send(1, 1)), refused(Error::Invalid));
    assert_eq!(w.run(Op::BindVcpu(1, 1, 0)), refused(Error::Invalid));
    assert_eq!(w.run(Op::BindInterdomain(0, 1, 1)), Answer::Value(1));
    w.kicked.clear();
    assert_eq!(w.run(Op::Send(0, 1)), Answer::Value(0));
    assert!(w.kicked.contains(&3), "the vCPU that waits for its device model");
    assert_eq!(w.events().is_pending(D, 1), Ok(false));
}

#[test]
fn global_virqs_go_to_their_handler() {
    let mut w = World::new();
    assert_eq!(w.run(Op::BindVirq(0, 3, 0)), Answer::Value(1));
    assert_eq!(w.run(Op::BindVirq(2, 3, 0)), Answer::Value(1));
    assert_eq!(w.events().global_virq_event(3).map(|e| e.a), Some(0));
    assert_eq!(w.tx(|e, tx| e.set_virq_handler(tx, 3, DomainSlot(2)).map(|()| 0)), Answer::Value(0));
    assert_eq!(w.events().global_virq_event(3).map(|e| e.a), Some(2));
    assert_eq!(w.tx(|e, tx| e.set_virq_handler(tx, 0, D).map(|()| 0)), refused(Error::Invalid));
    assert_eq!(w.events().global_virq_event(4), None);
    assert_eq!(w.events().raise_virq(VcpuSlot(0), 0), None);
    while w.run(Op::TeardownStep(2)) != Answer::Value(0) {}
    assert_eq!(w.events().global_virq_event(3).map(|e| e.a), Some(0), "Dom0 again");
}

#[test]
fn scribbled_words_harm_nobody() {
    let mut w = World::new();
    for op in
        [Op::InitControl(1, 0), Op::ExpandArray(1), Op::BindIpi(1, 0), Op::BindIpi(1, 0), Op::BindIpi(1, 0)]
    {
        assert!(matches!(w.run(op), Answer::Value(_)));
    }
    let mut seed = 1u64;
    for round in 0..4000u64 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let frame = World::frame(1, 1 + (seed >> 33) % 2).maddr().0;
        w.mem.0.store32(Maddr(frame + (seed >> 40) % 24 * 4), (seed >> 13) as u32);
        w.run(Op::Send(1, 1 + (round % 3) as u32));
        w.run(Op::Unmask(1, 1 + (round % 2) as u32));
        assert_eq!(audit(&w.region), Ok(()));
    }
}

#[test]
fn a_tail_that_moved_takes_nobody_along() {
    let mut w = World::new();
    for op in [Op::InitControl(1, 0), Op::ExpandArray(1)] {
        assert_eq!(w.run(op), Answer::Value(0));
    }
    for port in 1..4 {
        assert_eq!(w.run(Op::BindIpi(1, 0)), Answer::Value(port));
    }
    w.run(Op::Send(1, 1));
    assert_eq!(w.run(Op::Consume(1, 0)), Answer::Consumed([1].into()));
    // Port 1 is the last known tail of queue 7, and now the only event of queue 0.
    w.run(Op::SetPriority(1, 1, 0));
    w.run(Op::SetPriority(1, 3, 0));
    for port in 1..4 {
        assert_eq!(w.run(Op::Send(1, port)), Answer::Value(0));
    }
    assert_eq!(w.run(Op::Consume(1, 0)), Answer::Consumed([1, 2, 3].into()));
}

/// Whether a port is pending that is bound, masked, raised, closed and bound again: raised before it is closed, or
/// meanwhile, by another CPU.
fn is_reborn_pending(fifo: bool, meanwhile: bool) -> bool {
    let mut w = World::new();
    if fifo {
        assert_eq!(w.run(Op::InitControl(1, 0)), Answer::Value(0));
        assert_eq!(w.run(Op::ExpandArray(1)), Answer::Value(0));
    }
    assert_eq!(w.run(Op::BindIpi(1, 0)), Answer::Value(1));
    w.run(Op::Mask(1, 1));
    if meanwhile {
        w.rival = Some((D, 1));
    } else {
        w.run(Op::Send(1, 1));
        assert_eq!(w.events().is_pending(D, 1), Ok(true));
    }
    assert_eq!(w.run(Op::Close(1, 1)), Answer::Value(0));
    w.rival = None;
    assert_eq!(w.run(Op::BindIpi(1, 0)), Answer::Value(1));
    w.events().is_pending(D, 1).expect("it is bound")
}

#[test]
fn a_closed_port_is_reborn_without_its_event() {
    for (fifo, meanwhile) in [(false, false), (false, true), (true, false), (true, true)] {
        assert!(!is_reborn_pending(fifo, meanwhile), "fifo: {fifo}, meanwhile: {meanwhile}");
    }
}

#[test]
fn a_linked_port_is_not_reused() {
    let mut w = World::new();
    for op in [Op::InitControl(1, 0), Op::ExpandArray(1)] {
        assert_eq!(w.run(op), Answer::Value(0));
    }
    assert_eq!(w.run(Op::BindIpi(1, 0)), Answer::Value(1));
    w.run(Op::Send(1, 1));
    w.run(Op::Close(1, 1));
    assert_eq!(w.run(Op::BindIpi(1, 0)), Answer::Value(2), "the guest has not unlinked port 1 yet");
    assert_eq!(w.run(Op::Consume(1, 0)), Answer::Consumed([].into()));
    assert_eq!(w.run(Op::BindIpi(1, 0)), Answer::Value(1));
}
