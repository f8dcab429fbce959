//! Entry and exit code for guests that the hypervisor guards against speculation: it changes page tables and clears
//! what the guest may have left in predictors and buffers. It stands in pages of its own, all that is mapped of the
//! image while an isolated guest runs (`machine::isolation`).
//!
//! ```text
//! guest, exception or interrupt   RSP0 is the end of the CPU's entry page; CR3, then the frame moves into the context
//! guest, syscall                  the CPU's own stub loads CR3 before it touches the context
//! guest, sysenter                 RSP is the end of the CPU's entry page: as an exception
//! to the guest                    the context's last words move to the entry page; CR3; iretq
//! NMI, #DF, #MC, #DB              from a guest or from here CR3 is loaded; back to the guest likewise
//! ```
//!
//! From there on the plain stubs do the rest; at a few places boot turns them here (`guarded::install`). An entry may
//! find either root in CR3, for loading the same again does no harm: so an NMI in the middle of entry code comes back
//! with the hypervisor's. In exit code behind the load it goes back to before it (`guarded::rewind`).
#![expect(unsafe_code, reason = "entry points in assembly")]

use super::stubs;
use super::swift::{cell, register};
use crate::cells;
use core::arch::global_asm;
use machine::percpu;
use pv_cpu::{Context, Reg};
use xen_abi::arch::{FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_SS64};

/// From the end of the entry page's stack to a cell, once `depth` bytes are on it.
const fn entry(cell: u64, depth: i64) -> i64 {
    cell as i64 - percpu::ENTRY_TOP as i64 + depth
}

