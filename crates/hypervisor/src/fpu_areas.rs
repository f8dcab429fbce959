//! Saves and loads the extended state (x87, SSE, AVX) of vCPUs that no CPU holds, in `pv_cpu::Extended`.
#![expect(unsafe_code, reason = "saves and loads the extended state")]

use crate::sealed::sealed;
use core::sync::atomic::{AtomicPtr, Ordering};
use ids::VcpuSlot;
use machine::fpu;
use pv_cpu::Extended;

/// The areas. Derived: set by every start.
static AREAS: AtomicPtr<Extended> = AtomicPtr::new(core::ptr::null_mut());

/// Makes `areas` the ones in use.
pub(crate) fn install(areas: &'static Extended) {
    // Release: pairs with the load in `areas`.
    AREAS.store(core::ptr::from_ref(areas).cast_mut(), Ordering::Release);
}

fn areas() -> &'static Extended {
    // SAFETY: null, or what `install` put there, which lives for good.
    unsafe { AREAS.load(Ordering::Acquire).as_ref() }.expect("areas are installed before guests run")
}

/// Saves the CPU's extended state for `vcpu`.
pub(crate) fn save(vcpu: VcpuSlot) {
    let areas = areas();
    let to = areas.state(vcpu).as_ptr().cast::<u8>().cast_mut();
    fpu::clear_task_switched();
    let xcr0 = sealed().facts.cpu.xcr0;
    if xcr0 != 0 {
        // SAFETY: boot found this value legal; CR4.OSXSAVE is on where it is not 0.
        unsafe { fpu::set_xcr0(xcr0) };
        // SAFETY: as many bytes as the processor's state has, 64-byte aligned, of this vCPU alone.
        unsafe { fpu::save(to, xcr0, false) };
    } else {
        // SAFETY: as above.
        unsafe { fpu::save_legacy(to) };
    }
    areas.set_saved(vcpu);
}

/// Forgets what was saved for `vcpu`.
pub(crate) fn forget(vcpu: VcpuSlot) {
    areas().forget(vcpu);
}

/// Loads `vcpu`'s extended state into the CPU; the state after reset if none was saved.
pub(crate) fn restore(vcpu: VcpuSlot) {
    let areas = areas();
    fpu::clear_task_switched();
    areas.settle(vcpu);
    let from = areas.state(vcpu).as_ptr().cast::<u8>();
    let xcr0 = sealed().facts.cpu.xcr0;
    if xcr0 != 0 {
        // SAFETY: boot found this value legal; CR4.OSXSAVE is on where it is not 0.
        unsafe { fpu::set_xcr0(xcr0) };
        // SAFETY: what `save` put there, the state after a reset, or what was checked when the toolstack gave it.
        unsafe { fpu::restore(from, xcr0) };
    } else {
        // SAFETY: as above.
        unsafe { fpu::restore_legacy(from) };
    }
}
