//! Failures inside entry and exit code, where the guest's registers are in part in the processor alone.
//!
//! A machine check or double fault there has all of them on a stack of its own. So the code is gone on with, one
//! instruction at a time by the trap flag, and the failure takes effect where the registers are in memory: at the
//! first instruction of Rust, or of the guest. So it does if the code fails again on the way, but for one that fails again
//! and again: that is the end of its guest.
#![expect(unsafe_code, reason = "a debug register")]

use super::place::{self, Place};
use super::record;
use crate::guest::hardware::this_cpu;
use crate::guest::host::{HostFrame, attached};
use crate::recovery::{self, Cause};
use core::arch::asm;
use core::sync::atomic::Ordering;
use machine::percpu;
use pv_cpu::{Reg, vector};

/// In the record's word: the vector, and from this bit on how often the code has failed.
const VECTOR: u32 = 0xffff;
const TIMES: u32 = 16;
/// Failures on one way through the code after which nothing of it is left to be gone on with.
const MOST: u32 = 3;
/// RFLAGS.TF.
const TRAP: u64 = 1 << 8;
/// DR6.BS.
const SINGLE_STEP: u64 = 1 << 14;

/// An exception that is a failure wherever it comes; returns if the code there is to go on first.
pub(crate) fn fail(frame: &mut HostFrame) {
    let own = &record(this_cpu()).deferred;
    let (first, times) = match own.load(Ordering::Relaxed) {
        0 => (frame.vector, 0),
        before => (before & VECTOR, before >> TIMES),
    };
    if times < MOST && goes_on(frame) {
        own.store(first | (times + 1) << TIMES, Ordering::Relaxed);
        return;
    }
    take(frame)
}

/// Whether a failure waits for the end of the code that it came in.
pub(crate) fn is_pending() -> bool {
    record(this_cpu()).deferred.load(Ordering::Relaxed) != 0
}

/// A debug exception while one waits: returns if it has to wait for longer.
pub(crate) fn step(frame: &mut HostFrame) {
    if goes_on(frame) {
        return;
    }
    frame.vector = record(this_cpu()).deferred.load(Ordering::Relaxed) & VECTOR;
    forget_step();
    take(frame)
}

/// If this CPU was in entry or exit code, perhaps with handlers on stacks of their own in between, which are given up: it
/// goes on there for one instruction.
fn goes_on(frame: &mut HostFrame) -> bool {
    match place::find(frame) {
        Place::Stub(at) => {
            *frame = HostFrame { vector: frame.vector, error: frame.error, ..at };
            // Nor is there a handler of an NMI any more.
            record(this_cpu()).nmi.store(0, Ordering::Relaxed);
        }
        Place::Entering if !is_on_own_stack(frame) => {}
        _ => return false,
    }
    // Each time: the `sysenter` stub clears it.
    frame.rflags |= TRAP;
    true
}

/// The guest is not to see that the hypervisor was stepped.
pub(crate) fn forget_step() {
    // SAFETY: a bit that says what a debug exception was.
    unsafe {
        asm!("mov {t}, dr6", "and {t}, {keep}", "mov dr6, {t}", t = out(reg) _, keep = in(reg) !SINGLE_STEP,
            options(nomem, nostack));
    }
}

/// Whether the code runs on a stack where the next debug exception, or this failure again, would begin anew.
fn is_on_own_stack(frame: &HostFrame) -> bool {
    let offset = frame.rsp.wrapping_sub(percpu::block(this_cpu()));
    let first = percpu::DOUBLE_FAULT_STACK_TOP - percpu::IST_STACK_SIZE;
    (first..=percpu::DEBUG_STACK_TOP).contains(&offset)
}

fn take(frame: &HostFrame) -> ! {
    let waited = record(this_cpu()).deferred.swap(0, Ordering::Relaxed) != 0;
    if let Some(context) = attached() {
        let registers = &context.registers;
        if frame.cs & 3 == 0 && waited && registers.vector.get() == vector::SYSENTER {
            // The stub keeps the flags as it finds them. A program that steps itself misses one step.
            registers.set(Reg::Rflags, registers.get(Reg::Rflags) & !TRAP);
        }
    }
    recovery::fatal(Cause::Exception, Some(frame), None)
}
