//! CPUs that ignore the leader's NMIs, and are taken over by INIT.
//!
//! INIT destroys the registers, segments, the address of a page fault and what the local APIC knows. A CPU ignores NMIs
//! while it handles one: that handler kept what is needed to know where the CPU was, and nothing is lost. Of any other
//! one only the log and the context are left.
#![expect(unsafe_code, reason = "segment bases, page tables, a frame on another stack")]

use super::place::{self, Place};
use super::{at, note, record, wait};
use crate::efi;
use crate::guest::hardware::this_cpu;
use crate::guest::host::{HostFrame, attached};
use crate::guest::{access, run, stubs};
use core::sync::atomic::{AtomicU64, Ordering};
use ids::{CpuId, Maddr};
use machine::control;

/// What became of a CPU that was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was in an NMI's handler, which knows what it did before, or in the firmware: nothing is lost.
    Known = 1,
    /// What it did is not known, and its registers are lost.
    Lost = 2,
}

/// Whether this CPU was taken over since it was last asked.
pub(crate) fn was_taken() -> Option<Taken> {
    match record(this_cpu()).taken.swap(0, Ordering::Relaxed) {
        0 => None,
        1 => Some(Taken::Known),
        _ => Some(Taken::Lost),
    }
}

/// Keeps what INIT would destroy, in case that this handler does not come to its end.
pub(super) fn keep(frame: &HostFrame) {
    let own = record(this_cpu());
    own.nmis.fetch_add(1, Ordering::Relaxed);
    let now = BASES.map(|register| {
        // SAFETY: part of x86-64.
        unsafe { control::read_msr(register) }
    });
    let selectors = access::selectors().into_iter().rev().fold(0, |all, one| all << 16 | u64::from(one));
    let words = own.bases.iter().chain([&own.root, &own.fault_address, &own.selectors]);
    let others = [control::root().0, control::fault_address(), selectors];
    for (word, value) in words.zip(now.into_iter().chain(others)) {
        word.store(value, Ordering::Relaxed);
    }
    // Release: the rest is there when this is.
    own.nmi.store(core::ptr::from_ref(frame) as u64, Ordering::Release);
}

/// FS base, GS base and the other GS base.
const BASES: [u32; 3] = [0xc000_0100, 0xc000_0101, 0xc000_0102];

/// What an NMI's handler kept of a CPU.
#[repr(C)]
pub(crate) struct Kept {
    /// For [`stubs::revenant_retake`]: a context begins with a stack, which is not used there.
    _stack: u64,
    frame: HostFrame,
    bases: [u64; 3],
    root: Maddr,
    fault_address: u64,
    selectors: [u16; 4],
}

impl Kept {
    /// Gives this CPU back what INIT has destroyed, general registers apart.
    fn load(&self) {
        self.load_bases();
        if let (Some(system), Some(context)) = (run::installed(), attached()) {
            // Whose GS is active is a matter of the place where it was, and of the bases.
            let active = context.gs_mode.get();
            system.load_context(context);
            context.gs_mode.set(active);
            system.reload_selectors(context, self.selectors);
            self.load_bases();
        }
        control::set_fault_address(self.fault_address);
        // SAFETY: the page tables in use when it was taken, which have the hypervisor's entries.
        unsafe { control::set_root(self.root) };
    }

    fn load_bases(&self) {
        for (register, value) in BASES.into_iter().zip(self.bases) {
            // SAFETY: part of x86-64; the values were there.
            unsafe { control::write_msr(register, value) };
        }
    }
}

/// What is known of a CPU that was just taken over, copied from its NMI stack.
pub(crate) fn kept_at_nmi(cpu: CpuId) -> Option<Kept> {
    let own = record(cpu);
    let at = own.nmi.swap(0, Ordering::Acquire);
    if at == 0 {
        return None;
    }
    let frame: *const HostFrame = core::ptr::with_exposed_provenance(at as usize);
    let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let selectors = load(&own.selectors);
    // SAFETY: the handler's frame, on the stack that nobody uses since the CPU was taken away from it.
    let frame = unsafe { frame.read() };
    Some(Kept {
        _stack: 0,
        frame,
        bases: own.bases.each_ref().map(load),
        root: Maddr(load(&own.root)),
        fault_address: load(&own.fault_address),
        selectors: [0, 16, 32, 48].map(|shift| (selectors >> shift) as u16),
    })
}

/// A CPU that was taken over, with its own tables loaded: stops where it was, or goes on to where it can.
pub(crate) fn taken(kept: Option<Kept>) -> ! {
    let own = record(this_cpu());
    own.finishing.store(0, Ordering::Relaxed);
    let Some(kept) = kept else {
        note(None);
        let became = if take_back() { Taken::Known } else { Taken::Lost };
        own.taken.store(became as u32, Ordering::Release);
        wait()
    };
    kept.load();
    let mut kept = kept;
    if let Place::Stub(frame) = place::find(&kept.frame) {
        kept.frame = frame;
        // SAFETY: back to where the NMI hit it, with the registers it had; the main stack is as it was.
        unsafe { stubs::revenant_retake(core::ptr::from_ref(&kept).cast(), own.taken.as_ptr()) }
    }
    at(&kept.frame);
    own.taken.store(Taken::Known as u32, Ordering::Release);
    wait()
}

/// A CPU that was in a call of the firmware: that is a hypercall's, so the general registers are in the context, and all
/// others were put there before the call. False: it was not.
fn take_back() -> bool {
    let (Some(system), Some(context)) = (run::installed(), attached()) else { return false };
    if !efi::is_calling() {
        return false;
    }
    system.load_context(context);
    system.reload_saved(context);
    true
}

/// Nothing is known of the NMI whose handler runs.
#[cfg(feature = "inject")]
pub(crate) fn forget_nmi() {
    record(this_cpu()).nmi.store(0, Ordering::Relaxed);
}
