//! Where each CPU's ring of entries lies: in its per-CPU data.
#![expect(unsafe_code, reason = "a record at a fixed address")]

use crate::cells;
use ids::CpuId;
use machine::percpu;
pub(crate) use trace::Entry;
use trace::Ring;

const _: () = assert!(size_of::<Ring>() as u64 <= cells::TRACE_BYTES);

/// A CPU's ring.
#[inline(always)]
pub(crate) fn ring(cpu: CpuId) -> &'static Ring {
    let at: *const Ring = core::ptr::with_exposed_provenance((percpu::block(cpu) + cells::TRACE) as usize);
    // SAFETY: mapped for good, zeroed by boot, atomics only, used as nothing else.
    unsafe { &*at }
}
