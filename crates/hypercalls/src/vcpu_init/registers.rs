//! Registers of a context become a vCPU's.

use super::EFLAGS_IOPL;
use super::layout::Tail;
use cpu_policy::descriptor::fix_selector;
use pv_cpu::{Context, Mode, Reg, vector};
use xen_abi::arch::CpuUserRegs;

const EFLAGS_FIXED: u64 = 1 << 1;
const EFLAGS_IF: u64 = 1 << 9;
const EFLAGS_VM: u64 = 1 << 17;

/// The registers are the guest's own and nobody runs with them yet: they are set in place, again by a
/// repetition.
pub(super) fn set(context: &Context, regs: &CpuUserRegs, tail: &Tail) {
    let r = &context.registers;
    for (register, value) in [
        (Reg::R15, regs.r15),
        (Reg::R14, regs.r14),
        (Reg::R13, regs.r13),
        (Reg::R12, regs.r12),
        (Reg::Rbp, regs.rbp),
        (Reg::Rbx, regs.rbx),
        (Reg::R11, regs.r11),
        (Reg::R10, regs.r10),
        (Reg::R9, regs.r9),
        (Reg::R8, regs.r8),
        (Reg::Rax, regs.rax),
        (Reg::Rcx, regs.rcx),
        (Reg::Rdx, regs.rdx),
        (Reg::Rsi, regs.rsi),
        (Reg::Rdi, regs.rdi),
        (Reg::Rip, regs.rip),
        (Reg::Cs, fix_selector(regs.cs).into()),
        (Reg::Rflags, regs.rflags & !(EFLAGS_IOPL | EFLAGS_VM) | EFLAGS_IF | EFLAGS_FIXED),
        (Reg::Rsp, regs.rsp),
        (Reg::Ss, fix_selector(regs.ss).into()),
    ] {
        r.set(register, value);
    }
    r.error_code.set(0);
    r.vector.set(vector::NONE);
    for (word, selector) in context.selectors.iter().zip([regs.ds, regs.es, regs.fs, regs.gs]) {
        word.set(selector);
    }
    context.fs_base.set(tail.fs_base);
    context.gs_base[Mode::User as usize].set(tail.gs_base_user);
    context.gs_base[Mode::Kernel as usize].set(tail.gs_base_kernel);
}
