//! CPUs that ignore the leader's NMIs, and are taken over by INIT.
//!
//! INIT destroys the registers, segments, the address of a page fault and what the local APIC knows. A CPU ignores NMIs
//! while it handles one: that handler kept what is needed to know where the CPU was, and nothing is lost. Of any other
//! one only the log and the context are left.
#![expect(unsafe_code, reason = "segment bases, page tables, a frame on another stack")]

use super::{at, note_nothing, record, wait};
use crate::efi;
use crate::guest::hardware::this_cpu;
use crate::guest::host::{HostFrame, attached};
use crate::guest::{access, run};
use core::sync::atomic::Ordering;
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
    let words = own.bases.iter().chain([&own.root, &own.fault_address, &own.selectors]);
    let selectors = access::selectors().into_iter().rev().fold(0, |all, one| all << 16 | u64::from(one));
    let now = [control::root().0, control::fault_address(), selectors];
    for (word, value) in words.zip(Bases::read().0.into_iter().chain(now)) {
        word.store(value, Ordering::Relaxed);
    }
    // Release: the rest is there when this is.
    own.nmi.store(core::ptr::from_ref(frame) as u64, Ordering::Release);
}

/// FS base, GS base and the other GS base.
#[derive(Clone, Copy)]
pub(super) struct Bases([u64; 3]);

impl Bases {
    const REGISTERS: [u32; 3] = [0xc000_0100, 0xc000_0101, 0xc000_0102];

    /// Those of this CPU.
    pub(super) fn read() -> Self {
        Self(Self::REGISTERS.map(|register| {
            // SAFETY: part of x86-64.
            unsafe { control::read_msr(register) }
        }))
    }

    /// Loads them.
    pub(super) fn load(self) {
        for (register, value) in Self::REGISTERS.into_iter().zip(self.0) {
            // SAFETY: part of x86-64; the values were there.
            unsafe { control::write_msr(register, value) };
        }
    }
}

/// What an NMI's handler kept of a CPU.
pub(crate) struct Kept {
    frame: HostFrame,
    bases: Bases,
    root: Maddr,
    fault_address: u64,
    selectors: [u16; 4],
}

/// What is known of a CPU that was just taken over, copied from its NMI stack.
pub(crate) fn kept_at_nmi(cpu: CpuId) -> Option<Kept> {
    let own = record(cpu);
    let at = own.nmi.swap(0, Ordering::Acquire);
    if at == 0 {
        return None;
    }
    let frame: *const HostFrame = core::ptr::with_exposed_provenance(at as usize);
    // SAFETY: the handler's frame, on the stack that nobody uses since the CPU was taken away from it.
    let frame = unsafe { frame.read() };
    let selectors = own.selectors.load(Ordering::Relaxed);
    Some(Kept {
        frame,
        bases: Bases(own.bases.each_ref().map(|word| word.load(Ordering::Relaxed))),
        root: Maddr(own.root.load(Ordering::Relaxed)),
        fault_address: own.fault_address.load(Ordering::Relaxed),
        selectors: [0, 16, 32, 48].map(|shift| (selectors >> shift) as u16),
    })
}

/// A CPU that was taken over, with its own tables loaded: gets back what it had and stops where it was.
pub(crate) fn taken(kept: Option<Kept>) -> ! {
    let own = record(this_cpu());
    own.finishing.store(0, Ordering::Relaxed);
    let became = if let Some(kept) = kept {
        kept.load();
        at(&kept.frame);
        Taken::Known
    } else {
        note_nothing();
        if take_back() { Taken::Known } else { Taken::Lost }
    };
    own.taken.store(became as u32, Ordering::Release);
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

impl Kept {
    fn load(&self) {
        self.bases.load();
        if let (Some(system), Some(context)) = (run::installed(), attached()) {
            // Whose GS is active is a matter of the place where it was, and of the bases.
            let active = context.gs_mode.get();
            system.load_context(context);
            context.gs_mode.set(active);
            system.reload_selectors(context, self.selectors);
            self.bases.load();
        }
        control::set_fault_address(self.fault_address);
        // SAFETY: the page tables in use when it was taken, which have the hypervisor's entries.
        unsafe { control::set_root(self.root) };
    }
}

/// Nothing is known of the NMI whose handler runs.
#[cfg(feature = "inject")]
pub(crate) fn forget_nmi() {
    record(this_cpu()).nmi.store(0, Ordering::Relaxed);
}
