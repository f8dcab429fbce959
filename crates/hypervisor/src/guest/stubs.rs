//! Entry and exit code.
//!
//! ```text
//! guest, exception or interrupt   the processor pushes ss rsp rflags cs rip [error] into the vCPU's
//!                                 context (RSP0 is the frame's end), the stub the rest
//! guest, syscall                  the CPU's own stub switches to the context and pushes the same
//! guest, sysenter                 RSP is the address of the frame's end; the stub pushes what a processor would
//! hypervisor                      everything goes on the stack in use; `host_entry` decides
//! iretq to a guest that faults    as from the guest, vector BAD_RETURN
//! NMI, #DF, #MC, #DB              on stacks of their own; from a guest, #DB moves into the context
//! ```
//!
//! A context begins with the stack to go on with; its frame follows (`pv_cpu::Context`).
#![expect(unsafe_code, reason = "entry points in assembly")]

use super::{guarded, swift, swift_fault};
use crate::cells;
use core::arch::global_asm;
use machine::percpu;
use pv_cpu::Context;
use xen_abi::arch::{FLAT_RING3_CS32, FLAT_RING3_SS64};

/// Offset in the per-CPU data of the cell that holds the end of the running vCPU's frame.
pub(crate) const FRAME_CELL: u64 = cells::FRAME;
/// Offset in the per-CPU data of the cell where the syscall stub puts RAX aside.
pub(super) const SCRATCH_CELL: u64 = cells::SCRATCH;

// SAFETY: labels of the code below. Functions are as their calling convention and their comments say; of all else only
// addresses are taken.
unsafe extern "C" {
    /// 256 entry points, 32 bytes apart, by vector.
    pub(crate) static revenant_vectors: u8;
    /// One `syscall` entry point per CPU for 64-bit code, 64 bytes apart.
    pub(crate) static revenant_syscall64: u8;
    /// The same for 32-bit code.
    pub(crate) static revenant_syscall32: u8;
    /// The `sysenter` entry point of all CPUs: RSP is the address of the CPU's [`FRAME_CELL`].
    pub(crate) static revenant_sysenter: u8;
    /// Start and end of all code here.
    static revenant_stubs_start: u8;
    static revenant_stubs_end: u8;
    /// Returns to the guest whose context is in RDI; the stack is abandoned.
    pub(crate) fn revenant_resume(context: *const Context) -> !;
    /// Returns to where the frame behind the first word says, setting `arrived` to 1.
    pub(crate) fn revenant_retake(frame: *const Context, arrived: *mut u32) -> !;
}

/// From the frame that a faulting `iretq` pushes (error code, rip, cs, rflags, rsp, ss: six words, below RSP rounded down
/// to 16) up to the context's word of error code and vector. `iretq` runs with RSP five words below the frame's end.
const BAD_RETURN_ERROR: u64 = {
    let end = Context::FRAME_END as u64;
    let at_iretq = end - 5 * 8;
    let pushed = (at_iretq & !15) - 6 * 8;
    assert!(pushed >= 16, "a push must not leave the registers");
    at_iretq - 8 - pushed
};

/// Bytes between two entry points of a table of `revenant_vectors`.
pub(crate) const VECTOR_STRIDE: u64 = 32;
/// Bytes between two entry points of `revenant_syscall64` and `revenant_syscall32`.
pub(crate) const SYSCALL_STRIDE: u64 = 64;

/// Whether a CPU stopped at `rip` has registers of a guest that are in no memory yet, or no more.
pub(crate) fn holds_registers(rip: u64) -> bool {
    let [start, end] =
        [&raw const revenant_stubs_start, &raw const revenant_stubs_end].map(|p| p.addr() as u64);
    let plain = (start..end).contains(&rip) || swift::contains(rip) || swift_fault::contains(rip);
    plain || guarded::contains(rip)
}

