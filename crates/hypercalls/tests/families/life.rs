//! Other domains come, stop, go on and end: what is refused, and a crash at every step.

use crate::control::domctl;
use crate::crash::everywhere;
use crate::fixture::{ARGUMENT, DOM0, FRAMES, LIST, LIST2, NEW, OTHER, OTHER_ID, World};
use crate::memory::{get_list, put_list, reservation};
use domains::{Life, VcpuState};
use frames::{Got, Kind, Owner};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Maddr, Mfn, VcpuId, VcpuSlot};
use xen_abi::Errno;
use xen_abi::arch::{VGCF_IN_KERNEL, VGCF_ONLINE, VcpuGuestContext};
use xen_abi::domctl::{
    ArchDomainconfig, Domctl, DomctlCreatedomain, DomctlGetdomaininfo, DomctlTscInfo,
    XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_GETTSCINFO,
    XEN_DOMCTL_MAX_MEM, XEN_DOMCTL_MAX_VCPUS, XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_RESUMEDOMAIN,
    XEN_DOMCTL_SETTSCINFO, XEN_DOMCTL_SETVCPUCONTEXT, XEN_DOMCTL_UNPAUSEDOMAIN, XEN_DOMINF_PAUSED,
};
use xen_abi::memory::MemoryReservation;
use xen_abi::xen::{MMUEXT_PIN_L4_TABLE, MmuextOp};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const DOMCTL: u64 = 36;
const MEMORY_OP: u64 = 12;
const MMUEXT_OP: u64 = 26;
const POPULATE: u64 = 6;
const CLAIM: u64 = 24;
/// Where its context lies.
const CONTEXT: u64 = LIST2 + 0x2000;
/// The number of the first domain that is made.
pub(crate) const ID: u16 = 1;
pub(crate) const VCPUS: u32 = 3;
/// What it has: tables of four levels, then memory.
const PAGES: u64 = 10;
/// Which of its frames Dom0 maps.
const MAPPED: usize = 7;

pub(crate) fn error(errno: Errno) -> i64 {
    errno.to_result()
}

/// What the toolstack asks for.
pub(crate) fn wanted() -> DomctlCreatedomain {
    let mut m = DomctlCreatedomain::new_zeroed();
    (m.ssidref, m.handle, m.max_vcpus, m.max_evtchn_port) = (12, [7; 16], VCPUS, 1023);
    (m.max_grant_frames, m.max_maptrack_frames, m.grant_opts) = (-1, -1, 2);
    m
}

pub(crate) fn words(value: &(impl IntoBytes + Immutable)) -> [u64; 16] {
    let mut words = [0; 16];
    let bytes = value.as_bytes();
    words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    words
}

pub(crate) fn ask(world: &World, cmd: u32, id: u16, value: &(impl IntoBytes + Immutable)) -> i64 {
    domctl(world, cmd, id, &words(value)).0
}

pub(crate) fn put_op(world: &World, cmd: u32, domain: u16, u: [u64; 16]) {
    world.put(ARGUMENT, &Domctl { cmd, interface_version: 0x15, domain, _pad: [0; 3], u });
}

fn create(world: &World) {
    let (result, op) = domctl(world, XEN_DOMCTL_CREATEDOMAIN, 0xffff, &words(&wanted()));
    assert_eq!((result, op.domain), (0, ID));
}

pub(crate) fn life(world: &World) -> Life {
    world.state.domains.domain(NEW).life()
}

pub(crate) fn shared_info(world: &World) -> u64 {
    world.state.domains.domain(NEW).shared_info.get().0
}

pub(crate) fn info(world: &World) -> DomctlGetdomaininfo {
    let (result, op) = domctl(world, XEN_DOMCTL_GETDOMAININFO, ID, &[]);
    assert_eq!(result, 0);
    DomctlGetdomaininfo::read_from_prefix(op.u.as_bytes()).unwrap().0
}

