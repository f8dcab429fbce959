//! Extended processor state: sizes, and saving and restoring it whole. The hypervisor itself has none.
#![expect(unsafe_code, reason = "XSAVE and its family")]

use core::arch::asm;

use raw_cpuid::CpuId;

/// What this CPU has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExtendedState {
    /// XCR0 bits the CPU supports; 0 without XSAVE.
    pub supported: u64,
    /// Bytes of an area for all of them, standard form; 512 without XSAVE.
    pub bytes: u32,
    /// XSAVEOPT is there.
    pub optimised: bool,
}

/// Reads it from CPUID (leaf 0xd).
pub fn detect() -> ExtendedState {
    let cpuid = CpuId::new();
    let has_xsave = cpuid.get_feature_info().is_some_and(|features| features.has_xsave());
    let Some(leaf) = cpuid.get_extended_state_info().filter(|_| has_xsave) else {
        return ExtendedState { supported: 0, bytes: 512, optimised: false };
    };
    let main = raw_cpuid::cpuid!(0xd, 0);
    ExtendedState {
        supported: u64::from(main.edx) << 32 | u64::from(main.eax),
        bytes: leaf.xsave_area_size_supported_features(),
        optimised: leaf.has_xsaveopt(),
    }
}

/// Reads XCR0.
///
/// # Safety
/// CR4.OSXSAVE is on.
pub unsafe fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller's promise.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes XCR0.
///
/// # Safety
/// CR4.OSXSAVE is on and `value` is legal (Intel SDM volume 1, 13.3).
pub unsafe fn set_xcr0(value: u64) {
    let [low, high] = halves(value);
    // SAFETY: the caller's promise.
    unsafe { asm!("xsetbv", in("ecx") 0, in("eax") low, in("edx") high, options(nomem, nostack)) };
}

/// Saves the components in `mask` that XCR0 enables to `area`, standard form. XSAVEOPT where `optimised`: what did not
/// change since it was restored from this very area stays.
///
/// # Safety
/// `area` is 64-byte aligned and large enough; CR4.OSXSAVE is on and CR0.TS off; XSAVEOPT exists if wanted, and if so,
/// nobody wrote `area` since.
pub unsafe fn save(area: *mut u8, mask: u64, optimised: bool) {
    let [low, high] = halves(mask);
    if optimised {
        // SAFETY: the caller's promise.
        unsafe { asm!("xsaveopt64 [{}]", in(reg) area, in("eax") low, in("edx") high, options(nostack)) };
    } else {
        // SAFETY: the caller's promise.
        unsafe { asm!("xsave64 [{}]", in(reg) area, in("eax") low, in("edx") high, options(nostack)) };
    }
}

/// Restores the components in `mask` from `area`. Faults (#GP) if the area is not one: validate a guest's first.
///
/// # Safety
/// `area` is 64-byte aligned, large enough and holds a valid standard-form area; CR4.OSXSAVE is on and CR0.TS off.
pub unsafe fn restore(area: *const u8, mask: u64) {
    let [low, high] = halves(mask);
    // SAFETY: the caller's promise.
    unsafe { asm!("xrstor64 [{}]", in(reg) area, in("eax") low, in("edx") high, options(nostack)) };
}

/// Saves x87 and SSE state to 512 bytes, on CPUs without XSAVE.
///
/// # Safety
/// `area` is 16-byte aligned; CR0.TS is off.
pub unsafe fn save_legacy(area: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { asm!("fxsave64 [{}]", in(reg) area, options(nostack)) };
}

/// Restores what [`save_legacy`] saved.
///
/// # Safety
/// As there, and MXCSR in it has no reserved bit.
pub unsafe fn restore_legacy(area: *const u8) {
    // SAFETY: the caller's promise.
    unsafe { asm!("fxrstor64 [{}]", in(reg) area, options(nostack)) };
}

/// Sets CR0.TS: the next use of the FPU faults (#NM).
pub fn set_task_switched() {
    // SAFETY: ring 0.
    let cr0 = unsafe { x86::controlregs::cr0() };
    // SAFETY: ring 0; only TS changes.
    unsafe { x86::controlregs::cr0_write(cr0 | x86::controlregs::Cr0::CR0_TASK_SWITCHED) };
}

/// Clears CR0.TS.
pub fn clear_task_switched() {
    // SAFETY: ring 0.
    unsafe { asm!("clts", options(nomem, nostack, preserves_flags)) };
}

const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}
