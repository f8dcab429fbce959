//! A domain ends: what is told of it meanwhile, and a crash at every step.

use crate::control::{domctl, member};
use crate::crash::everywhere;
use crate::fixture::{ARGUMENT, DOM0, NEW, OWNED, World};
use crate::life::{ID, VCPUS, ask, build, error, info, life, put_op, wanted, words};
use core::cell::Cell;
use domains::Life;
use ids::{DomId, Maddr, Mfn, VcpuId, VcpuSlot};
use xen_abi::Errno;
use xen_abi::domctl::{
    DomctlCreatedomain, DomctlGetvcpuinfo, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_DESTROYDOMAIN,
    XEN_DOMCTL_GETVCPUINFO, XEN_DOMCTL_MAX_VCPUS, XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_RESUMEDOMAIN,
    XEN_DOMCTL_SUBSCRIBE, XEN_DOMINF_DYING,
};
use xen_abi::sched::{SCHEDOP_REMOTE_SHUTDOWN, SHUTDOWN_CRASH, SHUTDOWN_SUSPEND, SchedRemoteShutdown};
use xen_abi::xen::VIRQ_DOM_EXC;

const DOMCTL: u64 = 36;
const SCHED_OP: u64 = 29;

/// Its vCPU 0 has run so long, ns.
fn ran(world: &World, time: u64) {
    let vcpu = world.state.domains.vcpu_of(NEW, VcpuId(0)).unwrap();
    let timers = world.state.timers();
    for (state, after) in [(timers::State::Running, 0), (timers::State::Blocked, time)] {
        let now = timers.runstate(vcpu).unwrap().entered + after;
        world.change(|tx| timers.set_runstate(tx, vcpu, state, now).unwrap());
    }
}

#[test]
fn a_domain_can_be_asked_for_while_it_ends() {
    let world = World::new();
    build(&world);
    ran(&world, 500);
    let vcpus = world.state.domains.vcpus_of(NEW);
    let [first, end] = [vcpus.clone().next(), vcpus.last()].map(|slot| slot.unwrap().0);
    world.change(|tx| world.state.domains.domain(NEW).set_life(tx, Life::Dying));
    world.change(|tx| assert!(world.state.timers().teardown_step(tx, first..end + 1).unwrap()));
    assert_eq!(info(&world).cpu_time, 500);
    let (result, op) = domctl(&world, XEN_DOMCTL_GETVCPUINFO, ID, &[0]);
    assert_eq!((result, member::<DomctlGetvcpuinfo>(&op.u).cpu_time), (0, 500));
}

#[test]
fn a_crash_while_a_domain_ends_loses_no_frame() {
    let prepare = |world: &mut World| {
        build(world);
        ran(world, 1000);
        put_op(world, XEN_DOMCTL_DESTROYDOMAIN, ID, [0; 16]);
    };
    let check = |world: &World, value: i64| {
        assert_eq!((value, life(world)), (0, Life::Dead));
        // The toolstack may ask for it as long as it is known.
        let dead = info(world);
        assert_eq!((dead.flags & XEN_DOMINF_DYING, dead.max_vcpu_id, dead.cpu_time), (1, VCPUS - 1, 1000));
        // What Dom0 maps is there until it does not.
        let [.., left] = world.audit_slots(&[]);
        assert_eq!((left.len(), hypercalls::find_dead(world.state)), (1, None));
        assert_eq!(ask(world, XEN_DOMCTL_DESTROYDOMAIN, ID, &0u64), 0);
        world.change(|tx| tx.publish(frames::Frames::put_typed(Mfn(left[0]))));
        assert_eq!(hypercalls::find_dead(world.state), Some(NEW));
        world.change(|tx| hypercalls::forget_dead(world.state, world.memory, tx, NEW));
        assert_eq!(
            (life(world), ask(world, XEN_DOMCTL_PAUSEDOMAIN, ID, &0u64)),
            (Life::Gone, error(Errno::ESRCH))
        );
        world.change(|tx| assert!(hypercalls::remove_gone(world.state, tx, || true)));
        assert_eq!((life(world), world.state.domains.has_dead()), (Life::Free, false));
        let [dom0, _, none] = world.audit_slots(&[]);
        assert_eq!((dom0.len() as u64, none.len()), (OWNED, 0));
        // Another one finds nothing of it.
        let next = DomctlCreatedomain { max_vcpus: 14, ..wanted() };
        assert_eq!(ask(world, XEN_DOMCTL_CREATEDOMAIN, 0, &next), 0);
        assert_eq!(ask(world, XEN_DOMCTL_MAX_VCPUS, ID + 1, &14u32), 0);
    };
    everywhere(DOMCTL, &[ARGUMENT], prepare, check);
}

