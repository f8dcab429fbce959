//! A domain ends: what is told of it meanwhile, and a crash at every step.

use crate::control::{domctl, member};
use crate::crash::everywhere;
use crate::fixture::{ARGUMENT, NEW, OWNED, World};
use crate::life::{ID, VCPUS, ask, build, error, info, life, put_op, wanted};
use domains::Life;
use ids::{Mfn, VcpuId};
use xen_abi::Errno;
use xen_abi::domctl::{
    DomctlCreatedomain, DomctlGetvcpuinfo, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_DESTROYDOMAIN,
    XEN_DOMCTL_GETVCPUINFO, XEN_DOMCTL_MAX_VCPUS, XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMINF_DYING,
};

const DOMCTL: u64 = 36;

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
