//! Control registers, model-specific registers and the TLB.
#![expect(unsafe_code, reason = "privileged instructions")]

use ids::Maddr;
use raw_cpuid::CpuId;
use x86::controlregs::{self, Cr0, Cr4};

/// IA32_PAT as Xen sets it and PV guests rely on: WB, WT, UC-, UC, WC, WP, UC, UC (public/arch-x86 documents it as
/// `0x050100070406`).
pub const XEN_PAT: u64 = 0x0000_0501_0007_0406;

const EFER_SYSCALL: u64 = 1 << 0;
const EFER_NO_EXECUTE: u64 = 1 << 11;

/// Reads a model-specific register.
///
/// # Safety
/// The register exists on this CPU (else the read faults).
#[inline]
pub unsafe fn read_msr(msr: u32) -> u64 {
    // SAFETY: ring 0; the caller's promise.
    unsafe { x86::msr::rdmsr(msr) }
}

/// Writes a model-specific register.
///
/// # Safety
/// The register exists and takes this value, and the effect keeps Rust's assumptions.
#[inline]
pub unsafe fn write_msr(msr: u32, value: u64) {
    // SAFETY: ring 0; the caller's promise.
    unsafe { x86::msr::wrmsr(msr, value) };
}

/// The root of the page tables in use.
pub fn root() -> Maddr {
    // SAFETY: ring 0; reading CR3 has no effect.
    Maddr(unsafe { controlregs::cr3() } & crate::paging::ADDRESS_MASK)
}

/// Uses the page tables at `root` and flushes everything not global.
///
/// # Safety
/// The tables map the running code, the stack and everything referenced the same way as now.
pub unsafe fn set_root(root: Maddr) {
    // SAFETY: ring 0; the caller's promise.
    unsafe { controlregs::cr3_write(root.0) };
}

/// Uses the page tables at `root` and flushes everything, global entries included: they are another address space's.
///
/// # Safety
/// As for [`set_root`].
pub unsafe fn set_space(root: Maddr) {
    // SAFETY: ring 0; reading CR4 has no effect.
    let cr4 = unsafe { controlregs::cr4() };
    if !cr4.contains(Cr4::CR4_ENABLE_GLOBAL_PAGES) {
        // SAFETY: the caller's promise.
        return unsafe { set_root(root) };
    }
    // In between nothing becomes global, so nothing is left of what one space knew when the other is loaded.
    // SAFETY: ring 0; only PGE changes, and comes back below.
    unsafe { controlregs::cr4_write(cr4 - Cr4::CR4_ENABLE_GLOBAL_PAGES) };
    // SAFETY: the caller's promise.
    unsafe { set_root(root) };
    // SAFETY: the value that was there.
    unsafe { controlregs::cr4_write(cr4) };
}

/// The address of the last page fault.
pub fn fault_address() -> u64 {
    // SAFETY: ring 0; reading CR2 has no effect.
    (unsafe { controlregs::cr2() }) as u64
}

/// Makes `address` that of the last page fault.
pub fn set_fault_address(address: u64) {
    // SAFETY: ring 0; CR2 is a word that nothing but software reads.
    unsafe { controlregs::cr2_write(address) };
}

/// What the last debug exception was (DR6).
pub fn debug_status() -> u64 {
    let status: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, dr6", out(reg) status, options(nomem, nostack, preserves_flags)) };
    status
}

/// Flushes this CPU's TLB, global entries included.
#[inline]
pub fn flush_tlb() {
    // SAFETY: ring 0; reading CR4 has no effect.
    let cr4 = unsafe { controlregs::cr4() };
    if cr4.contains(Cr4::CR4_ENABLE_GLOBAL_PAGES) {
        // SAFETY: ring 0; only PGE changes, and comes back below.
        unsafe { controlregs::cr4_write(cr4 - Cr4::CR4_ENABLE_GLOBAL_PAGES) };
        // SAFETY: the value that was there.
        unsafe { controlregs::cr4_write(cr4) };
    } else {
        // SAFETY: ring 0; reading CR3 has no effect.
        let cr3 = unsafe { controlregs::cr3() };
        // SAFETY: ring 0; the same tables stay in use.
        unsafe { controlregs::cr3_write(cr3) };
    }
}

/// Flushes one page from this CPU's TLB.
#[inline]
pub fn flush_page(va: u64) {
    // SAFETY: ring 0; a flush changes no memory.
    unsafe { x86::tlb::flush(va as usize) };
}

