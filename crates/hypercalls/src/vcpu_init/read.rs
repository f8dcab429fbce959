//! The state of a vCPU whose registers no CPU holds, as a `vcpu_guest_context`.

use super::layout::{FPU_WORDS, HEAD_AT, Head, TAIL_AT, TRAPS_AT, Tail};
use crate::call::{Call, fault};
use domains::VcpuState;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Mfn, VcpuSlot};
use pv_cpu::{Context, FRESH, Mode, Reg};
use vault::{Apply, Durable};
use xen_abi::Errno;
use xen_abi::arch::{
    CpuUserRegs, TrapInfo, VGCF_FAILSAFE_DISABLES_EVENTS, VGCF_I387_VALID, VGCF_IN_KERNEL, VGCF_ONLINE,
    VGCF_SYSCALL_DISABLES_EVENTS,
};
use xen_abi::callback::{CALLBACKTYPE_EVENT, CALLBACKTYPE_FAILSAFE, CALLBACKTYPE_SYSCALL};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// Bits of CR0 that a guest has besides TS: PE, MP, ET, NE, WP, AM, PG.
const CR0_SHOWN: u64 = 0x8005_0033;
const CR0_TS: u64 = 1 << 3;
/// Bits of CR4 that Xen shows whatever a guest wrote: PAE, MCE, OSFXSR, OSXMMEXCPT.
const CR4_SHOWN: u64 = 1 << 5 | 1 << 6 | 1 << 9 | 1 << 10;
/// Trap table entries written at once.
const TRAPS_AT_ONCE: usize = 32;

/// Writes the state of a vCPU to `at`.
///
/// # Errors
/// `EFAULT`.
pub(crate) fn read<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    domain: DomainSlot,
    vcpu: VcpuSlot,
    at: Gva,
) -> Result<(), Errno> {
    let (context, areas) = (call.state.contexts.context(vcpu), &call.state.extended);
    let has_fpu = context.fpu_saved.get() != FRESH && areas.is_saved(vcpu);
    if !has_fpu {
        areas.forget(vcpu);
        areas.settle(vcpu);
    }
    let fpu: [u64; FPU_WORDS] = core::array::from_fn(|index| areas.word(vcpu, index));
    put(call, at, 0, &fpu)?;
    put(call, at, HEAD_AT, &Head { flags: flags(call, vcpu, context, has_fpu), regs: registers(context) })?;
    for (index, traps) in context.traps.chunks(TRAPS_AT_ONCE).enumerate() {
        let mut records = [TrapInfo::new_zeroed(); TRAPS_AT_ONCE];
        for ((record, trap), vector) in records.iter_mut().zip(traps).zip(index * TRAPS_AT_ONCE..) {
            record.vector = if trap.address.get() == Gva(0) { 0 } else { vector as u8 };
            record.flags = trap.flags.get();
            record.cs = trap.cs.get();
            record.address = trap.address.get().0;
        }
        put(call, at, TRAPS_AT + (index * size_of_val(&records)) as u64, &records)?;
    }
    let assists = call.state.domains.domain(domain).assists.get();
    put(call, at, TAIL_AT, &tail(context, assists))
}

fn put<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    context: Gva,
    offset: u64,
    value: &(impl IntoBytes + Immutable),
) -> Result<(), Errno> {
    let at = context.0.checked_add(offset).map(Gva).ok_or(Errno::EFAULT)?;
    call.memory.copy_out(at, value.as_bytes()).map_err(fault)
}

fn flags<M, A>(call: &Call<'_, M, A>, vcpu: VcpuSlot, context: &Context, has_fpu: bool) -> u64 {
    let masks = |kind: u16| context.callbacks[usize::from(kind)].mask.get();
    [
        (has_fpu, VGCF_I387_VALID),
        (context.mode() == Mode::Kernel, VGCF_IN_KERNEL),
        (masks(CALLBACKTYPE_FAILSAFE), VGCF_FAILSAFE_DISABLES_EVENTS),
        (masks(CALLBACKTYPE_SYSCALL), VGCF_SYSCALL_DISABLES_EVENTS),
        (call.state.domains.vcpu(vcpu).state() != VcpuState::Down, VGCF_ONLINE),
    ]
    .into_iter()
    .fold(0, |flags, (set, flag)| if set { flags | flag } else { flags })
}

fn registers(context: &Context) -> CpuUserRegs {
    let r = |register| context.registers.get(register);
    let [ds, es, fs, gs] = context.selectors.each_ref().map(|word| word.get());
    CpuUserRegs {
        r15: r(Reg::R15),
        r14: r(Reg::R14),
        r13: r(Reg::R13),
        r12: r(Reg::R12),
        rbp: r(Reg::Rbp),
        rbx: r(Reg::Rbx),
        r11: r(Reg::R11),
        r10: r(Reg::R10),
        r9: r(Reg::R9),
        r8: r(Reg::R8),
        rax: r(Reg::Rax),
        rcx: r(Reg::Rcx),
        rdx: r(Reg::Rdx),
        rsi: r(Reg::Rsi),
        rdi: r(Reg::Rdi),
        rip: r(Reg::Rip),
        cs: r(Reg::Cs) as u16,
        rflags: r(Reg::Rflags) | u64::from(context.iopl.get()) << 12,
        rsp: r(Reg::Rsp),
        ss: r(Reg::Ss) as u16,
        ds,
        es,
        fs,
        gs,
        ..CpuUserRegs::new_zeroed()
    }
}

fn tail(context: &Context, assists: u64) -> Tail {
    let cr3 = |word: &Durable<Mfn>| word.get().0 << 12;
    let callback = |kind: u16| context.callbacks[usize::from(kind)].address.get().0;
    let ts = if context.task_switched.get() { CR0_TS } else { 0 };
    let mut gdt_frames = [0; 16];
    for (word, mfn) in gdt_frames.iter_mut().zip(&context.gdt) {
        *word = mfn.get().0;
    }
    let mut control = [0; 8];
    control[0] = CR0_SHOWN | ts;
    control[1] = cr3(&context.root_user);
    control[2] = context.fault_address.get();
    control[3] = cr3(&context.root_kernel);
    control[4] = CR4_SHOWN | context.cr4.get();
    Tail {
        ldt_base: context.ldt_base.get().0,
        ldt_entries: context.ldt_entries.get().into(),
        gdt_frames,
        gdt_entries: context.gdt_entries.get().into(),
        kernel_ss: context.kernel_ss.get(),
        kernel_sp: context.kernel_sp.get(),
        control,
        debug: context.debug.each_ref().map(|word| word.get()),
        event: callback(CALLBACKTYPE_EVENT),
        failsafe: callback(CALLBACKTYPE_FAILSAFE),
        syscall: callback(CALLBACKTYPE_SYSCALL),
        assists,
        fs_base: context.fs_base.get(),
        gs_base_kernel: context.gs_base[Mode::Kernel as usize].get(),
        gs_base_user: context.gs_base[Mode::User as usize].get(),
    }
}