/// Memory, page tables, a running vCPU; Dom0 maps one of its frames.
pub(crate) fn build(world: &World) -> Vec<u64> {
    create(world);
    assert_eq!(ask(world, XEN_DOMCTL_MAX_VCPUS, ID, &VCPUS), 0);
    assert_eq!(ask(world, XEN_DOMCTL_MAX_MEM, ID, &(4 * PAGES)), 0);
    put_list(world, LIST, &(0..PAGES).collect::<Vec<_>>());
    world.put(ARGUMENT, &MemoryReservation { domid: ID, ..reservation(LIST, PAGES, 0) });
    assert_eq!(world.call(MEMORY_OP, &[POPULATE, ARGUMENT]), PAGES as i64);
    let frames = get_list(world, LIST, PAGES);
    let entry = |table: usize, index: u64, to: usize, flags: u64| {
        world.memory.store64(Maddr((frames[table] << 12) + 8 * index), frames[to] << 12 | flags);
    };
    // Two entries of the root share a table below.
    for (table, index, to) in [(0, 0, 1), (0, 1, 1), (1, 0, 2), (2, 0, 3), (3, 0, 4)] {
        entry(table, index, to, 7);
    }
    entry(3, 1, 5, 5);
    let pin = MmuextOp { cmd: MMUEXT_PIN_L4_TABLE, _pad0: [0; 4], arg1: frames[0], arg2: 0 };
    world.put(ARGUMENT, &pin);
    assert_eq!(world.call(MMUEXT_OP, &[ARGUMENT, 1, 0, ID.into()]), 0);
    let mut context = Box::new(VcpuGuestContext::new_zeroed());
    context.flags = VGCF_IN_KERNEL | VGCF_ONLINE;
    context.user_regs.rip = 0x1000;
    context.ctrlreg[3] = frames[0] << 12;
    (context.gdt_frames[0], context.gdt_ents) = (frames[6], 16);
    world.put(CONTEXT, &*context);
    assert_eq!(ask(world, XEN_DOMCTL_SETVCPUCONTEXT, ID, &[0, CONTEXT]), 0);
    world.change(|tx| {
        let got = world.state.frames.get_typed(tx, Mfn(frames[MAPPED]), Owner::domain(NEW), Kind::Writable);
        assert_eq!(got, Ok(Got::Taken));
    });
    frames
}

#[test]
fn a_domain_is_made_as_asked() {
    let world = World::new();
    let frames = build(&world);
    let info = info(&world);
    assert_eq!((info.domain, info.flags & XEN_DOMINF_PAUSED), (ID, XEN_DOMINF_PAUSED));
    assert_eq!((info.tot_pages, info.max_pages, info.max_vcpu_id), (PAGES, PAGES, VCPUS - 1));
    assert_eq!((info.nr_online_vcpus, info.handle), (1, [7; 16]));
    assert_eq!(info.shared_info_frame, shared_info(&world));
    let record = world.state.domains.domain(NEW);
    assert!(!record.may_run() && !record.privileged.get());
    let vcpu = world.state.domains.vcpu_of(NEW, VcpuId(0)).unwrap();
    assert_eq!((vcpu, world.state.domains.vcpu(vcpu).state()), (VcpuSlot(2), VcpuState::Runnable));
    assert_eq!(world.state.contexts.context(vcpu).root_kernel.get(), Mfn(frames[0]));
    for (pfn, mfn) in (0..).zip(&frames) {
        assert_eq!(world.seen.borrow().m2p[*mfn as usize], pfn);
    }
    // It has as much as it may, and the next domain another number.
    world.put(ARGUMENT, &MemoryReservation { domid: ID, ..reservation(LIST, 1, 0) });
    assert_eq!(world.call(MEMORY_OP, &[POPULATE, ARGUMENT]), 0);
    let another = DomctlCreatedomain { max_vcpus: 1, ..wanted() };
    let (result, op) = domctl(&world, XEN_DOMCTL_CREATEDOMAIN, 0, &words(&another));
    assert_eq!((result, op.domain), (0, ID + 1));
}

