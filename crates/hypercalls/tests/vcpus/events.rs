use crate::world::{World, error};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Mfn};
use xen_abi::Errno;
use xen_abi::event_channel::*;
use xen_abi::hypercall::{EVENT_CHANNEL_OP, MULTICALL};
use xen_abi::xen::{DOMID_SELF, MulticallEntry};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Runs an operation of a vCPU: the result and the argument afterwards.
fn op<T: FromBytes + IntoBytes + Immutable>(
    world: &mut World,
    vcpu: u32,
    command: u32,
    argument: T,
) -> (i64, T) {
    let at = world.argument(&argument);
    let (value, _) = world.run(vcpu, EVENT_CHANNEL_OP, &[command.into(), at]);
    (value, world.memory.read(Gva(at)).unwrap())
}

fn unbound(world: &mut World, vcpu: u32, dom: u16, remote_dom: u16) -> (i64, u32) {
    let (value, answer) =
        op(world, vcpu, EVTCHNOP_ALLOC_UNBOUND, EvtchnAllocUnbound { dom, remote_dom, port: 0 });
    (value, answer.port)
}

fn status(world: &mut World, vcpu: u32, dom: u16, port: u32) -> (i64, EvtchnStatus) {
    let argument = EvtchnStatus { dom, _pad0: [0; 2], port, status: 9, vcpu: 9, u: [0; 2] };
    op(world, vcpu, EVTCHNOP_STATUS, argument)
}

fn virq(world: &mut World, virq: u32, vcpu: u32) -> (i64, u32) {
    let (value, answer) = op(world, 0, EVTCHNOP_BIND_VIRQ, EvtchnBindVirq { virq, vcpu, port: 0 });
    (value, answer.port)
}

fn init_control(world: &mut World, mfn: Mfn, offset: u32, vcpu: u32) -> (i64, u8) {
    let argument = EvtchnInitControl { control_gfn: mfn.0, offset, vcpu, link_bits: 0, _pad: [0; 7] };
    let (value, answer) = op(world, 0, EVTCHNOP_INIT_CONTROL, argument);
    (value, answer.link_bits)
}

#[test]
fn two_domains_connect_and_send() {
    let mut w = World::new();
    assert_eq!(unbound(&mut w, 0, DOMID_SELF, 1), (0, 1));
    let (value, answer) = status(&mut w, 0, DOMID_SELF, 1);
    assert_eq!((value, answer.status, answer.u[0]), (0, EVTCHNSTAT_UNBOUND, 1));
    let bind =
        |remote_port| EvtchnBindInterdomain { remote_dom: 0, _pad0: [0; 2], remote_port, local_port: 0 };
    assert_eq!(op(&mut w, 3, EVTCHNOP_BIND_INTERDOMAIN, bind(7)).0, error(Errno::EINVAL));
    let (value, answer) = op(&mut w, 3, EVTCHNOP_BIND_INTERDOMAIN, bind(1));
    assert_eq!((value, answer.local_port), (0, 1));
    let (value, answer) = status(&mut w, 0, 0, 1);
    assert_eq!((value, answer.status, answer.u), (0, EVTCHNSTAT_INTERDOMAIN, [1, 1]));

    assert_eq!(op(&mut w, 3, EVTCHNOP_SEND, EvtchnSend { port: 1 }).0, 0);
    assert_eq!(w.kicked, [0]);
    assert_eq!(w.memory.load8(w.info(0, 0)), 1);
    assert_eq!(op(&mut w, 3, EVTCHNOP_SEND, EvtchnSend { port: 1 }).0, 0);
    assert!(w.kicked.is_empty(), "pending already");
    assert_eq!(op(&mut w, 3, EVTCHNOP_SEND, EvtchnSend { port: 2 }).0, error(Errno::EINVAL));

    assert_eq!(op(&mut w, 3, EVTCHNOP_CLOSE, EvtchnClose { port: 1 }).0, 0);
    assert_eq!(op(&mut w, 3, EVTCHNOP_CLOSE, EvtchnClose { port: 1 }).0, error(Errno::EINVAL));
    assert_eq!(status(&mut w, 0, 0, 1).1.status, EVTCHNSTAT_UNBOUND);
}

