use crate::world::{World, error};
use domains::VcpuState;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Mfn, VcpuSlot};
use pv_cpu::{Mode, Reg};
use xen_abi::Errno;
use xen_abi::arch::{TrapInfo, VGCF_IN_KERNEL, VGCF_ONLINE, VGCF_SYSCALL_DISABLES_EVENTS, VcpuGuestContext};
use xen_abi::hypercall::VCPU_OP;
use xen_abi::vcpu::{VCPUOP_INITIALISE, VCPUOP_UP};
use zerocopy::FromZeros;

struct Frames {
    root: Mfn,
    user: Mfn,
    gdt: Mfn,
}

fn frames(w: &mut World) -> Frames {
    let mut next = || w.frame(DomainSlot(0));
    Frames { root: next(), user: next(), gdt: next() }
}

/// What Linux gives a secondary vCPU, more or less.
fn linux(f: &Frames) -> Box<VcpuGuestContext> {
    let mut c = Box::new(VcpuGuestContext::new_zeroed());
    c.flags = VGCF_IN_KERNEL | VGCF_SYSCALL_DISABLES_EVENTS;
    c.user_regs.rip = 0xffff_ffff_8100_0000;
    c.user_regs.rsp = 0xffff_8880_0000_4000;
    c.user_regs.rdi = 77;
    (c.user_regs.cs, c.user_regs.ss, c.user_regs.ds) = (0x10, 0x18, 0x2b);
    c.user_regs.rflags = 1 << 12;
    c.trap_ctxt[14] =
        TrapInfo { vector: 14, flags: 4, cs: 0x10, _pad0: [0; 4], address: 0xffff_ffff_8100_0e00 };
    c.trap_ctxt[255].address = 0x1000;
    (c.gdt_frames[0], c.gdt_ents) = (f.gdt.0, 16);
    (c.kernel_ss, c.kernel_sp) = (0x18, 0xffff_8880_0000_4000);
    c.ctrlreg[3] = f.root.0 << 12;
    c.ctrlreg[1] = f.user.0 << 12;
    c.ctrlreg[4] = 1 << 5 | 1 << 18;
    c.debugreg[0] = 0xffff_8300_0000_0000;
    c.event_callback_eip = 0xffff_ffff_8100_1000;
    c.failsafe_callback_eip = 0xffff_ffff_8100_2000;
    c.syscall_callback_eip = 0xffff_ffff_8100_3000;
    c.gs_base_kernel = 0xffff_8880_0010_0000;
    c
}

fn initialise(w: &mut World, context: &VcpuGuestContext) -> i64 {
    let at = w.argument(context);
    w.value(VCPU_OP, &[VCPUOP_INITIALISE.into(), 1, at])
}