#[test]
fn what_cannot_be_made_is_refused() {
    let world = World::new();
    let m = wanted();
    let arch = |emulation_flags| ArchDomainconfig { emulation_flags, misc_flags: 0 };
    for wrong in [
        DomctlCreatedomain { flags: 1, ..m },
        DomctlCreatedomain { flags: 2, ..m },
        DomctlCreatedomain { flags: 1 << 5, ..m },
        DomctlCreatedomain { flags: 1 << 8, ..m },
        DomctlCreatedomain { iommu_opts: 1, ..m },
        DomctlCreatedomain { max_vcpus: 0, ..m },
        DomctlCreatedomain { max_vcpus: 129, ..m },
        DomctlCreatedomain { grant_opts: 0, ..m },
        DomctlCreatedomain { grant_opts: 3, ..m },
        DomctlCreatedomain { vmtrace_size: 4096, ..m },
        DomctlCreatedomain { arch: arch(1), ..m },
    ] {
        assert_eq!(ask(&world, XEN_DOMCTL_CREATEDOMAIN, 0, &wrong), error(Errno::EINVAL), "{wrong:?}");
    }
    let pool = DomctlCreatedomain { cpupool_id: 1, ..m };
    assert_eq!(ask(&world, XEN_DOMCTL_CREATEDOMAIN, 0, &pool), error(Errno::ESRCH));
    assert_eq!(ask(&world, XEN_DOMCTL_CREATEDOMAIN, OTHER_ID, &m), error(Errno::EEXIST));
    // There are fourteen vCPU slots left.
    let many = DomctlCreatedomain { max_vcpus: 15, ..m };
    assert_eq!(ask(&world, XEN_DOMCTL_CREATEDOMAIN, 0, &many), error(Errno::ENOMEM));
    assert_eq!(life(&world), Life::Free);
    world.audit(&[]);
    let asked = domctl(&world, XEN_DOMCTL_CREATEDOMAIN, 77, &words(&m));
    assert_eq!((asked.0, asked.1.domain), (0, 77));
    assert_eq!(ask(&world, XEN_DOMCTL_MAX_VCPUS, 77, &2u32), error(Errno::EINVAL));
    assert_eq!(ask(&world, XEN_DOMCTL_MAX_VCPUS, 0, &2u32), error(Errno::EINVAL));
    for cmd in [XEN_DOMCTL_PAUSEDOMAIN, XEN_DOMCTL_UNPAUSEDOMAIN, XEN_DOMCTL_DESTROYDOMAIN] {
        assert_eq!(ask(&world, cmd, 0, &0u64), error(Errno::EINVAL), "its own");
        assert_eq!(ask(&world, cmd, 78, &0u64), error(Errno::ESRCH));
    }
}

/// Asks for a claim.
fn claim(world: &World, domid: u16, pages: u64) -> i64 {
    world.put(ARGUMENT, &MemoryReservation { domid, ..reservation(0, pages, 0) });
    world.call(MEMORY_OP, &[CLAIM, ARGUMENT])
}

/// Creates a domain of this number.
fn create_as(world: &World, number: u16) -> i64 {
    put_op(world, XEN_DOMCTL_CREATEDOMAIN, number, words(&DomctlCreatedomain { max_vcpus: 1, ..wanted() }));
    world.call(DOMCTL, &[ARGUMENT])
}

#[test]
fn a_domain_gets_the_slot_where_its_number_is_looked_for_first() {
    let world = World::new();
    let slot = |number| world.state.domains.by_id(DomId(number));
    // Of four slots; that of the next number is taken.
    assert_eq!((create_as(&world, 11), slot(11)), (0, Some(DomainSlot(3))));
    create(&world);
    assert_eq!([slot(ID), slot(OTHER_ID), slot(0), slot(7)], [Some(NEW), Some(OTHER), Some(DOM0), None]);
}

