//! What guarded entries and exits clear. Every register is kept; any stack of the CPU will do.
//!
//! The sequence that clears the branch history is the one that Intel publishes ("Branch History Injection and
//! Intra-mode Branch Target Injection", software sequences): calls and jumps that are all taken, five times five, or
//! twelve times seven on processors that keep more.
#![expect(unsafe_code, reason = "instruction sequences")]

use super::guarded::guards;
use crate::cells;
use core::arch::global_asm;
use machine::percpu;

const SPEC_CTRL: u32 = 0x48;
const PRED_CMD: u32 = 0x49;

global_asm!(
    r#"
    .pushsection .text.guarded, "ax", @progbits
    .balign 64
    .global revenant_guarded_clear
revenant_guarded_clear:
    push rax
    push rcx
    push rdx
    push rbx
    mov rbx, rsp
    and rbx, -{stride}
    test dword ptr [rbx + {guards}], {spec_ctrl}
    jz 2f
    mov ecx, {spec_ctrl_register}
    mov eax, [rbx + {spec_ctrl_values}]
    xor edx, edx
    wrmsr
2:  test dword ptr [rbx + {guards}], {barrier}
    jz 2f
    mov ecx, {prediction_register}
    mov eax, 1
    xor edx, edx
    wrmsr
2:  test dword ptr [rbx + {guards}], {returns}
    jz 2f
    call revenant_fill_returns
2:  mov ecx, 5
    mov edx, 5
    test dword ptr [rbx + {guards}], {history_short}
    jnz 3f
    mov ecx, 12
    mov edx, 7
    test dword ptr [rbx + {guards}], {history_long}
    jz 4f
3:  call revenant_clear_history
4:  lfence
    pop rbx
    pop rdx
    pop rcx
    pop rax
    ret

    # ECX times EDX taken branches.
    .balign 64
revenant_clear_history:
    call 2f
    jmp 6f
    .balign 64
2:  call 3f
    ret
    .balign 64
3:  mov eax, edx
4:  jmp 5f
    nop
5:  sub eax, 1
    jnz 4b
    sub ecx, 1
    jnz 2b
    ret
6:  lfence
    ret

    # 32 calls that do not come back, each to a place that speculation does not leave.
    .balign 64
revenant_fill_returns:
    mov rdx, rsp
    mov ecx, 16
2:  call 4f
3:  pause
    lfence
    jmp 3b
4:  call 6f
5:  pause
    lfence
    jmp 5b
6:  sub ecx, 1
    jnz 2b
    mov rsp, rdx
    ret

    # On the way out, but for VERW, which comes last. RDI and RSP are kept.
    .balign 64
    .global revenant_guarded_leave
revenant_guarded_leave:
    mov rbx, rsp
    and rbx, -{stride}
    test dword ptr [rbx + {guards}], {divider}
    jz 2f
    xor edx, edx
    mov eax, 1
    div eax
2:  test dword ptr [rbx + {guards}], {spec_ctrl}
    jz 2f
    mov ecx, {spec_ctrl_register}
    mov eax, [rbx + {spec_ctrl_values} + 8]
    xor edx, edx
    wrmsr
2:  ret
    .popsection
"#,
    stride = const percpu::STRIDE,
    guards = const cells::GUARDS,
    spec_ctrl_values = const cells::SPEC_CTRL,
    spec_ctrl_register = const SPEC_CTRL,
    prediction_register = const PRED_CMD,
    spec_ctrl = const guards::SPEC_CTRL,
    barrier = const guards::BARRIER,
    returns = const guards::RETURNS,
    history_short = const guards::HISTORY_SHORT,
    history_long = const guards::HISTORY_LONG,
    divider = const guards::DIVIDER,
);
