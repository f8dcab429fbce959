//! What the image has in place of indirect branches.
//!
//! The compiler makes each of them, those of `core` and `alloc` too, a direct branch to the thunk below with the target
//! in R11, and no jump tables (`-Zretpoline-external-thunk`); so does assembly. That the image has no other is looked at
//! whenever it is built. The exceptions run once, before any guest; another is the start-up page of the other CPUs
//! ([`crate::smp`]), from where the thunk is out of reach.
#![expect(unsafe_code, reason = "changes code")]

use core::arch::global_asm;

// As linked it is a retpoline: the branch is a return, which the return stack predicts to lead to a loop that leads
// nowhere (Intel, "Retpoline: A Branch Target Injection Mitigation"). Nothing is speculated on behind its end.
global_asm!(
    r#"
    .pushsection .text.thunk, "ax", @progbits
    .balign 64
    .global __x86_indirect_thunk_r11
__x86_indirect_thunk_r11:
    call 3f
2:  pause
    lfence
    jmp 2b
    .balign 16
3:  mov [rsp], r11
    ret
    int3
    .popsection
"#
);

// SAFETY: the label above; only its address is taken.
unsafe extern "C" {
    static __x86_indirect_thunk_r11: u8;
}

/// Makes the thunk an indirect jump, behind a fence if `fenced`.
///
/// # Safety
/// The boot tables are in use, which map the image writable; no other CPU runs.
pub unsafe fn jump(fenced: bool) {
    // Followed by breakpoints, for processors that speculate straight on.
    let code = if fenced {
        // lfence; jmp r11
        [0x0f, 0xae, 0xe8, 0x41, 0xff, 0xe3, 0xcc, 0xcc]
    } else {
        // jmp r11
        [0x41, 0xff, 0xe3, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc]
    };
    // SAFETY: the caller's promise; the thunk is changed by one store.
    unsafe { place().cast_mut().write_volatile(u64::from_le_bytes(code)) };
}

/// Whether the thunk is a jump now.
pub fn is_jump() -> bool {
    /// Of a call to a distance, with which the retpoline begins.
    const CALL: u8 = 0xe8;
    // SAFETY: code of the image, which nobody changes any more.
    let code = unsafe { place().read_volatile() };
    code.to_le_bytes()[0] != CALL
}

/// The thunk's first word; it is longer than that, and aligned.
fn place() -> *const u64 {
    (&raw const __x86_indirect_thunk_r11).cast()
}