#[test]
fn a_slot_stays_its_domains_while_a_cpu_may_be_at_work_with_it() {
    let world = World::new();
    create(&world);
    assert_eq!(ask(&world, XEN_DOMCTL_DESTROYDOMAIN, ID, &0u64), 0);
    assert_eq!(hypercalls::find_dead(world.state), Some(NEW));
    world.change(|tx| hypercalls::forget_dead(world.state, world.memory, tx, NEW));
    world.change(|tx| assert!(!hypercalls::remove_gone(world.state, tx, || false)));
    assert_eq!((life(&world), world.state.domains.has_dead()), (Life::Gone, true));
    // Another one gets the last slot; for the next there is none, until it has asked again.
    let asked = |number| create_as(&world, number);
    let slot = |number| world.state.domains.by_id(DomId(number));
    assert_eq!((asked(50), slot(50)), (0, Some(DomainSlot(3))));
    assert_eq!((asked(51), slot(51)), (0, Some(NEW)));
    assert_eq!(asked(52), error(Errno::ENOMEM));
    world.change(|tx| assert!(!hypercalls::remove_gone(world.state, tx, || true)));
    assert_eq!(slot(51), Some(NEW));
}

#[test]
fn a_claim_is_held_until_it_is_used_or_the_domain_ends() {
    let world = World::new();
    create(&world);
    assert_eq!(ask(&world, XEN_DOMCTL_MAX_MEM, ID, &(4 * FRAMES)), 0);
    let free = world.state.frames.heap().free_frames();
    for (domid, pages, errno) in [
        (ID + 1, 1, Errno::EINVAL),
        (0x7ff0, 1, Errno::EINVAL),
        (ID, FRAMES + 1, Errno::EINVAL),
        (ID, free + 1, Errno::ENOMEM),
    ] {
        assert_eq!(claim(&world, domid, pages), error(errno), "{domid} {pages}");
    }
    assert_eq!(claim(&world, ID, free - 2), 0);
    assert_eq!(claim(&world, ID, 1), error(Errno::EINVAL), "it has one");
    let populate = |domid, count| {
        put_list(&world, LIST, &(0x2000..0x2000 + count).collect::<Vec<_>>());
        world.put(ARGUMENT, &MemoryReservation { domid, ..reservation(LIST, count, 0) });
        world.call(MEMORY_OP, &[POPULATE, ARGUMENT])
    };
    assert_eq!(populate(0, 5), 2, "the rest is promised");
    assert_eq!(populate(ID, 5), 5);
    assert_eq!(info(&world).outstanding_pages, free - 7);
    assert_eq!(claim(&world, ID, 0), 0);
    assert_eq!(claim(&world, ID, 8), 0);
    assert_eq!(info(&world).outstanding_pages, 3);
    world.audit_slots(&[shared_info(&world)]);
    assert_eq!(ask(&world, XEN_DOMCTL_DESTROYDOMAIN, ID, &0u64), 0);
    assert_eq!(world.state.frames.heap().claimed_frames(), 0);
}

#[test]
fn a_crash_while_a_claim_is_made_or_used_counts_it_once() {
    let prepare = |world: &mut World| {
        create(world);
        assert_eq!(ask(world, XEN_DOMCTL_MAX_MEM, ID, &400u64), 0);
        world.put(ARGUMENT, &MemoryReservation { domid: ID, ..reservation(0, 30, 0) });
    };
    let check = |world: &World, value: i64| {
        assert_eq!((value, info(world).outstanding_pages), (0, 30));
        world.audit_slots(&[shared_info(world)]);
    };
    everywhere(MEMORY_OP, &[CLAIM, ARGUMENT], prepare, check);
    let prepare = |world: &mut World| {
        create(world);
        assert_eq!(ask(world, XEN_DOMCTL_MAX_MEM, ID, &400u64), 0);
        assert_eq!(claim(world, ID, 30), 0);
        put_list(world, LIST, &(0x2000..0x2014).collect::<Vec<_>>());
        world.put(ARGUMENT, &MemoryReservation { domid: ID, ..reservation(LIST, 20, 0) });
    };
    let check = |world: &World, value: i64| {
        assert_eq!((value, info(world).outstanding_pages), (20, 10));
        world.audit_slots(&[shared_info(world)]);
    };
    everywhere(MEMORY_OP, &[POPULATE, ARGUMENT], prepare, check);
}