#[test]
fn other_domains_are_for_the_privileged() {
    let mut w = World::new();
    assert_eq!(unbound(&mut w, 0, 1, DOMID_SELF), (0, 1), "Dom0 makes a guest's port");
    assert_eq!(status(&mut w, 3, DOMID_SELF, 1).1.u[0], 0);
    assert_eq!(unbound(&mut w, 3, 0, 1).0, error(Errno::EPERM));
    assert_eq!(unbound(&mut w, 0, 9, 1).0, error(Errno::ESRCH));
    assert_eq!(status(&mut w, 3, 0, 1).0, error(Errno::EPERM));
    assert_eq!(op(&mut w, 3, EVTCHNOP_RESET, EvtchnReset { dom: 0 }).0, error(Errno::EPERM));
}

#[test]
fn virtual_interrupts_and_doorbells() {
    let mut w = World::new();
    assert_eq!(virq(&mut w, 0, 1), (0, 1));
    assert_eq!(virq(&mut w, 0, 1).0, error(Errno::EEXIST));
    assert_eq!(virq(&mut w, 0, 3).0, error(Errno::ENOENT));
    assert_eq!(virq(&mut w, 3, 1).0, error(Errno::EINVAL), "a global one off vCPU 0");
    assert_eq!(virq(&mut w, 24, 0).0, error(Errno::EINVAL));
    let (value, answer) = op(&mut w, 0, EVTCHNOP_BIND_IPI, EvtchnBindIpi { vcpu: 2, port: 0 });
    assert_eq!((value, answer.port), (0, 2));
    let (value, answer) = status(&mut w, 0, DOMID_SELF, 2);
    assert_eq!((value, answer.status, answer.vcpu), (0, EVTCHNSTAT_IPI, 2));
    assert_eq!(op(&mut w, 0, EVTCHNOP_SEND, EvtchnSend { port: 2 }).0, 0);
    assert_eq!(w.kicked, [2]);
    assert_eq!(op(&mut w, 0, EVTCHNOP_SEND, EvtchnSend { port: 1 }).0, error(Errno::EINVAL));
    let vcpu = |port, vcpu| EvtchnBindVcpu { port, vcpu };
    assert_eq!(op(&mut w, 0, EVTCHNOP_BIND_VCPU, vcpu(2, 1)).0, error(Errno::EINVAL));
    let (_, port) = unbound(&mut w, 0, DOMID_SELF, 0);
    assert_eq!(op(&mut w, 0, EVTCHNOP_BIND_VCPU, vcpu(port, 9)).0, error(Errno::ENOENT));
    assert_eq!(op(&mut w, 0, EVTCHNOP_BIND_VCPU, vcpu(port, 1)).0, 0);
    assert_eq!(status(&mut w, 0, DOMID_SELF, port).1.vcpu, 1);
    let pirq = EvtchnBindPirq { pirq: 9, flags: 0, port: 0 };
    assert_eq!(op(&mut w, 0, EVTCHNOP_BIND_PIRQ, pirq).0, error(Errno::EINVAL));
}

#[test]
fn unmask_delivers_what_came_meanwhile() {
    let mut w = World::new();
    op(&mut w, 0, EVTCHNOP_BIND_IPI, EvtchnBindIpi { vcpu: 1, port: 0 });
    let shared = w.state.domains.domain(DomainSlot(0)).shared_info.get().maddr();
    w.memory.store64(ids::Maddr(shared.0 + 2560), 1 << 1);
    op(&mut w, 0, EVTCHNOP_SEND, EvtchnSend { port: 1 });
    assert!(w.kicked.is_empty());
    assert_eq!(op(&mut w, 0, EVTCHNOP_UNMASK, EvtchnUnmask { port: 1 }).0, 0);
    assert_eq!(w.kicked, [1]);
    assert_eq!(op(&mut w, 0, EVTCHNOP_UNMASK, EvtchnUnmask { port: 2 }).0, error(Errno::EINVAL));
}