/// Dom0's ports for the domain's end, and for its suspending, to which it subscribed.
fn subscribed(world: &World) -> [u64; 2] {
    build(world);
    let events = world.state.events(world.memory);
    let own = events::NewDomain {
        domid: DomId(0),
        first_vcpu: VcpuSlot(0),
        max_vcpus: 1,
        max_port: 1023,
        shared_info: Maddr(0),
    };
    world.change(|tx| events.create_domain(tx, DOM0, &own).unwrap());
    world.change(|tx| events.create_vcpu(tx, DOM0, 0).unwrap());
    let [mut port, mut local, mut virq] = [0; 3];
    world.change(|tx| port = events.alloc_unbound(tx, NEW, DomId(0)).unwrap());
    world.change(|tx| local = events.bind_interdomain(tx, DOM0, NEW, port).unwrap());
    world.change(|tx| virq = events.bind_virq(tx, DOM0, VIRQ_DOM_EXC, 0).unwrap());
    assert_eq!(ask(world, XEN_DOMCTL_SUBSCRIBE, ID, &port), 0);
    world.seen.borrow_mut().events.clear();
    [virq.into(), local.into()]
}

/// Dom0 shuts it down for a reason: where events came.
fn told(world: &World, reason: u32) -> Vec<(u64, u64)> {
    world.put(ARGUMENT, &SchedRemoteShutdown { domain_id: ID, _pad0: [0; 2], reason });
    assert_eq!(world.call(SCHED_OP, &[SCHEDOP_REMOTE_SHUTDOWN.into(), ARGUMENT]), 0);
    core::mem::take(&mut world.seen.borrow_mut().events)
        .into_iter()
        .map(|(to, port)| (to, port.into()))
        .collect()
}

#[test]
fn who_subscribed_is_told_that_a_domain_suspends() {
    for (reason, which) in [(SHUTDOWN_SUSPEND, 1), (SHUTDOWN_CRASH, 0)] {
        let world = World::new();
        let ports = subscribed(&world);
        assert_eq!(told(&world, reason), [(0, ports[which])], "{reason}");
    }
    // A port that is none says nothing, nor does it keep the domain from suspending.
    let world = World::new();
    subscribed(&world);
    assert_eq!(ask(&world, XEN_DOMCTL_SUBSCRIBE, ID, &777u32), 0);
    assert_eq!((told(&world, SHUTDOWN_SUSPEND), life(&world)), (vec![], Life::Shutdown));
    assert_eq!(ask(&world, XEN_DOMCTL_RESUMEDOMAIN, ID, &0u64), 0);
    assert_eq!(ask(&world, XEN_DOMCTL_SUBSCRIBE, ID, &0u32), 0);
    assert_eq!(told(&world, SHUTDOWN_SUSPEND).len(), 1);
}

#[test]
fn a_crash_while_a_domain_suspends_tells_who_subscribed() {
    let ports = Cell::new([0; 2]);
    let prepare = |world: &mut World| {
        ports.set(subscribed(world));
        world.put(ARGUMENT, &SchedRemoteShutdown { domain_id: ID, _pad0: [0; 2], reason: SHUTDOWN_SUSPEND });
    };
    let check = |world: &World, value: i64| {
        assert_eq!((value, life(world)), (0, Life::Shutdown));
        let came =
            |port| world.seen.borrow().events.iter().filter(|event| u64::from(event.1) == port).count();
        let [virq, local] = ports.get();
        assert!(came(local) >= 1 && came(virq) == 0);
    };
    everywhere(SCHED_OP, &[SCHEDOP_REMOTE_SHUTDOWN.into(), ARGUMENT], prepare, check);
    let prepare = |world: &mut World| {
        build(world);
        put_op(world, XEN_DOMCTL_SUBSCRIBE, ID, words(&5u32));
    };
    let check = |world: &World, value: i64| {
        assert_eq!((value, world.state.domains.domain(NEW).suspend_port.get()), (0, 5));
    };
    everywhere(DOMCTL, &[ARGUMENT], prepare, check);
}
