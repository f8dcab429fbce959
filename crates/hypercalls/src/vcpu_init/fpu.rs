//! The image of x87 and SSE in a context becomes a vCPU's.

use super::Parts;
use domain::State;
use ids::VcpuSlot;
use pv_cpu::{COMPONENTS_WORD, Context, FRESH, MXCSR_WORD, SAVED};
use xen_abi::arch::VGCF_I387_VALID;

/// Bits of MXCSR that every processor with 64-bit mode has; others fault when they are loaded (AMD64 manual volume 1,
/// 4.2.2).
pub(crate) const MXCSR_BITS: u64 = 0xffff;
/// Components of the image: x87 and SSE.
const X87_SSE: u64 = 3;

/// Words of the image behind the registers, which the processor leaves to software.
const UNUSED_FROM: usize = 464 / 8;

/// Takes the image over; without one the state is that after a reset. In place, and again by a repetition: it can be
/// loaded at each step.
pub(super) fn set(state: &State, vcpu: VcpuSlot, context: &Context, parts: &Parts) {
    if parts.head.flags & VGCF_I387_VALID == 0 {
        context.fpu_saved.set(FRESH);
        return;
    }
    let areas = &state.extended;
    if context.fpu_saved.get() == FRESH {
        areas.forget(vcpu);
    }
    areas.settle(vcpu);
    for (index, word) in parts.fpu.iter().take(UNUSED_FROM).enumerate() {
        let word = if index == MXCSR_WORD { word & MXCSR_BITS | MXCSR_BITS << 32 } else { *word };
        areas.set_word(vcpu, index, word);
    }
    // What else it has stays.
    areas.set_word(vcpu, COMPONENTS_WORD, areas.word(vcpu, COMPONENTS_WORD) | X87_SSE);
    areas.set_saved(vcpu);
    context.fpu_saved.set(SAVED);
}
