//! Memory for the extended state (x87, SSE, AVX) of vCPUs that no CPU holds. Guest-owned.
#![expect(unsafe_code, reason = "saves and loads the extended state")]

use crate::sealed::sealed;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use ids::VcpuSlot;
use machine::fpu;
use vault::{Arena, GuestOwned, record};

record! {
    /// A vCPU's extended state in the processor's own format.
    ///
    /// Lock: the CPU that holds the vCPU. Rebuild: nothing; guest-owned.
    pub(crate) struct Area {
        /// Whether something was saved here.
        saved: GuestOwned<u64>,
        pad: [GuestOwned<u64>; 7],
        words: [GuestOwned<u64>; 504],
    }
}

static AREAS: AtomicPtr<Area> = AtomicPtr::new(core::ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Carves one area per vCPU.
pub(crate) fn carve(arena: &mut Arena, vcpus: usize) -> Option<&'static [Area]> {
    arena.carve(vcpus)
}

/// Makes `areas` the ones in use.
pub(crate) fn install(areas: &'static [Area]) {
    COUNT.store(areas.len(), Ordering::Relaxed);
    // Release: pairs with the load in `area`.
    AREAS.store(areas.as_ptr().cast_mut(), Ordering::Release);
}

fn area(vcpu: VcpuSlot) -> &'static Area {
    let first = AREAS.load(Ordering::Acquire);
    let count = COUNT.load(Ordering::Relaxed);
    assert!((vcpu.0 as usize) < count, "an area for every vCPU");
    // SAFETY: `install` put the start of a slice of `COUNT` areas there, which live for good.
    let areas = unsafe { core::slice::from_raw_parts(first, count) };
    &areas[vcpu.0 as usize]
}

/// Saves the CPU's extended state for `vcpu`.
pub(crate) fn save(vcpu: VcpuSlot) {
    let area = area(vcpu);
    let to = area.words.as_ptr().cast::<u8>().cast_mut();
    fpu::clear_task_switched();
    let xcr0 = sealed().facts.cpu.xcr0;
    if xcr0 != 0 {
        // SAFETY: boot found this value legal; CR4.OSXSAVE is on where it is not 0.
        unsafe { fpu::set_xcr0(xcr0) };
        // SAFETY: 4032 bytes, 64-byte aligned, of this vCPU alone.
        unsafe { fpu::save(to, xcr0, false) };
    } else {
        // SAFETY: as above.
        unsafe { fpu::save_legacy(to) };
    }
    area.saved.set(1);
}

/// Forgets what was saved for `vcpu`.
pub(crate) fn forget(vcpu: VcpuSlot) {
    area(vcpu).saved.set(0);
}

/// Control words after a reset, in the area's words 0 and 3: of x87, and of SSE (AMD64 manual volume 2, 11.4.4).
const X87_CONTROL: u64 = 0x37f;
const SSE_CONTROL: u64 = 0x1f80;

/// Makes an area hold the state after a reset: nothing of whoever had the registers before.
fn reset(area: &Area) {
    for word in &area.words {
        word.set(0);
    }
    area.words[0].set(X87_CONTROL);
    area.words[3].set(SSE_CONTROL);
}

/// Loads `vcpu`'s extended state into the CPU; the state after reset if none was saved.
pub(crate) fn restore(vcpu: VcpuSlot) {
    let area = area(vcpu);
    fpu::clear_task_switched();
    let from = area.words.as_ptr().cast::<u8>();
    if area.saved.get() == 0 {
        reset(area);
    }
    let xcr0 = sealed().facts.cpu.xcr0;
    if xcr0 != 0 {
        // SAFETY: boot found this value legal; CR4.OSXSAVE is on where it is not 0.
        unsafe { fpu::set_xcr0(xcr0) };
        // SAFETY: what `save` or `reset` put there.
        unsafe { fpu::restore(from, xcr0) };
    } else {
        // SAFETY: what `save` or `reset` put there.
        unsafe { fpu::restore_legacy(from) };
    }
}
