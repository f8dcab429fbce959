//! The wait for an interrupt.
#![expect(unsafe_code, reason = "halts the CPU")]

use super::host::HostFrame;
use core::arch::global_asm;

// SAFETY: a function without arguments that keeps all registers, and a label of which only the address is taken.
unsafe extern "C" {
    fn revenant_idle();
    static revenant_idle_halt: u8;
}

global_asm!(
    r#"
    .pushsection .text.idle, "ax", @progbits
    .global revenant_idle, revenant_idle_halt
revenant_idle:
    sti
revenant_idle_halt:
    hlt
    cli
    ret
    .popsection
"#
);

/// Waits with interrupts on until one came; it is handled before this returns.
pub(super) fn wait() {
    // SAFETY: nothing is in progress; handlers run on this stack and come back.
    unsafe { revenant_idle() };
}

/// An NMI may come between `sti` and `hlt`. No shadow keeps interrupts off when its handler returns, so one that `hlt`
/// is to wake from can come before it, and would be waited for again: the wait is over.
pub(super) fn end(frame: &mut HostFrame) {
    if frame.cs & 3 == 0 && frame.rip == (&raw const revenant_idle_halt).addr() as u64 {
        // The instruction has one byte.
        frame.rip += 1;
    }
}
