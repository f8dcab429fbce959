//! The order of general registers in a frame, for entry and exit code.

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
