//! A domain's state is read, given back and looked at: what is refused, and a crash at every step.

use crate::control::{domctl, member};
use crate::crash::everywhere;
use crate::fixture::{ARGUMENT, LIST, LIST2, NEW, NOWHERE, World};
use crate::life::{ID, VCPUS, ask, build, put_op, shared_info, words};
use crate::memory::{get_list, put_list};
use domains::VcpuState;
use ids::{VcpuId, VcpuSlot};
use pv_cpu::Reg;
use xen_abi::Errno;
use xen_abi::arch::{VGCF_I387_VALID, VGCF_IN_KERNEL, VGCF_ONLINE, VcpuGuestContext};
use xen_abi::domctl::{
    Domctl, DomctlExtVcpucontext, DomctlShadowOp, DomctlVcpuMsr, DomctlVcpuMsrs, DomctlVcpuextstate,
    XEN_DOMCTL_GET_EXT_VCPUCONTEXT, XEN_DOMCTL_GET_VCPU_MSRS, XEN_DOMCTL_GETPAGEFRAMEINFO3,
    XEN_DOMCTL_GETVCPUCONTEXT, XEN_DOMCTL_GETVCPUEXTSTATE, XEN_DOMCTL_SET_EXT_VCPUCONTEXT,
    XEN_DOMCTL_SET_VCPU_MSRS, XEN_DOMCTL_SETVCPUCONTEXT, XEN_DOMCTL_SETVCPUEXTSTATE, XEN_DOMCTL_SHADOW_OP,
    XEN_DOMCTL_UNPAUSEDOMAIN,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const DOMCTL: u64 = 36;
/// Where a context, and an image of the extended state, lies.
const CONTEXT: u64 = LIST2 + 0x4000;
const IMAGE: u64 = LIST2 + 0x6000;
const IMAGE_WORDS: usize = (16 + 832) / 8;
const PINNED_L4: u64 = 0xc000_0000;
const XTAB: u64 = 0xf000_0000;

fn error(errno: Errno) -> i64 {
    errno.to_result()
}

fn vcpu(world: &World) -> VcpuSlot {
    world.state.domains.vcpu_of(NEW, VcpuId(0)).expect("it has one")
}

fn context(world: &World) -> Box<VcpuGuestContext> {
    assert_eq!(ask(world, XEN_DOMCTL_GETVCPUCONTEXT, ID, &[0, CONTEXT]), 0);
    Box::new(world.get(CONTEXT))
}

/// The domain with a vCPU that has run; it may run on.
fn running(world: &World) {
    build(world);
    let context = world.state.contexts.context(vcpu(world));
    context.registers.set(Reg::Rbx, 77);
    context.fpu_saved.set(pv_cpu::SAVED);
    world.state.extended.settle(vcpu(world));
    world.state.extended.set_word(vcpu(world), 20, 0x1234);
    world.state.extended.set_word(vcpu(world), pv_cpu::COMPONENTS_WORD, 3);
    world.state.extended.set_saved(vcpu(world));
    for _ in 0..world.state.domains.domain(NEW).pauses.get() {
        assert_eq!(ask(world, XEN_DOMCTL_UNPAUSEDOMAIN, ID, &0u64), 0);
    }
    assert!(world.state.domains.domain(NEW).may_run());
}

fn goes_on(world: &World) -> bool {
    world.state.domains.domain(NEW).may_run()
}

#[test]
fn a_context_is_read_as_it_is_and_may_be_given_again() {
    let world = World::new();
    let frames = build(&world);
    running_checks(&world, &frames);
}

fn running_checks(world: &World, frames: &[u64]) {
    let c = context(world);
    assert_eq!(c.flags & (VGCF_IN_KERNEL | VGCF_ONLINE | VGCF_I387_VALID), VGCF_IN_KERNEL | VGCF_ONLINE);
    assert_eq!((c.user_regs.rip, c.ctrlreg[3], c.ctrlreg[1]), (0x1000, frames[0] << 12, 0));
    assert_eq!((c.gdt_frames[0], c.gdt_ents, c.debugreg[7]), (frames[6], 16, 0x400));
    let mut changed = c.clone();
    changed.user_regs.rax = 1;
    changed.flags |= VGCF_I387_VALID;
    changed.fpu_ctxt.as_mut_bytes()[24..28].copy_from_slice(&u32::MAX.to_ne_bytes());
    world.put(CONTEXT, &*changed);
    assert_eq!(ask(world, XEN_DOMCTL_SETVCPUCONTEXT, ID, &[0, CONTEXT]), 0);
    let c = context(world);
    assert_eq!((c.user_regs.rax, c.flags & VGCF_I387_VALID), (1, VGCF_I387_VALID));
    // What would fault when it is loaded is cut.
    assert_eq!(world.state.extended.word(vcpu(world), pv_cpu::MXCSR_WORD), 0xffff_0000_ffff);
    type Wrong = (fn(&mut VcpuGuestContext), Errno);
    let wrong: [Wrong; 6] = [
        (|c| c.ctrlreg[3] += 4096, Errno::EOPNOTSUPP),
        (|c| c.ctrlreg[1] = 4096, Errno::EOPNOTSUPP),
        (|c| c.gdt_ents = 17, Errno::EOPNOTSUPP),
        (|c| c.gdt_frames[0] += 1, Errno::EOPNOTSUPP),
        (|c| c.ldt_ents = 1, Errno::EOPNOTSUPP),
        (|c| c.user_regs.rip = 1 << 63, Errno::EINVAL),
    ];
    for (change, errno) in wrong {
        let mut bad = c.clone();
        change(&mut bad);
        world.put(CONTEXT, &*bad);
        assert_eq!(ask(world, XEN_DOMCTL_SETVCPUCONTEXT, ID, &[0, CONTEXT]), error(errno));
    }
    for (vcpu, errno) in [(1, Errno::ENODATA), (VCPUS, Errno::EINVAL)] {
        assert_eq!(ask(world, XEN_DOMCTL_GETVCPUCONTEXT, ID, &[vcpu.into(), CONTEXT]), error(errno));
    }
    assert_eq!(ask(world, XEN_DOMCTL_GETVCPUCONTEXT, ID, &[0, NOWHERE]), error(Errno::EFAULT));
    assert_eq!(ask(world, XEN_DOMCTL_SETVCPUCONTEXT, ID, &[0, NOWHERE]), error(Errno::EFAULT));
    let mut down = c.clone();
    down.flags &= !VGCF_ONLINE;
    world.put(CONTEXT, &*down);
    assert_eq!(ask(world, XEN_DOMCTL_SETVCPUCONTEXT, ID, &[0, CONTEXT]), 0);
    assert_eq!(world.state.domains.vcpu(vcpu(world)).state(), VcpuState::Down);
}

#[test]
fn a_domain_that_is_read_goes_on() {
    let world = World::new();
    running(&world);
    assert_eq!(context(&world).user_regs.rbx, 77);
    assert!(goes_on(&world));
    assert_eq!(ask(&world, XEN_DOMCTL_GETVCPUCONTEXT, ID, &[0, NOWHERE]), error(Errno::EFAULT));
    assert!(goes_on(&world), "and when it cannot be read");
}

fn extended(at: u64, size: u64) -> DomctlVcpuextstate {
    DomctlVcpuextstate { vcpu: 0, _pad: 0, xfeature_mask: 0x207, size, buffer: at }
}

fn image(world: &World) -> Vec<u64> {
    let (result, op) = domctl(world, XEN_DOMCTL_GETVCPUEXTSTATE, ID, &words(&extended(IMAGE, 4000)));
    let got: DomctlVcpuextstate = member(&op.u);
    assert_eq!((result, got.xfeature_mask), (0, 0x207));
    get_list(world, IMAGE, got.size / 8)
}

#[test]
fn extended_state_is_given_only_if_it_can_be_loaded() {
    let world = World::new();
    running(&world);
    let (result, op) = domctl(&world, XEN_DOMCTL_GETVCPUEXTSTATE, ID, &words(&extended(0, 0)));
    assert_eq!((result, member::<DomctlVcpuextstate>(&op.u).size), (0, 16 + 2696));
    let first = image(&world);
    assert_eq!((first.len(), first[0], first[1], first[22], first[66]), ((16 + 576) / 8, 1, 3, 0x1234, 3));
    let mut good = vec![0; IMAGE_WORDS];
    good[..first.len()].copy_from_slice(&first);
    (good[0], good[1], good[66]) = (7, 7, 7);
    // With the mask of MXCSR's bits.
    good[5] |= 0xffff << 32;
    good[IMAGE_WORDS - 1] = 0xabcd;
    let give = |list: &[u64], size: usize| {
        put_list(&world, IMAGE, list);
        ask(&world, XEN_DOMCTL_SETVCPUEXTSTATE, ID, &extended(IMAGE, size as u64))
    };
    let whole = 8 * IMAGE_WORDS;
    assert_eq!(give(&good, whole), 0);
    assert_eq!(image(&world), good);
    assert_eq!(world.state.contexts.context(vcpu(&world)).xcr0.get(), 7);
    for (word, value) in
        [(0, 0), (0, 5), (0, 0xf), (1, 3), (1, 0x207), (66, 8), (66, 1 << 63), (67, 1), (70, 1), (73, 1)]
    {
        let mut bad = good.clone();
        bad[word] = value;
        assert!(give(&bad, whole) < 0, "word {word} is {value:#x}");
        assert_eq!(image(&world).len(), good.len());
    }
    for size in [0, 8, 15, 16, 100, 16 + 576, whole + 8, 1 << 40] {
        assert!(give(&good, size) < 0, "{size} bytes");
    }
    let mut odd = good.clone();
    odd[5] = u64::MAX;
    assert_eq!((give(&odd, whole), image(&world)[5]), (0, 0xffff_0000_ffff));
    assert!(goes_on(&world));
}

#[test]
fn registers_and_entry_points_are_kept() {
    let world = World::new();
    running(&world);
    let asked = |cmd, count, at| {
        let (result, op) =
            domctl(&world, cmd, ID, &words(&DomctlVcpuMsrs { vcpu: 0, msr_count: count, msrs: at }));
        (result, member::<DomctlVcpuMsrs>(&op.u).msr_count)
    };
    assert_eq!(asked(XEN_DOMCTL_GET_VCPU_MSRS, 0, 0), (0, 7));
    assert_eq!(asked(XEN_DOMCTL_GET_VCPU_MSRS, 7, LIST), (0, 0));
    let aux = DomctlVcpuMsr { index: 0xc000_0103, reserved: 0, value: 5 };
    world.put(LIST, &aux);
    world.put(LIST + 16, &DomctlVcpuMsr { index: 0xc000_0080, ..aux });
    assert_eq!(asked(XEN_DOMCTL_SET_VCPU_MSRS, 2, LIST), (error(Errno::EINVAL), 1));
    world.put(LIST, &DomctlVcpuMsr { reserved: 1, ..aux });
    assert_eq!(asked(XEN_DOMCTL_SET_VCPU_MSRS, 1, LIST), (error(Errno::EINVAL), 0));
    assert_eq!(asked(XEN_DOMCTL_GET_VCPU_MSRS, 0, LIST), (error(Errno::ENOBUFS), 1));
    assert_eq!(asked(XEN_DOMCTL_GET_VCPU_MSRS, 7, LIST), (0, 1));
    assert_eq!(world.get::<DomctlVcpuMsr>(LIST), aux);
    let entries = |cmd, m: &DomctlExtVcpucontext| {
        let (result, op) = domctl(&world, cmd, ID, &words(m));
        (result, member::<DomctlExtVcpucontext>(&op.u))
    };
    let mut m = DomctlExtVcpucontext::new_zeroed();
    (m.size, m.sysenter_callback_eip, m.sysenter_disables_events) = (64, 0x5000, 1);
    assert_eq!(entries(XEN_DOMCTL_SET_EXT_VCPUCONTEXT, &m).0, 0);
    let (result, found) = entries(XEN_DOMCTL_GET_EXT_VCPUCONTEXT, &DomctlExtVcpucontext::new_zeroed());
    assert_eq!((result, found.size, found.sysenter_callback_eip, found.vmce.caps), (0, 64, 0x5000, 2));
    for wrong in [
        DomctlExtVcpucontext { size: 31, ..m },
        DomctlExtVcpucontext { sysenter_callback_eip: 1 << 50, ..m },
        DomctlExtVcpucontext { vmce: xen_abi::domctl::HvmVmceVcpu { caps: 1 << 24, ..m.vmce }, ..m },
    ] {
        assert_eq!(entries(XEN_DOMCTL_SET_EXT_VCPUCONTEXT, &wrong).0, error(Errno::EINVAL));
    }
    assert_eq!(
        entries(XEN_DOMCTL_GET_EXT_VCPUCONTEXT, &DomctlExtVcpucontext { vcpu: 9, ..m }).0,
        error(Errno::ESRCH)
    );
}

#[test]
fn there_is_no_shadow() {
    let world = World::new();
    build(&world);
    let mut m = DomctlShadowOp::read_from_bytes(&[0; 40]).unwrap();
    for (op, mode, wanted) in [
        (0, 0, error(Errno::EINVAL)),
        (1, 0, error(Errno::EINVAL)),
        (2, 0, error(Errno::EOPNOTSUPP)),
        (11, 0, 0),
        (12, 1, 0),
        (12, 2, error(Errno::EINVAL)),
        (30, 0, error(Errno::EINVAL)),
        (32, 0, error(Errno::EINVAL)),
        (32, 4, error(Errno::EOPNOTSUPP)),
    ] {
        (m.op, m.mode) = (op, mode);
        assert_eq!(ask(&world, XEN_DOMCTL_SHADOW_OP, ID, &m), wanted, "{op} {mode}");
    }
}

/// The list of what a call asks of: of 700 frames, so that it is more than one transaction.
fn put_frames(world: &World, frames: &[u64]) -> u64 {
    let few = [frames[0], frames[1], frames[3], frames[6], frames[7], shared_info(world), 1, u64::MAX];
    let all: Vec<u64> = few.into_iter().cycle().take(700).collect();
    put_list(world, LIST, &all);
    700
}

fn check_frames(world: &World) {
    let found = get_list(world, LIST, 700);
    let wanted = [PINNED_L4, 3 << 28, 1 << 28, 0, 0, XTAB, XTAB, XTAB];
    assert!(found.chunks(8).all(|few| *few == wanted[..few.len()]), "{:x?}", &found[..8]);
}

#[test]
fn frames_are_called_what_they_are_used_as() {
    let world = World::new();
    let frames = build(&world);
    let count = put_frames(&world, &frames);
    assert_eq!(ask(&world, XEN_DOMCTL_GETPAGEFRAMEINFO3, ID, &[count, LIST]), 0);
    check_frames(&world);
    for (count, at, wanted) in [
        (1025, LIST, error(Errno::E2BIG)),
        (1 << 32, LIST, error(Errno::E2BIG)),
        (1, NOWHERE, error(Errno::EFAULT)),
        (0, 0, 0),
    ] {
        assert_eq!(ask(&world, XEN_DOMCTL_GETPAGEFRAMEINFO3, ID, &[count, at]), wanted);
    }
}

#[test]
fn a_crash_while_frames_are_looked_at_asks_nothing_twice() {
    let prepare = |world: &mut World| {
        let frames = build(world);
        let count = put_frames(world, &frames);
        let mut u = [0; 16];
        (u[0], u[1]) = (count, LIST);
        put_op(world, XEN_DOMCTL_GETPAGEFRAMEINFO3, ID, u);
    };
    let check = |world: &World, value: i64| {
        assert_eq!(value, 0);
        check_frames(world);
    };
    everywhere(DOMCTL, &[ARGUMENT], prepare, check);
}

#[test]
fn a_crash_while_a_context_is_read_or_given_shows_nowhere() {
    let prepare = |world: &mut World| {
        running(world);
        put_op(world, XEN_DOMCTL_GETVCPUCONTEXT, ID, words(&[0, CONTEXT]));
    };
    let check = |world: &World, value: i64| {
        assert_eq!((value, goes_on(world)), (0, true));
        assert_eq!(world.get::<VcpuGuestContext>(CONTEXT).user_regs.rbx, 77);
    };
    everywhere(DOMCTL, &[ARGUMENT], prepare, check);
    let prepare = |world: &mut World| {
        running(world);
        let mut c = context(world);
        (c.user_regs.rax, c.trap_ctxt[255].address, c.fs_base) = (1, 0x7000, 0x9000);
        world.put(CONTEXT, &*c);
        put_op(world, XEN_DOMCTL_SETVCPUCONTEXT, ID, words(&[0, CONTEXT]));
    };
    let check = |world: &World, value: i64| {
        assert_eq!((value, goes_on(world)), (0, true));
        let c = context(world);
        assert_eq!(
            (c.user_regs.rax, c.user_regs.rbx, c.trap_ctxt[255].address, c.fs_base),
            (1, 77, 0x7000, 0x9000)
        );
        assert_eq!(world.state.extended.word(vcpu(world), 20), 0x1234);
    };
    everywhere(DOMCTL, &[ARGUMENT], prepare, check);
}

#[test]
fn a_crash_while_extended_state_or_registers_are_given_shows_nowhere() {
    let prepare = |world: &mut World| {
        running(world);
        let mut list = image(world);
        (list[0], list[22]) = (3, 0x5678);
        put_list(world, IMAGE, &list);
        put_op(world, XEN_DOMCTL_SETVCPUEXTSTATE, ID, words(&extended(IMAGE, 8 * list.len() as u64)));
    };
    let check = |world: &World, value: i64| {
        assert_eq!((value, goes_on(world)), (0, true));
        let list = image(world);
        assert_eq!((list[0], list[22], list[66]), (3, 0x5678, 3));
    };
    everywhere(DOMCTL, &[ARGUMENT], prepare, check);
    let prepare = |world: &mut World| {
        running(world);
        world.put(LIST, &DomctlVcpuMsr { index: 0xc000_0103, reserved: 0, value: 5 });
        put_op(
            world,
            XEN_DOMCTL_SET_VCPU_MSRS,
            ID,
            words(&DomctlVcpuMsrs { vcpu: 0, msr_count: 1, msrs: LIST }),
        );
    };
    let check = |world: &World, value: i64| {
        assert_eq!(
            (value, goes_on(world), world.get::<Domctl>(ARGUMENT).cmd),
            (0, true, XEN_DOMCTL_SET_VCPU_MSRS)
        );
        assert_eq!(world.state.contexts.context(vcpu(world)).tsc_aux.get(), 5);
    };
    everywhere(DOMCTL, &[ARGUMENT], prepare, check);
}
