//! Failures inside entry and exit code, where the guest's registers are in part in the processor alone.
//!
//! A machine check or double fault there has all of them on a stack of its own. So the code is gone on with, one
//! instruction at a time by the trap flag, and the failure takes effect where the registers are in memory: at the
//! first instruction of Rust, or of the guest. If the code fails once more on the way, that is the end of its guest.
#![expect(unsafe_code, reason = "a debug register")]

use super::record;
use crate::guest::hardware::this_cpu;
use crate::guest::host::{HostFrame, attached, put_guest_frame};
use crate::guest::{stubs, swift};
use crate::recovery::{self, Cause};
use core::arch::asm;
use core::sync::atomic::Ordering;
use machine::percpu;
use pv_cpu::{Reg, vector};
use xen_abi::arch::{FLAT_RING3_CS64, FLAT_RING3_SS64};

/// RFLAGS.TF.
const TRAP: u64 = 1 << 8;
/// DR6.BS.
const SINGLE_STEP: u64 = 1 << 14;

/// An exception that is a failure wherever it comes; returns if the code there is to go on first.
pub(crate) fn fail(frame: &mut HostFrame) {
    leave(frame);
    let own = &record(this_cpu()).deferred;
    let first = own.load(Ordering::Relaxed) == 0;
    if first && frame.cs & 3 == 0 && stubs::holds_registers(frame.rip) && !is_on_own_stack(frame) {
        own.store(frame.vector, Ordering::Relaxed);
        frame.rflags |= TRAP;
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
    leave(frame);
    if frame.cs & 3 == 0 && stubs::holds_registers(frame.rip) {
        // The `sysenter` stub clears it.
        frame.rflags |= TRAP;
        return;
    }
    frame.vector = record(this_cpu()).deferred.load(Ordering::Relaxed);
    forget_step();
    take(frame)
}

/// The guest is not to see that the hypervisor was stepped.
pub(crate) fn forget_step() {
    // SAFETY: a bit that says what a debug exception was.
    unsafe {
        asm!("mov {t}, dr6", "and {t}, {keep}", "mov dr6, {t}", t = out(reg) _, keep = in(reg) !SINGLE_STEP,
            options(nomem, nostack));
    }
}

/// Carries out a `sysretq` to the guest's kernel: after it no single step comes.
fn leave(frame: &mut HostFrame) {
    if frame.cs & 3 == 0 && swift::is_leaving(frame.rip) {
        // R11 and RCX.
        (frame.rflags, frame.rip) = (frame.general[6], frame.general[11]);
        (frame.cs, frame.ss) = (FLAT_RING3_CS64.into(), FLAT_RING3_SS64.into());
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
        if frame.cs & 3 != 0 {
            put_guest_frame(context, frame);
            registers.vector.set(vector::NONE);
        } else if waited && registers.vector.get() == vector::SYSENTER {
            // The stub keeps the flags as it finds them. A program that steps itself misses one step.
            registers.set(Reg::Rflags, registers.get(Reg::Rflags) & !TRAP);
        }
    }
    recovery::fatal(Cause::Exception, Some(frame), None)
}
