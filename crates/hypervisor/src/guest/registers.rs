//! Frames as entry and exit code builds them: the order of general registers, what the processor pushes or leaves out.

/// Assembly macros `save_registers` and `load_registers`; who uses them takes them away again (`.purgem`).
macro_rules! register_macros {
    () => {
        r#"
    .macro save_registers
    push rdi
    push rsi
    push rdx
    push rcx
    push rax
    push r8
    push r9
    push r10
    push r11
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    .endm

    .macro load_registers
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    pop r11
    pop r10
    pop r9
    pop r8
    pop rax
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    .endm
"#
    };
}
pub(crate) use register_macros;

/// Assembly macro `sysenter_frame`: what the processor and a stub push elsewhere, for `sysenter`, which pushes nothing and
/// takes RIP and RSP away. Who uses it has operands `sysenter` with the vector and `user_ss`, and takes it
/// away again.
///
/// All flags but IF come as the program had them: TF steps through here until it is in the frame (`host`), NT would
/// make the next `iretq` fault, AC would let the hypervisor read user memory.
macro_rules! sysenter_macro {
    () => {
        r#"
    .macro sysenter_frame
    push {user_ss}
    push 0
    pushfq
    or dword ptr [rsp], 0x200
    push 3
    push 0
    push rax                        # the low half: the number
    mov dword ptr [rsp + 4], {sysenter}
    push 2
    popfq
    .endm
"#
    };
}
pub(crate) use sysenter_macro;

/// Assembly macro `vector_entries own_stack, host, fault, guest`: 256 entry points, 32 bytes apart, that complete the
/// processor's frame by an error code and the vector, and where each goes on: with the stack of its own, from the
/// hypervisor, with a guest's page fault, from a guest. Who uses it takes it away again.
macro_rules! vectors_macro {
    () => {
        r#"
    .macro vector_entries own_stack, host, fault, guest
    .set vector, 0
    .rept 256
    .balign 32
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    push 0
    .endif
    mov dword ptr [rsp + 4], vector
    .if vector == 1 || vector == 2 || vector == 8 || vector == 18
    jmp \own_stack
    .else
    test byte ptr [rsp + 16], 3
    jz \host
    .if vector == 14
    jmp \fault
    .else
    jmp \guest
    .endif
    .endif
    .set vector, vector + 1
    .endr
    .endm
"#
    };
}
pub(crate) use vectors_macro;

/// Assembly macros of both ways from a user program to its kernel. Who uses them takes them away again.
///
/// `to_kernel_stack bytes, unusual`: RCX is the top of the kernel's stack, its page tables are loaded, user memory can be
/// written; or `unusual` if so many bytes there would reach into the hypervisor.
/// `to_kernel_mode bytes`: the frame of so many bytes is there; R11, its flags, becomes those of the handler.
macro_rules! to_kernel_macros {
    () => {
        r#"
    .macro to_kernel_stack bytes, unusual
    mov rcx, [rax + {kernel_sp}]
    and rcx, -16
    lea r11, [rcx - \bytes]
    shr r11, 43
    cmp r11d, {guest_kernel}
    jb \unusual
    mov r11, [rax + {root_kernel}]
    shl r11, 12
    mov cr3, r11
    stac
    .endm

    .macro to_kernel_mode bytes
    clac
    lea rsp, [rcx - \bytes]
    movabs rcx, {direct}
    add rcx, [rax + {info}]
    mov byte ptr [rcx + 1], 1
    mov dword ptr [rax + {modes}], {kernel}
    swapgs
    and r11d, {handler_flags}
    .endm

    # Back from a stack that is not there: the program's page tables.
    .macro from_kernel_stack
    mov r11, [rax + {root_user}]
    shl r11, 12
    mov cr3, r11
    .endm
"#
    };
}
pub(crate) use to_kernel_macros;
