//! Microreboots all the time, for tests: a build with the feature `chaos` fails by itself every few thousand *points*
//! (entries and accesses to guest memory) once guests run, and fills all derived memory with nonsense before it is made
//! anew, so that nothing stale can help. Other builds have none of it.

#![cfg_attr(feature = "chaos", expect(unsafe_code, reason = "fills memory that nobody uses"))]

#[cfg(feature = "chaos")]
mod on {
    use crate::guest::hardware::this_cpu;
    use crate::sealed::Sealed;
    use crate::{cells, stop};
    use core::sync::atomic::{AtomicU64, Ordering};
    use ids::{CpuId, Maddr};
    use machine::{clock, direct, percpu};

    /// Points between two failures: fewer could be one entry's own, which would be charged with them. Long work in one
    /// entry is cut short for the same reason (`Platform::budget`).
    const FEWEST: u64 = 6_000;
    const SPREAD: u64 = 12_000;
    /// No address, no small number, no flag.
    const NONSENSE: u8 = 0xdb;

    /// Points left before the failure; 0: not chosen yet. A new life starts with 0.
    static LEFT: AtomicU64 = AtomicU64::new(0);

    /// A place where the failure may come. (The count is of one CPU after another: good enough for a test.)
    #[inline]
    pub(crate) fn point() {
        if !stop::is_guarded() || stop::is_led() {
            return;
        }
        match LEFT.load(Ordering::Relaxed) {
            0 => {
                let random = clock::tsc().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                LEFT.store(FEWEST + random % SPREAD, Ordering::Relaxed);
            }
            1 => panic!("chaos"),
            left => LEFT.store(left - 1, Ordering::Relaxed),
        }
    }

    /// The heap and the variables of the image copy that does not run any more are nobody's.
    pub(crate) fn spoil_memory(record: &Sealed) {
        let old = record.image.running().other();
        // SAFETY: the heap's memory, before it is claimed anew.
        unsafe { fill(direct::pointer(Maddr(record.heap.start)), record.heap.len()) };
        let (from, to) = record.image.variables(old);
        // SAFETY: the variables of the copy that does not run; they are refreshed before it does.
        unsafe { fill(direct::pointer(from), to.0 - from.0) };
        for cpu in (0..record.cpus).map(CpuId) {
            for cell in [cells::SCRATCH, cells::LOOK] {
                // SAFETY: a derived word of a CPU that is stopped, or this one's.
                unsafe { fill(at(percpu::block(cpu) + cell), 8) };
            }
        }
    }

    /// What this CPU's stacks held is nobody's; called on the main one.
    pub(crate) fn spoil_stacks() {
        /// Below the stack pointer of the caller, for this function and those it calls.
        const USED: u64 = 1024;
        let block = percpu::block(this_cpu());
        let here = machine::stack::frame_pointer();
        for top in [
            percpu::NMI_STACK_TOP,
            percpu::DOUBLE_FAULT_STACK_TOP,
            percpu::MACHINE_CHECK_STACK_TOP,
            percpu::DEBUG_STACK_TOP,
        ] {
            // SAFETY: no exception is being handled on them; one that comes meanwhile is over before this goes on.
            unsafe { fill(at(block + top - percpu::IST_STACK_SIZE), percpu::IST_STACK_SIZE) };
        }
        let bottom = block + percpu::STACK_TOP - percpu::STACK_SIZE;
        // SAFETY: what is below the part in use.
        unsafe { fill(at(bottom), here.saturating_sub(USED).saturating_sub(bottom)) };
    }

    fn at(address: u64) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(address as usize)
    }

    /// # Safety
    /// The bytes are mapped and nobody's.
    unsafe fn fill(from: *mut u8, bytes: u64) {
        // SAFETY: the caller's promise.
        unsafe { from.write_bytes(NONSENSE, bytes as usize) };
    }
}
#[cfg(feature = "chaos")]
pub(crate) use on::{point, spoil_memory, spoil_stacks};

/// Nothing to do in this build.
#[cfg(not(feature = "chaos"))]
mod off {
    #[inline(always)]
    pub(crate) fn point() {}
    #[inline(always)]
    pub(crate) fn spoil_memory(_: &crate::sealed::Sealed) {}
    #[inline(always)]
    pub(crate) fn spoil_stacks() {}
}
#[cfg(not(feature = "chaos"))]
pub(crate) use off::{point, spoil_memory, spoil_stacks};
