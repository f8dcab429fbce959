//! Failures on demand, for tests: a build with the feature `inject` panics when Dom0 asked for it, some
//! steps after it asked. Other builds have none of it.
//!
//! Dom0 asks by hypercall 63, which does not exist: its first argument says how many *points* to pass
//! before the panic. Points are entries and accesses to guest memory, so that the panic comes with the log
//! closed, open or committed, as chance has it.

#[cfg(feature = "inject")]
use core::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "inject")]
use pv_cpu::{Context, Mode, Reg, vector};

/// The hypercall that asks for a panic.
#[cfg(feature = "inject")]
const ASKED: u32 = 63;

/// Points left before the panic; 0: none is asked for. A new life starts with 0.
#[cfg(feature = "inject")]
static LEFT: AtomicU64 = AtomicU64::new(0);

/// An entry: sees whether Dom0 asks.
#[cfg(feature = "inject")]
pub(crate) fn entry(context: &Context) {
    let registers = &context.registers;
    if registers.vector.get() == vector::SYSCALL
        && context.mode() == Mode::Kernel
        && registers.error_code.get() == ASKED
    {
        LEFT.store(registers.get(Reg::Rdi).max(1), Ordering::Relaxed);
    } else {
        point();
    }
}

/// A place where the panic may come.
#[cfg(feature = "inject")]
#[inline]
pub(crate) fn point() {
    let left = LEFT.load(Ordering::Relaxed);
    if left == 0 {
        return;
    }
    LEFT.store(left - 1, Ordering::Relaxed);
    assert!(left != 1, "asked for by Dom0");
}

/// Nothing to do in this build.
#[cfg(not(feature = "inject"))]
#[inline(always)]
pub(crate) fn entry(_: &pv_cpu::Context) {}

/// Nothing to do in this build.
#[cfg(not(feature = "inject"))]
#[inline(always)]
pub(crate) fn point() {}
