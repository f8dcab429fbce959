//! Exceptions before the guest entry code takes over: show the frame and stop.
#![expect(unsafe_code, reason = "exception entry points in assembly")]

use core::arch::global_asm;

use ids::Maddr;
use machine::control;
use machine::tables::{self, Gate, ist};

/// What the stubs below push.
#[repr(C)]
struct Frame {
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

// SAFETY: a label of the code below; only its address is taken.
unsafe extern "C" {
    /// 32 entry points, 16 bytes apart.
    static early_fault_stubs: u8;
}

global_asm!(
    r#"
    .balign 16
    .global early_fault_stubs
early_fault_stubs:
    .set vector, 0
    .rept 32
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    push 0
    .endif
    push vector
    jmp 2f
    .set vector, vector + 1
    .endr
2:
    mov rdi, rsp
    and rsp, -16
    call {fault}
"#,
    fault = sym fault,
);

/// Fills the exception gates of an IDT.
///
/// # Safety
/// `frames` is the memory behind a per-CPU block.
pub(crate) unsafe fn set_gates(frames: Maddr) {
    let stubs = (&raw const early_fault_stubs).addr() as u64;
    for vector in 0..32_u8 {
        let ist = match vector {
            1 => ist::DEBUG,
            2 => ist::NMI,
            8 => ist::DOUBLE_FAULT,
            18 => ist::MACHINE_CHECK,
            _ => ist::NONE,
        };
        let gate = Gate { handler: stubs + u64::from(vector) * 16, ist, dpl: 0 };
        // SAFETY: the stub of that vector; the caller's promise.
        unsafe { tables::set_gate(frames, vector, gate) };
    }
}

extern "C" fn fault(frame: &Frame) -> ! {
    crate::console::print_unlocked(format_args!(
        "exception {} error {:#x} at {:#x}:{:#018x} rsp {:#x}:{:#018x} rflags {:#x} cr2 {:#018x}\n",
        frame.vector,
        frame.error,
        frame.cs,
        frame.rip,
        frame.ss,
        frame.rsp,
        frame.rflags,
        control::fault_address()
    ));
    control::halt()
}