global_asm!(
    super::register_macros!(),
    super::sysenter_macro!(),
    super::vectors_macro!(),
    r#"
    .pushsection .text.guarded, "ax", @progbits
    .balign 64
    .global revenant_guarded_vectors
revenant_guarded_vectors:
    vector_entries revenant_guarded_own_stack, revenant_guarded_from_host, revenant_guarded_fault, revenant_guarded_from_guest

    # RSP is in the entry page, behind error code and vector.
    .macro guarded_entry name, to
    .balign 32
\name:
    push rax
    mov rax, [rsp + {host_root}]
    test rax, rax
    jz 2f
    mov cr3, rax
2:  mov rax, [rsp + {frame}]
    pop qword ptr [rax + {rax}]
    pop qword ptr [rax - 48]
    pop qword ptr [rax - 40]
    pop qword ptr [rax - 32]
    pop qword ptr [rax - 24]
    pop qword ptr [rax - 16]
    pop qword ptr [rax - 8]
    lea rsp, [rax - 48]
    mov rax, [rax + {rax}]
    jmp \to
    .endm

    guarded_entry revenant_guarded_from_guest, revenant_from_guest
    guarded_entry revenant_guarded_fault, revenant_swift_fault

    # In place of `revenant_from_guest`: what the guest left behind is cleared before anything that it may steer.
    .balign 32
    .global revenant_guarded_save
revenant_guarded_save:
    save_registers
    lea rdi, [rsp - 8]
    mov rsp, [rdi]
    cld
    test dword ptr [rsp + {guards}], {at_entry}
    jz 2f
    call revenant_guarded_clear
2:  jmp revenant_to_rust

    # Of the hypervisor's own faults only that of the return to the guest comes here with the guest's tables. Its frame
    # stands below that of the return, and the guest's registers are all in the processor: an entry from the guest
    # whose selectors are bad.
    .balign 32
revenant_guarded_from_host:
    push rax
    lea rax, [rip + revenant_guarded_iret]
    cmp [rsp + 16], rax
    je 2f
    pop rax
    jmp revenant_from_host
2:  mov eax, [rsp + 8]
    mov [rsp + 56], eax
    mov dword ptr [rsp + 60], {bad_return}
    pop rax
    lea rsp, [rsp + 48]
    jmp revenant_guarded_from_guest

    # On a stack of its own. Which tables are in use is known from where it was.
    .balign 32
revenant_guarded_own_stack:
    push rax
    test byte ptr [rsp + 24], 3
    jnz 2f
    lea rax, [rip + revenant_guarded_start]
    cmp [rsp + 16], rax
    jb 3f
    lea rax, [rip + revenant_guarded_end]
    cmp [rsp + 16], rax
    jae 3f
2:  mov rax, rsp
    and rax, -{stride}
    mov rax, [rax + {host_root_cell}]
    test rax, rax
    jz 4f
    mov cr3, rax
4:  mov rax, rsp
    and rax, -{stride}
    test dword ptr [rax + {guards_cell}], {at_entry}
    jz 3f
    call revenant_guarded_clear
3:  pop rax
    jmp revenant_own_stack

    # Back to the guest from a stack of its own: RSP is at the frame.
    .balign 32
    .global revenant_guarded_return
revenant_guarded_return:
    push rax
    mov rax, rsp
    and rax, -{stride}
    mov rax, [rax + {guest_root_cell}]
    test rax, rax
    jz 2f
    mov cr3, rax
2:  pop rax
    iretq

    .balign 64
    .macro guarded_syscall_stub name, to
    .global \name
\name:
    .set cpu, 0
    .rept {max_cpus}
    .balign 64
    movabs [{percpu} + cpu * {stride} + {scratch_cell}], rax
    movabs rax, [{percpu} + cpu * {stride} + {host_root_cell}]
    test rax, rax
    jz 2f
    mov cr3, rax
2:  movabs rax, [{percpu} + cpu * {stride} + {frame_cell}]
    jmp \to
    .set cpu, cpu + 1
    .endr
    .endm

    guarded_syscall_stub revenant_guarded_syscall64, revenant_guarded_call64
    guarded_syscall_stub revenant_guarded_syscall32, revenant_guarded_call32

    .balign 64
    .global revenant_guarded_sysenter
revenant_guarded_sysenter:
    sysenter_frame
    jmp revenant_guarded_from_guest

    # RAX is the end of the frame.
    .balign 32
revenant_guarded_call64:
    mov [rax - 16], rsp
    mov rsp, [rax + {stack}]
    mov [rax - 40], rcx
    mov [rax - 24], r11
    jmp revenant_swift
    .balign 32
revenant_guarded_call32:
    mov [rax - 16], rsp
    mov rsp, [rax + {stack}]
    mov [rax - 40], rcx
    mov [rax - 24], r11
    mov qword ptr [rax - 8], {user_ss}
    mov qword ptr [rax - 32], {user_cs32}
    push qword ptr [rsp + {scratch}]
    pop qword ptr [rax + {rax}]
    lea rsp, [rax - 40]
    mov rax, [rax + {rax}]
    jmp revenant_syscall

    # In place of the last instructions of `swift` and `swift_fault`. RAX is the end of the frame; what `sysret` takes
    # goes there.
    # This is not with the rest: the page tables in use are new, and no cell says so yet.
    .pushsection .text.swift, "ax", @progbits
    .balign 32
    .global revenant_guarded_sysret, revenant_guarded_leave_swiftly
    .global revenant_guarded_swift_start, revenant_guarded_swift_end
revenant_guarded_swift_start:
revenant_guarded_sysret:
    mov [rax - 40], rcx
    mov qword ptr [rax - 32], {user_cs}
    mov [rax - 24], r11
    mov [rax - 16], rsp
    mov qword ptr [rax - 8], {user_ss}
revenant_guarded_leave_swiftly:
    mov [rax + {rcx}], rcx
    mov [rax + {r11}], r11
    mov rcx, [rax + {stack}]
    cmp qword ptr [rcx + {host_root_of}], 0
    je 4f
    mov r11, cr3
    mov [rcx + {host_root_of}], r11
    cmp r11, [rcx + {copied}]
    jne 2f
    mov r11, [rcx + {roots}]
    jmp 3f
2:  cmp r11, [rcx + {copied} + 8]
    jne 5f
    mov r11, [rcx + {roots} + 8]
3:  mov [rcx + {guest_root_of}], r11
4:  mov rcx, [rax + {rcx}]
    mov r11, [rax + {r11}]
    lea rsp, [rax - 40]
    jmp revenant_guarded_out
5:  mov rcx, [rax + {rcx}]
    mov r11, [rax + {r11}]
    lea rsp, [rax - 48]
    mov rax, [rax + {rax}]
    save_registers
    lea rdi, [rsp - 8]
    jmp revenant_guarded_resume
revenant_guarded_swift_end:
    .popsection

    # RDI is the context to leave with; the stack is abandoned.
    .balign 32
    .global revenant_guarded_resume
revenant_guarded_resume:
    mov rax, [rdi]
    mov rcx, [rax + {host_root_of}]
    xor edx, edx
    test rcx, rcx
    jz 3f
    mov rdx, [rax + {roots}]
    cmp rcx, [rax + {copied}]
    je 3f
    mov rdx, [rax + {roots} + 8]
    cmp rcx, [rax + {copied} + 8]
    je 3f
    mov rsp, rax
    push rdi
    push rdi
    xor ebp, ebp
    call {copy}
    pop rdi
    pop rdi
    jmp revenant_guarded_resume
3:  mov [rax + {guest_root_of}], rdx
    test dword ptr [rax + {guards}], {exit_guards}
    jz 4f
    mov rsp, rax
    call revenant_guarded_leave
4:  lea rsp, [rdi + 8]
    load_registers
    add rsp, 8
    # RSP is at the five words in the context, where RAX is as well; the others are loaded.
revenant_guarded_out:
    mov rax, [rsp - {stack_of_rip}]
    pop qword ptr [rax + {top} - 40]
    pop qword ptr [rax + {top} - 32]
    pop qword ptr [rax + {top} - 24]
    pop qword ptr [rax + {top} - 16]
    pop qword ptr [rax + {top} - 8]
    lea rax, [rax + {top} - 40]
    xchg rax, rsp
    push qword ptr [rax + {rax}]
    .global revenant_guarded_tail, revenant_guarded_iret
revenant_guarded_tail:
    test dword ptr [rsp + {tail_guards}], {verw}
    jz 2f
    verw word ptr [rsp + {tail_selector}]
2:  mov rax, [rsp + {tail_root}]
    test rax, rax
    jz 3f
    mov cr3, rax
3:  pop rax
revenant_guarded_iret:
    iretq
    .popsection
    .purgem save_registers
    .purgem load_registers
    .purgem sysenter_frame
    .purgem vector_entries
"#,
    user_cs = const FLAT_RING3_CS64,
    user_cs32 = const FLAT_RING3_CS32,
    user_ss = const FLAT_RING3_SS64,
    bad_return = const pv_cpu::vector::BAD_RETURN,
    sysenter = const pv_cpu::vector::SYSENTER,
    stride = const percpu::STRIDE,
    percpu = const machine::layout::PER_CPU,
    max_cpus = const percpu::MAX_CPUS,
    // With RAX above error code, vector and the processor's five words.
    host_root = const entry(cells::HOST_ROOT, 56),
    frame = const entry(cells::FRAME, 56),
    // With RAX above the five words.
    tail_guards = const entry(cells::GUARDS, 48),
    tail_selector = const entry(cells::SELECTOR, 48),
    tail_root = const entry(cells::GUEST_ROOT, 48),
    host_root_cell = const cells::HOST_ROOT,
    guest_root_cell = const cells::GUEST_ROOT,
    guards_cell = const cells::GUARDS,
    scratch_cell = const cells::SCRATCH,
    frame_cell = const cells::FRAME,
    host_root_of = const cell(cells::HOST_ROOT),
    guest_root_of = const cell(cells::GUEST_ROOT),
    scratch = const cell(stubs::SCRATCH_CELL),
    guards = const cell(cells::GUARDS),
    roots = const cell(cells::ROOTS),
    copied = const cell(cells::COPIED),
    top = const percpu::ENTRY_TOP as i64 - percpu::STACK_TOP as i64,
    rax = const register(Reg::Rax),
    rcx = const register(Reg::Rcx),
    r11 = const register(Reg::R11),
    // A context begins with its stack.
    stack = const -(Context::FRAME_END as i64),
    stack_of_rip = const Context::FRAME_END - 40,
    copy = sym super::guarded::copy_root,
    at_entry = const super::guarded::guards::AT_ENTRY,
    exit_guards = const super::guarded::guards::AT_EXIT,
    verw = const super::guarded::guards::VERW,
);
