//! Failures on demand, for tests: a build with the feature `inject` panics when Dom0 asks for it by an
//! invalid hypercall number. Other builds have none of it.

#[cfg(feature = "inject")]
use pv_cpu::{Context, Mode, vector};

/// The hypercall number that asks for a panic.
#[cfg(feature = "inject")]
const ASKED: u32 = 0x5245_5645;

/// Panics if the entry asks for it.
#[cfg(feature = "inject")]
pub(crate) fn maybe_fail(context: &Context) {
    let registers = &context.registers;
    if registers.vector.get() == vector::SYSCALL
        && context.mode() == Mode::Kernel
        && registers.error_code.get() == ASKED
        && registers.get(pv_cpu::Reg::Rdi) == crate::recovery::generation().into()
    {
        panic!("asked for by Dom0");
    }
}

/// Nothing to do in this build.
#[cfg(not(feature = "inject"))]
#[inline(always)]
pub(crate) fn maybe_fail(_: &pv_cpu::Context) {}