#[test]
fn fifo_frames_are_held_until_reset() {
    let mut w = World::new();
    let (control, array, foreign) = (w.frame(DomainSlot(0)), w.frame(DomainSlot(0)), w.frame(DomainSlot(1)));
    let priority = |port, priority| EvtchnSetPriority { port, priority };
    let expand = |array: Mfn| EvtchnExpandArray { array_gfn: array.0 };
    unbound(&mut w, 0, DOMID_SELF, 1);
    assert_eq!(op(&mut w, 0, EVTCHNOP_SET_PRIORITY, priority(1, 3)).0, error(Errno::ENOSYS));
    assert_eq!(op(&mut w, 0, EVTCHNOP_EXPAND_ARRAY, expand(array)).0, error(Errno::EOPNOTSUPP));
    for mfn in [foreign, Mfn(0), Mfn(u64::MAX)] {
        assert_eq!(init_control(&mut w, mfn, 0, 0).0, error(Errno::EINVAL));
    }
    assert_eq!(init_control(&mut w, control, 4, 0).0, error(Errno::EINVAL));
    assert_eq!(init_control(&mut w, control, 0, 3).0, error(Errno::ENOENT));
    assert_eq!(w.references(control), (1, 0), "refusals take nothing");
    assert_eq!(init_control(&mut w, control, 0, 0), (0, 17));
    assert_eq!(init_control(&mut w, control, 0, 0).0, error(Errno::EINVAL));
    assert_eq!(init_control(&mut w, control, 72, 1), (0, 17));
    assert_eq!(w.references(control), (3, 2));
    assert_eq!(op(&mut w, 0, EVTCHNOP_EXPAND_ARRAY, expand(array)).0, 0);
    assert_eq!(w.references(array), (2, 1));
    assert_eq!(op(&mut w, 0, EVTCHNOP_SET_PRIORITY, priority(1, 3)).0, 0);
    assert_eq!(op(&mut w, 0, EVTCHNOP_SET_PRIORITY, priority(1, 16)).0, error(Errno::EINVAL));

    op(&mut w, 0, EVTCHNOP_BIND_IPI, EvtchnBindIpi { vcpu: 1, port: 0 });
    assert_eq!(op(&mut w, 0, EVTCHNOP_SEND, EvtchnSend { port: 2 }).0, 0);
    assert_eq!(w.kicked, [1]);
    assert_eq!(w.memory.load32(ids::Maddr(array.maddr().0 + 8)) >> 31, 1, "pending in its event word");

    assert_eq!(op(&mut w, 0, EVTCHNOP_RESET, EvtchnReset { dom: DOMID_SELF }).0, 0);
    assert_eq!((w.references(control), w.references(array)), ((1, 0), (1, 0)));
    assert_eq!(unbound(&mut w, 0, DOMID_SELF, 1), (0, 1), "from the start again");
}

#[test]
fn bad_pointers_and_commands() {
    let mut w = World::new();
    assert_eq!(w.value(EVENT_CHANNEL_OP, &[EVTCHNOP_SEND.into(), 1 << 40]), error(Errno::EFAULT));
    assert_eq!(w.value(EVENT_CHANNEL_OP, &[14, 0x1000]), error(Errno::ENOSYS));
}

#[test]
fn in_a_multicall() {
    let mut w = World::new();
    let alloc = w.argument(&EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom: 1, port: 0 });
    let bad = w.argument(&EvtchnClose { port: 5 });
    let entry = |command: u32, at| MulticallEntry {
        op: EVENT_CHANNEL_OP,
        result: 77,
        args: [command.into(), at, 0, 0, 0, 0],
    };
    let list = w.argument(&[entry(EVTCHNOP_ALLOC_UNBOUND, alloc), entry(EVTCHNOP_CLOSE, bad)]);
    assert_eq!(w.value(MULTICALL, &[list, 2]), 0);
    let after: [[u64; 8]; 2] = w.memory.read(Gva(list)).unwrap();
    assert_eq!([after[0][1] as i64, after[1][1] as i64], [0, error(Errno::EINVAL)]);
    let answer: EvtchnAllocUnbound = w.memory.read(Gva(alloc)).unwrap();
    assert_eq!(answer.port, 1);
}