/// What `enable_features` found and switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Enabled {
    /// Supervisor-mode execution prevention.
    pub smep: bool,
    /// Supervisor-mode access prevention.
    pub smap: bool,
    /// User-mode instruction prevention.
    pub umip: bool,
    /// XSAVE and XCR0.
    pub xsave: bool,
    /// No-execute pages.
    pub nx: bool,
    /// 1 GiB pages.
    pub huge_pages: bool,
    /// Global pages. Not beneath another hypervisor on AMD's processors, as Xen decides: flushing them takes writes to
    /// CR4, which that one intercepts. Nor, as on Xen, where guests run on isolated tables: each entry and exit loads
    /// CR3 there, and what survived that would take two writes to CR4 to flush.
    pub global_pages: bool,
}

/// Reads from CPUID which of the features in [`Enabled`] this CPU has.
pub fn detect() -> Enabled {
    let cpuid = CpuId::new();
    let basic = cpuid.get_feature_info();
    let structured = cpuid.get_extended_feature_info();
    let extended = cpuid.get_extended_processor_and_feature_identifiers();
    let vendor = cpuid.get_vendor_info();
    let is_amd = vendor.is_some_and(|v| matches!(v.as_str(), "AuthenticAMD" | "HygonGenuine"));
    let is_nested = basic.as_ref().is_some_and(|f| f.has_hypervisor());
    Enabled {
        global_pages: !(is_amd && is_nested),
        smep: structured.as_ref().is_some_and(|f| f.has_smep()),
        smap: structured.as_ref().is_some_and(|f| f.has_smap()),
        umip: structured.as_ref().is_some_and(|f| f.has_umip()),
        xsave: basic.as_ref().is_some_and(|f| f.has_xsave()),
        nx: extended.as_ref().is_some_and(|f| f.has_execute_disable()),
        huge_pages: extended.as_ref().is_some_and(|f| f.has_1gib_pages()),
    }
}

/// Switches on what the hypervisor runs with: WP, NX, MCE, FXSR, and PGE, SMEP, SMAP, UMIP and OSXSAVE where CPUID has
/// them; FSGSBASE stays off. Sets Xen's PAT. Each CPU calls it once, before it uses tables with NX entries; `isolated`
/// says whether guests run on isolated tables.
///
/// # Safety
/// Boot owns this CPU; no mapping in use depends on the firmware's PAT beyond index 0.
pub unsafe fn enable_features(isolated: bool) -> Enabled {
    let mut found = detect();
    found.global_pages &= !isolated;
    let mut cr4 = Cr4::CR4_ENABLE_PAE
        | Cr4::CR4_ENABLE_MACHINE_CHECK
        | Cr4::CR4_ENABLE_SSE
        | Cr4::CR4_UNMASKED_SSE
        | Cr4::CR4_DEBUGGING_EXTENSIONS;
    cr4.set(Cr4::CR4_ENABLE_GLOBAL_PAGES, found.global_pages);
    cr4.set(Cr4::CR4_ENABLE_SMEP, found.smep);
    cr4.set(Cr4::CR4_ENABLE_SMAP, found.smap);
    cr4.set(Cr4::CR4_ENABLE_OS_XSAVE, found.xsave);
    cr4.set(Cr4::CR4_ENABLE_UMIP, found.umip);
    // SAFETY: only bits CPUID reports; PAE stays on.
    unsafe { controlregs::cr4_write(cr4) };
    // SAFETY: paging and protection stay on, caches on, the FPU native and not emulated.
    unsafe {
        controlregs::cr0_write(
            Cr0::CR0_ENABLE_PAGING
                | Cr0::CR0_PROTECTED_MODE
                | Cr0::CR0_WRITE_PROTECT
                | Cr0::CR0_NUMERIC_ERROR
                | Cr0::CR0_EXTENSION_TYPE
                | Cr0::CR0_MONITOR_COPROCESSOR,
        );
    }
    // SAFETY: EFER exists on every x86-64 CPU.
    let efer = unsafe { read_msr(x86::msr::IA32_EFER) };
    let nx = if found.nx { EFER_NO_EXECUTE } else { 0 };
    // SAFETY: long mode stays on; SYSCALL is part of x86-64.
    unsafe { write_msr(x86::msr::IA32_EFER, efer | EFER_SYSCALL | nx) };
    // SAFETY: PAT is part of x86-64; index 0 stays write-back.
    unsafe { write_msr(x86::msr::IA32_PAT, XEN_PAT) };
    flush_tlb();
    found
}

/// Turns interrupts off.
pub fn disable_interrupts() {
    // SAFETY: ring 0; nobody waits for them.
    unsafe { x86::irq::disable() };
}

/// Waits for an interrupt with interrupts off: for ever, unless an NMI comes.
pub fn halt() -> ! {
    loop {
        // SAFETY: ring 0; interrupts are off.
        unsafe { x86::halt() };
    }
}
