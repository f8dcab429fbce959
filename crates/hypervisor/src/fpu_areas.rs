//! Memory for the extended state (x87, SSE, AVX) of vCPUs that no CPU holds. Guest-owned.
#![expect(unsafe_code, reason = "saves and loads the extended state")]

use crate::sealed::sealed;
use boot_info::CpuFacts;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use ids::VcpuSlot;
use machine::fpu;
use vault::{Arena, GuestOwned, record};

record! {
    /// 64 bytes of a vCPU's area: the first ones of an area say what there is, the others are the extended state in the
    /// processor's own format, as many as this processor's has.
    ///
    /// Lock: the CPU that holds the vCPU. Rebuild: nothing; guest-owned.
    pub(crate) struct Area {
        /// Of the first ones of an area: word 0 is 1 if something was saved there.
        words: [GuestOwned<u64>; 8],
    }
}

/// The first lines of all areas, and how many of them there are. Derived: set by every start.
static AREAS: AtomicPtr<Area> = AtomicPtr::new(core::ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Bytes of the state of a processor without XSAVE (Intel SDM volume 1, 10.5.1).
const LEGACY_BYTES: usize = 512;

/// Lines of an area.
fn lines(facts: &CpuFacts) -> usize {
    1 + (facts.xsave_bytes as usize).max(LEGACY_BYTES).div_ceil(size_of::<Area>())
}

/// Bytes of one vCPU's area.
pub(crate) fn bytes(facts: &CpuFacts) -> usize {
    lines(facts) * size_of::<Area>()
}

/// Carves one area per vCPU.
pub(crate) fn carve(arena: &mut Arena, vcpus: usize) -> Option<&'static [Area]> {
    arena.carve(vcpus.checked_mul(lines(&sealed().facts.cpu))?)
}

/// Makes `areas` the ones in use.
pub(crate) fn install(areas: &'static [Area]) {
    COUNT.store(areas.len(), Ordering::Relaxed);
    // Release: pairs with the load in `area`.
    AREAS.store(areas.as_ptr().cast_mut(), Ordering::Release);
}

/// A vCPU's area: its first line, and those of the state.
fn area(vcpu: VcpuSlot) -> (&'static Area, &'static [Area]) {
    let first = AREAS.load(Ordering::Acquire);
    let count = COUNT.load(Ordering::Relaxed);
    let lines = lines(&sealed().facts.cpu);
    let from = vcpu.0 as usize * lines;
    assert!(from + lines <= count, "an area for every vCPU");
    // SAFETY: `install` put the start of a slice of `COUNT` lines there, which live for good.
    let areas = unsafe { core::slice::from_raw_parts(first, count) };
    (&areas[from], &areas[from + 1..from + lines])
}

/// Saves the CPU's extended state for `vcpu`.
pub(crate) fn save(vcpu: VcpuSlot) {
    let (head, state) = area(vcpu);
    let to = state.as_ptr().cast::<u8>().cast_mut();
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
    head.words[0].set(1);
}

/// Forgets what was saved for `vcpu`.
pub(crate) fn forget(vcpu: VcpuSlot) {
    area(vcpu).0.words[0].set(0);
}

/// Control words after a reset, in words 0 and 3 of the state: of x87, and of SSE (AMD64 manual volume 2, 11.4.4).
const X87_CONTROL: u64 = 0x37f;
const SSE_CONTROL: u64 = 0x1f80;

/// Makes it the state after a reset: nothing of whoever had the registers before.
fn reset(state: &[Area]) {
    for word in state.iter().flat_map(|line| &line.words) {
        word.set(0);
    }
    if let Some(first) = state.first() {
        first.words[0].set(X87_CONTROL);
        first.words[3].set(SSE_CONTROL);
    }
}

/// Loads `vcpu`'s extended state into the CPU; the state after reset if none was saved.
pub(crate) fn restore(vcpu: VcpuSlot) {
    let (head, state) = area(vcpu);
    fpu::clear_task_switched();
    let from = state.as_ptr().cast::<u8>();
    if head.words[0].get() == 0 {
        reset(state);
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
