//! Failures at single instructions of entry and exit code: a breakpoint at one of some places there, then so many single
//! steps. They come in the debug exception's handler, with the registers of a machine check at that instruction.
#![expect(unsafe_code, reason = "debug registers")]

use crate::composition;
use crate::guest::hardware::this_cpu;
use crate::guest::host::HostFrame;
use crate::guest::stubs;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use machine::{control, percpu};

const MACHINE_CHECK: u32 = 18;
/// Single step, in the flags.
const TRAP: u64 = 1 << 8;
/// For each CPU: steps left, plus one; 0: none are made.
static LEFT: [AtomicU64; percpu::MAX_CPUS as usize] =
    [const { AtomicU64::new(0) }; percpu::MAX_CPUS as usize];

fn left() -> &'static AtomicU64 {
    &LEFT[this_cpu().0 as usize]
}

/// This CPU fails, `points` says where: the place, and how many instructions after it.
pub(super) fn begin(points: u64) {
    let nmi = stubs::address_of(stubs::Place::Nmi);
    // With the instructions of the way from there on.
    let places = [
        (composition::syscall_entry(&raw const stubs::revenant_syscall64, this_cpu()), 56),
        (stubs::address_of(stubs::Place::Call), 40),
        (stubs::address_of(stubs::Place::FromGuest), 21),
        (stubs::address_of(stubs::Place::Resume), 18),
        // Should one come. No steps, for they would let another NMI come on the same stack: `push`, `mov`, `jmp`.
        (nmi, 1),
        (nmi + 2, 1),
        (nmi + 10, 1),
    ];
    let (place, steps) = places[(points % places.len() as u64) as usize];
    left().store(1 + points / places.len() as u64 % steps, Ordering::Relaxed);
    break_at(place, 1);
}

fn break_at(place: u64, control: u64) {
    // SAFETY: an instruction breakpoint, or none; its handler is `step`.
    unsafe {
        asm!("mov dr7, {none}", "mov dr0, {place}", "mov dr6, {none}", "mov dr7, {control}", none = in(reg) 0_u64,
            place = in(reg) place, control = in(reg) control, options(nostack, preserves_flags));
    }
}

/// Whether debug exceptions of this CPU are those here.
pub(crate) fn is_stepping() -> bool {
    left().load(Ordering::Relaxed) != 0
}

/// A debug exception at `frame`. True: the CPU fails there.
pub(crate) fn step(frame: &mut HostFrame) -> bool {
    if control::debug_status() & 1 != 0 {
        break_at(0, 0);
    }
    let now = left().load(Ordering::Relaxed) - 1;
    left().store(now, Ordering::Relaxed);
    frame.rflags |= TRAP;
    if now != 0 && stubs::holds_registers(frame.rip) {
        return false;
    }
    left().store(0, Ordering::Relaxed);
    frame.rflags &= !TRAP;
    frame.vector = MACHINE_CHECK;
    true
}