#[test]
fn pauses_are_counted() {
    let world = World::new();
    build(&world);
    let record = world.state.domains.domain(NEW);
    assert_eq!(ask(&world, XEN_DOMCTL_PAUSEDOMAIN, ID, &0u64), 0);
    assert_eq!(ask(&world, XEN_DOMCTL_UNPAUSEDOMAIN, ID, &0u64), 0);
    assert!(!record.may_run());
    assert_eq!(ask(&world, XEN_DOMCTL_UNPAUSEDOMAIN, ID, &0u64), 0);
    assert!(record.may_run());
    assert_eq!(ask(&world, XEN_DOMCTL_UNPAUSEDOMAIN, ID, &0u64), error(Errno::EINVAL));
    for _ in 0..255 {
        assert_eq!(ask(&world, XEN_DOMCTL_PAUSEDOMAIN, ID, &0u64), 0);
    }
    assert_eq!(ask(&world, XEN_DOMCTL_PAUSEDOMAIN, ID, &0u64), error(Errno::EOVERFLOW));
    world.change(|tx| hypercalls::shut_down(world.state, world.memory, tx, NEW, 2));
    // Paused, it is alive; what it has shut down for is known.
    assert_eq!((life(&world), record.shutdown.get()), (Life::Shutdown, 3));
    assert_eq!(ask(&world, XEN_DOMCTL_RESUMEDOMAIN, ID, &0u64), 0);
    assert_eq!((life(&world), record.shutdown.get()), (Life::Alive, 0));
}

#[test]
fn the_tsc_is_kept_as_set() {
    let world = World::new();
    create(&world);
    let mut tsc = DomctlTscInfo { tsc_mode: 2, gtsc_khz: 5, incarnation: 3, pad: 0, elapsed_nsec: 7 };
    assert_eq!(ask(&world, XEN_DOMCTL_SETTSCINFO, ID, &tsc), 0);
    let (result, op) = domctl(&world, XEN_DOMCTL_GETTSCINFO, ID, &[]);
    (tsc.gtsc_khz, tsc.incarnation, tsc.elapsed_nsec) = (0, 4, 0);
    assert_eq!((result, op.u), (0, words(&tsc)));
    for (mode, errno) in [(1, Errno::EOPNOTSUPP), (3, Errno::EINVAL)] {
        tsc.tsc_mode = mode;
        assert_eq!(ask(&world, XEN_DOMCTL_SETTSCINFO, ID, &tsc), error(errno));
    }
}

#[test]
fn a_crash_while_a_domain_is_made_changes_nothing_that_shows() {
    let prepare = |world: &mut World| put_op(world, XEN_DOMCTL_CREATEDOMAIN, 0, words(&wanted()));
    let check = |world: &World, value: i64| {
        assert_eq!((value, world.get::<Domctl>(ARGUMENT).domain), (0, ID));
        assert_eq!(life(world), Life::Alive);
        world.audit_slots(&[shared_info(world)]);
    };
    everywhere(DOMCTL, &[ARGUMENT], prepare, check);
    let prepare = |world: &mut World| {
        create(world);
        put_op(world, XEN_DOMCTL_MAX_VCPUS, ID, words(&VCPUS));
    };
    let check = |world: &World, value: i64| {
        assert_eq!((value, world.state.domains.domain(NEW).vcpus.get()), (0, VCPUS));
        for vcpu in world.state.domains.vcpus_of(NEW) {
            assert!(world.state.timers().runstate(vcpu).is_ok());
        }
    };
    everywhere(DOMCTL, &[ARGUMENT], prepare, check);
}

#[test]
fn a_crash_while_a_domain_is_paused_pauses_it_once() {
    let prepare = |world: &mut World| {
        build(world);
        assert_eq!(ask(world, XEN_DOMCTL_UNPAUSEDOMAIN, ID, &0u64), 0);
        put_op(world, XEN_DOMCTL_PAUSEDOMAIN, ID, [0; 16]);
    };
    let check = |world: &World, value: i64| {
        let record = world.state.domains.domain(NEW);
        assert_eq!((value, record.pauses.get(), record.halting.get()), (0, 1, false));
    };
    everywhere(DOMCTL, &[ARGUMENT], prepare, check);
}