global_asm!(
    super::register_macros!(),
    super::sysenter_macro!(),
    super::vectors_macro!(),
    r#"
    .pushsection .text.stubs, "ax", @progbits
    .balign 32
    .global revenant_vectors, revenant_stubs_start, revenant_stubs_end
    .global revenant_from_guest, revenant_from_host, revenant_own_stack, revenant_to_rust
revenant_stubs_start:
revenant_vectors:
    vector_entries revenant_own_stack, revenant_from_host, revenant_swift_fault, revenant_from_guest

    # RSP is in the context, behind error code and vector.
    .balign 32
revenant_from_guest:
    save_registers
    lea rdi, [rsp - 8]
    mov rsp, [rdi]
    cld
revenant_to_rust:
    xor ebp, ebp
    call {guest_entry}
    mov rdi, rax
    .global revenant_resume
revenant_resume:
    lea rsp, [rdi + 8]
    load_registers
    add rsp, 8
    .global revenant_iret
revenant_iret:
    iretq

    # The iretq to a guest faulted: the guest's registers are all in the processor, and RSP is in the middle of the
    # context, where the processor pushed a frame of its own over general registers. There is no room for more: the
    # frame is given up, and this is an entry from the guest whose selectors are bad.
revenant_bad_return:
    xchg rax, [rsp]                 # the error code comes, the guest's RAX goes
    mov [rsp + {error}], eax
    mov dword ptr [rsp + {error} + 4], {bad_return}
    mov rax, [rsp]
    add rsp, {error}
    jmp revenant_from_guest

    # An exception or interrupt of the hypervisor itself, on the stack in use.
    .balign 32
revenant_from_host:
    push rax
    lea rax, [rip + revenant_iret]
    cmp [rsp + 16], rax
    pop rax
    je revenant_bad_return
    save_registers
    mov rdi, rsp
    cld
    mov rbp, rsp
    and rsp, -16
    call {host_entry}
    mov rsp, rbp
    test rax, rax
    jnz revenant_moved
    load_registers
    add rsp, 8
    iretq

    # NMI, #DF, #MC, #DB. The answer is a context to go on with as from a guest, or none.
    .balign 32
revenant_own_stack:
    save_registers
    mov rdi, rsp
    cld
    mov rbp, rsp
    and rsp, -16
    call {own_stack_entry}
    mov rsp, rbp
    test rax, rax
    jnz revenant_moved
    load_registers
    add rsp, 8
    test byte ptr [rsp + 8], 3
    jnz revenant_guarded_return
    iretq

    # RAX: a context whose frame is complete.
revenant_moved:
    mov rdi, rax
    mov rsp, [rdi]
    jmp revenant_to_rust

    .balign 64
    .macro syscall_stub name, selector
    .global \name
\name:
    .set cpu, 0
    .rept {max_cpus}
    .balign 64
    movabs [{percpu} + cpu * {stride} + {scratch}], rax
    mov rax, rsp
    movabs rsp, {percpu} + cpu * {stride} + {frame}
    mov rsp, [rsp]
    push {user_ss}
    push rax
    push r11
    push \selector
    push rcx
    movabs rax, [{percpu} + cpu * {stride} + {scratch}]
    jmp revenant_syscall
    .set cpu, cpu + 1
    .endr
    .endm

    syscall_stub revenant_syscall32, {user_cs32}

    # The same for 64-bit code, ready for `swift`: RAX is the frame's end, RSP the end of this CPU's stack.
    .balign 64
    .global revenant_syscall64
revenant_syscall64:
    .set cpu, 0
    .rept {max_cpus}
    .balign 64
    movabs [{percpu} + cpu * {stride} + {scratch}], rax
    movabs rax, [{percpu} + cpu * {stride} + {frame}]
    mov [rax - 16], rsp
    mov rsp, [rax + {stack}]
    mov [rax - 40], rcx
    mov [rax - 24], r11
    jmp revenant_swift
    .set cpu, cpu + 1
    .endr

    .balign 32
    .global revenant_syscall
revenant_syscall:
    push rax                        # the low half: the number
    mov dword ptr [rsp + 4], 256
    jmp revenant_from_guest

    .balign 64
    .global revenant_sysenter
revenant_sysenter:
    mov rsp, [rsp]
    sysenter_frame
    jmp revenant_from_guest

    # As revenant_resume without guards, to where an NMI hit the code here: RSI is the word to set once an NMI does no harm.
    .global revenant_retake
revenant_retake:
    mov dword ptr [rsi], 1
    lea rsp, [rdi + 8]
    load_registers
    add rsp, 8
    iretq
revenant_stubs_end:
    .popsection
    .purgem save_registers
    .purgem load_registers
    .purgem sysenter_frame
    .purgem vector_entries
"#,
    guest_entry = sym super::run::guest_entry,
    host_entry = sym super::host::host_entry,
    own_stack_entry = sym super::host::own_stack_entry,
    error = const BAD_RETURN_ERROR,
    user_cs32 = const FLAT_RING3_CS32,
    user_ss = const FLAT_RING3_SS64,
    bad_return = const pv_cpu::vector::BAD_RETURN,
    sysenter = const pv_cpu::vector::SYSENTER,
    max_cpus = const percpu::MAX_CPUS,
    percpu = const machine::layout::PER_CPU,
    stride = const percpu::STRIDE,
    frame = const FRAME_CELL,
    scratch = const SCRATCH_CELL,
    // Its first word is the stack.
    stack = const -(Context::FRAME_END as i64),
);
