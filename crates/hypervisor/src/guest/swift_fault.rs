//! Page faults of user programs, without leaving assembly.
//!
//! Whatever a program's page fault is about, its kernel gets it. As with system calls ([`swift`](super::swift)), what is
//! usual is done here, with the same rules and the same effect as the long way has (`pv_cpu::bounce`); all else is left
//! to that. Usual means: events of the vCPU not masked in user mode, a handler that masks them, no look around
//! wanted, SMAP.
//!
//! The processor has pushed its frame into the vCPU's context. RAX is the end of that frame, RCX and R11 are free:
//! the three are in their places in the context, and the kernel gets the last two on its stack. RSP is the end of this
//! CPU's stack, for an access to the kernel's stack may fault in turn.
#![expect(unsafe_code, reason = "an entry point in assembly")]

use super::access;
use super::swift::{GUEST_KERNEL, LOOK, field, register, within};
use core::arch::global_asm;
use machine::layout;
use pv_cpu::{Reg, offsets, vector};

// SAFETY: labels of the code below; only their addresses are taken.
unsafe extern "C" {
    static revenant_swift_fault_start: u8;
    static revenant_swift_fault_end: u8;
    static revenant_fault_push_start: u8;
    static revenant_fault_push_end: u8;
    static revenant_fault_push_fault: u8;
    static revenant_fault_leave: u8;
}

/// The handler of page faults.
const TRAP: usize = offsets::trap(vector::PAGE_FAULT as usize);

global_asm!(
    super::to_kernel_macros!(),
    r#"
    .pushsection .text.swift, "ax", @progbits
    .balign 64
    .global revenant_swift_fault, revenant_swift_fault_start, revenant_swift_fault_end
    .global revenant_fault_push_start, revenant_fault_push_end, revenant_fault_push_fault, revenant_fault_leave
revenant_swift_fault_start:
revenant_swift_fault:
    mov [rsp + {above} + {rax}], rax
    mov [rsp + {above} + {rcx}], rcx
    mov [rsp + {above} + {r11}], r11
    lea rax, [rsp + {above}]
    mov rsp, [rax + {stack}]
    cmp dword ptr [rax + {modes}], {user}
    jne revenant_fault_not_usual
    cmp byte ptr [rip + {swift}], 0
    je revenant_fault_not_usual
    mov r11, [rsp + {look}]
    cmp dword ptr [r11], 0
    jne revenant_fault_not_usual
    test byte ptr [rax + {trap_flags}], {masks}
    jz revenant_fault_not_usual
    cmp qword ptr [rax + {trap}], 0
    je revenant_fault_not_usual
    movabs rcx, {direct}
    add rcx, [rax + {info}]
    cmp byte ptr [rcx + 1], 0
    jne revenant_fault_not_usual
    mov r11, cr2
    mov [rcx + {info_cr2}], r11
    to_kernel_stack 64, revenant_fault_not_usual
revenant_fault_push_start:
    mov r11, [rax + {rcx}]
    mov [rcx - 64], r11
    mov r11, [rax + {r11}]
    mov [rcx - 56], r11
    mov r11d, [rax + {error}]
    or r11d, {user_error}
    mov [rcx - 48], r11
    mov r11, [rax + {rip}]
    mov [rcx - 40], r11
    movzx r11d, word ptr [rax + {cs}]
    mov [rcx - 32], r11
    mov r11, [rax + {rsp}]
    mov [rcx - 16], r11
    mov r11, [rax + {ss}]
    mov [rcx - 8], r11
    mov r11, [rax + {rflags}]
    mov [rcx - 24], r11
revenant_fault_push_end:
    mov dword ptr [rax + {error} + 4], {none}
    to_kernel_mode 64
    mov rcx, [rax + {trap}]
    .global revenant_fault_leaves
revenant_fault_leaves:
    mov rax, [rax + {rax}]
revenant_fault_leave:
    sysretq

    # The kernel's stack is not there: the long way says so. The address of the fault that this is about, which
    # the processor has overwritten, is where the guest finds it.
revenant_fault_push_fault:
    clac
    from_kernel_stack
    movabs rcx, {direct}
    add rcx, [rax + {info}]
    mov r11, [rcx + {info_cr2}]
    mov cr2, r11
revenant_fault_not_usual:
    lea rsp, [rax - {above}]
    mov rcx, [rax + {rcx}]
    mov r11, [rax + {r11}]
    mov rax, [rax + {rax}]
    jmp revenant_from_guest
revenant_swift_fault_end:
    .popsection
    .purgem to_kernel_stack
    .purgem to_kernel_mode
    .purgem from_kernel_stack
"#,
    // Error code, rip, cs, rflags, rsp, ss.
    above = const 6 * 8,
    stack = const field(0),
    look = const LOOK,
    swift = sym access::SWIFT,
    direct = const layout::DIRECT_MAP,
    rax = const register(Reg::Rax),
    rcx = const register(Reg::Rcx),
    r11 = const register(Reg::R11),
    error = const field(offsets::ERROR_CODE),
    rip = const register(Reg::Rip),
    cs = const register(Reg::Cs),
    rflags = const register(Reg::Rflags),
    rsp = const register(Reg::Rsp),
    ss = const register(Reg::Ss),
    modes = const field(offsets::MODES),
    user = const offsets::MODES_USER,
    kernel = const offsets::MODES_KERNEL,
    info = const field(offsets::INFO),
    info_cr2 = const system::INFO_CR2,
    trap = const field(TRAP),
    trap_flags = const field(TRAP + offsets::TRAP_FLAGS),
    masks = const pv_cpu::TRAP_MASKS,
    kernel_sp = const field(offsets::KERNEL_SP),
    root_kernel = const field(offsets::ROOT_KERNEL),
    root_user = const field(offsets::ROOT_USER),
    guest_kernel = const GUEST_KERNEL,
    user_error = const system::USER_ERROR,
    handler_flags = const pv_cpu::HANDLER_FLAGS,
    none = const vector::NONE,
);

/// As `swift::is_leaving`.
pub(super) fn is_leaving(rip: u64) -> bool {
    rip == (&raw const revenant_fault_leave).addr() as u64
}

/// Whether `rip` is in the code here.
pub(super) fn contains(rip: u64) -> bool {
    within(rip, &raw const revenant_swift_fault_start, &raw const revenant_swift_fault_end)
}

/// Where to go on when an access to the guest's stack faults at `rip`: the long way.
pub(super) fn fixup(rip: u64) -> Option<u64> {
    let pushes = within(rip, &raw const revenant_fault_push_start, &raw const revenant_fault_push_end);
    pushes.then(|| (&raw const revenant_fault_push_fault).addr() as u64)
}