#[test]
fn a_secondary_vcpu() {
    let mut w = World::new();
    let f = frames(&mut w);
    // Privilege 0, as Linux has it; and a refused attempt before.
    w.memory.store64(ids::Maddr(f.gdt.maddr().0 + 16), 0x00af_9b00_0000_ffff);
    let mut bad = linux(&f);
    bad.ctrlreg[1] = 1 << 12;
    assert_eq!(initialise(&mut w, &bad), error(Errno::EINVAL));
    assert_eq!([f.root, f.user, f.gdt].map(|mfn| w.references(mfn)), [(1, 0); 3], "given back");
    assert_eq!(w.value(VCPU_OP, &[VCPUOP_UP.into(), 1]), error(Errno::EINVAL));

    assert_eq!(initialise(&mut w, &linux(&f)), 0);
    assert_eq!([f.root, f.user, f.gdt].map(|mfn| w.references(mfn)), [(1, 1); 3]);
    assert_eq!(w.memory.load64(ids::Maddr(f.gdt.maddr().0 + 16)), 0x00af_fb00_0000_ffff);
    let context = w.state.contexts.context(VcpuSlot(1));
    let reg = |register| context.registers.get(register);
    assert_eq!(reg(Reg::Rip), 0xffff_ffff_8100_0000);
    assert_eq!([reg(Reg::Rdi), reg(Reg::Cs), reg(Reg::Ss), reg(Reg::Rflags)], [77, 0x13, 0x1b, 0x202]);
    assert_eq!(context.mode(), Mode::Kernel);
    assert_eq!((context.iopl.get(), context.cr4.get(), context.gdt_entries.get()), (1, 0, 16));
    assert_eq!((context.root_kernel.get(), context.root_user.get()), (f.root, f.user));
    assert_eq!((context.kernel_ss.get(), context.kernel_sp.get()), (0x1b, 0xffff_8880_0000_4000));
    assert_eq!(context.gs_base[1].get(), 0xffff_8880_0010_0000);
    assert_eq!(context.selectors[0].get(), 0x2b);
    assert_eq!(
        (context.traps[14].address.get(), context.traps[14].flags.get()),
        (Gva(0xffff_ffff_8100_0e00), 4)
    );
    assert_eq!(context.traps[255].address.get(), Gva(0x1000));
    let callbacks =
        [0, 1, 2].map(|kind| (context.callbacks[kind].address.get().0, context.callbacks[kind].mask.get()));
    let expected = [0x1000, 0x2000, 0x3000].map(|offset| 0xffff_ffff_8100_0000 + offset);
    assert_eq!(callbacks, [(expected[0], false), (expected[1], false), (expected[2], true)]);
    assert_eq!([0, 6, 7].map(|number| context.debug[number].get()), [0, 0xffff_0ff0, 0x400]);

    assert_eq!(w.vcpu_state(1), VcpuState::Down);
    assert_eq!(initialise(&mut w, &linux(&f)), error(Errno::EEXIST));
    assert_eq!(w.value(VCPU_OP, &[VCPUOP_UP.into(), 1]), 0);
    assert_eq!((w.vcpu_state(1), &w.kicked[..]), (VcpuState::Runnable, &[1][..]));
}

#[test]
fn online_at_once_and_in_user_mode() {
    let mut w = World::new();
    let f = frames(&mut w);
    let mut c = linux(&f);
    c.flags = VGCF_ONLINE;
    assert_eq!(initialise(&mut w, &c), 0);
    assert_eq!((w.vcpu_state(1), &w.kicked[..]), (VcpuState::Runnable, &[1][..]));
    assert_eq!(w.state.contexts.context(VcpuSlot(1)).mode(), Mode::User);
}

#[test]
fn what_cannot_be() {
    let mut w = World::new();
    let f = frames(&mut w);
    let foreign = w.frame(DomainSlot(1));
    type Change = fn(&mut VcpuGuestContext, Mfn);
    const BAD: u64 = 1 << 47;
    let changes: [Change; 16] = [
        |c, _| c.user_regs.rip = BAD,
        |c, _| c.user_regs.rsp = BAD,
        |c, _| c.kernel_sp = BAD,
        |c, _| c.fs_base = BAD,
        |c, _| c.gs_base_kernel = BAD,
        |c, _| c.event_callback_eip = BAD,
        |c, _| c.trap_ctxt[200].address = BAD,
        |c, _| (c.ldt_base, c.ldt_ents) = (0x1008, 1),
        |c, _| (c.ldt_base, c.ldt_ents) = (0x1000, 8193),
        |c, _| (c.ldt_base, c.ldt_ents) = (0x1000, 1),
        |c, _| c.gdt_ents = 7169,
        |c, foreign| c.gdt_frames[0] = foreign.0,
        |c, _| c.ctrlreg[3] = 0,
        |c, foreign| c.ctrlreg[3] = foreign.0 << 12,
        |c, _| c.ctrlreg[3] = u64::MAX,
        |c, _| (c.flags, c.ctrlreg[1]) = (0, 0),
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut c = linux(&f);
        change(&mut c, foreign);
        assert_eq!(initialise(&mut w, &c), error(Errno::EINVAL), "{index}");
        assert_eq!([f.root, f.user, f.gdt].map(|mfn| w.references(mfn)), [(1, 0); 3], "{index}");
    }
    let nowhere = w.value(VCPU_OP, &[VCPUOP_INITIALISE.into(), 1, 1 << 40]);
    assert_eq!(nowhere, error(Errno::EFAULT));
    assert_eq!(w.value(VCPU_OP, &[VCPUOP_INITIALISE.into(), 0, 0x1000]), error(Errno::EEXIST));
    assert!(!w.state.domains.vcpu(VcpuSlot(1)).initialised.get());
    assert_eq!(initialise(&mut w, &linux(&f)), 0, "nothing stands in the way");
}
