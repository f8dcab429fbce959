//! Leaving a stack for good.
#![expect(unsafe_code, reason = "sets the stack pointer")]

use core::arch::asm;

/// Continues with `then` on the stack that ends at `top`; the current stack is abandoned, no destructor runs.
///
/// # Safety
/// `top` is the 16-byte aligned end of a mapped stack nobody uses.
pub unsafe fn abandon_for(top: u64, then: extern "C" fn() -> !) -> ! {
    // SAFETY: the caller's promise; a zero return address and frame pointer end backtraces.
    unsafe {
        asm!("mov rsp, {top}", "xor ebp, ebp", "push 0", "jmp __x86_indirect_thunk_r11", top = in(reg) top,
            in("r11") then, options(noreturn));
    }
}

/// Ends an NMI whose handler does not return: until an IRET no other NMI comes.
pub fn unblock_nmi() {
    // SAFETY: returns to the next instruction with the same stack, flags and segments.
    unsafe {
        asm!(
            "mov {t}, rsp", "mov {s:e}, ss", "push {s}", "push {t}", "pushfq", "mov {s:e}, cs", "push {s}",
            "lea {t}, [rip + 2f]", "push {t}", "iretq", "2:", t = out(reg) _, s = out(reg) _,
        );
    }
}

/// The frame pointer of the caller.
#[inline(always)]
pub fn frame_pointer() -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}
