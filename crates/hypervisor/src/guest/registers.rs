//! Frames as entry and exit code builds them: the order of general registers, and what `sysenter` leaves out.

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
/// takes RIP and RSP away. Who uses it has an operand `sysenter` with the vector, and takes it away again.
///
/// All flags but IF come as the program had them: TF steps through here until it is in the frame (`host`), NT would
/// make the next `iretq` fault, AC would let the hypervisor read user memory.
macro_rules! sysenter_macro {
    () => {
        r#"
    .macro sysenter_frame
    push 0xe02b
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
