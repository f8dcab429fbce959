//! Touching guest addresses, with faults as answers: a few instructions whose faults `host` knows.
#![expect(unsafe_code, reason = "guest accesses in assembly")]

use super::{gs, swift, swift_fault};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, Ordering};

/// Whether SMAP is on: then guest pages need STAC. Derived; set by every start.
pub(super) static SMAP: AtomicBool = AtomicBool::new(false);

/// Whether what is usual may be done in assembly: with SMAP, and while it need not be noted. Derived, as above.
pub(super) static SWIFT: AtomicBool = AtomicBool::new(false);

// SAFETY: labels of the code below; it is called by `asm!`, which says what it takes, and only addresses are taken.
unsafe extern "C" {
    static revenant_copy_words: u8;
    static revenant_copy_bytes: u8;
    static revenant_copy_fault: u8;
    static revenant_msr_read: u8;
    static revenant_msr_fault: u8;
    fn revenant_copy();
    fn revenant_read_msr();
    static revenant_ds: u8;
    static revenant_es: u8;
    static revenant_fs: u8;
    static revenant_gs: u8;
    static revenant_ds_null: u8;
    static revenant_es_null: u8;
    static revenant_fs_null: u8;
    static revenant_active_gs_null: u8;
    fn revenant_load_selectors();
}

global_asm!(
    r#"
    .pushsection .text.access, "ax", @progbits
    # RDI to, RSI from, RCX words, RDX bytes after them. RAX: 0, or 1 after a fault.
    .global revenant_copy, revenant_copy_words, revenant_copy_bytes, revenant_copy_fault
revenant_copy:
revenant_copy_words:
    rep movsq
    mov rcx, rdx
revenant_copy_bytes:
    rep movsb
    xor eax, eax
    ret
revenant_copy_fault:
    mov eax, 1
    ret

    # ECX: index. RDX: RAX the value, RSI: 0, or 1 after a fault.
    .global revenant_read_msr, revenant_msr_read, revenant_msr_fault
revenant_read_msr:
    xor esi, esi
revenant_msr_read:
    rdmsr
    ret
revenant_msr_fault:
    mov esi, 1
    ret

    # EDI, ESI, EDX, ECX: selectors for DS, ES, FS, GS; those that fault become null. EAX: 1 if one did, else 0.
    .global revenant_load_selectors, revenant_ds, revenant_es, revenant_fs, revenant_gs
    .global revenant_ds_null, revenant_es_null, revenant_fs_null, revenant_active_gs_null
revenant_load_selectors:
    xor eax, eax
revenant_ds:
    mov ds, edi
revenant_es:
    mov es, esi
revenant_fs:
    mov fs, edx
revenant_gs:
    mov gs, ecx
    ret
revenant_ds_null:
    mov eax, 1
    xor edi, edi
    jmp revenant_ds
revenant_es_null:
    mov eax, 1
    xor esi, esi
    jmp revenant_es
revenant_fs_null:
    mov eax, 1
    xor edx, edx
    jmp revenant_fs
revenant_active_gs_null:
    mov eax, 1
    xor ecx, ecx
    jmp revenant_gs
    .popsection
"#
);

/// Says whether SMAP is on.
pub(crate) fn set_smap(on: bool) {
    SMAP.store(on, Ordering::Relaxed);
    set_swift(true);
}

/// Says whether what is usual may be done in assembly.
pub(crate) fn set_swift(allowed: bool) {
    SWIFT.store(allowed && SMAP.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// Where to go on when the hypervisor faults at `rip`, if that is one of the accesses here.
pub(crate) fn fixup(rip: u64) -> Option<u64> {
    let table = [
        (&raw const revenant_copy_words, &raw const revenant_copy_fault),
        (&raw const revenant_copy_bytes, &raw const revenant_copy_fault),
        (&raw const revenant_msr_read, &raw const revenant_msr_fault),
        (&raw const revenant_ds, &raw const revenant_ds_null),
        (&raw const revenant_es, &raw const revenant_es_null),
        (&raw const revenant_fs, &raw const revenant_fs_null),
        (&raw const revenant_gs, &raw const revenant_active_gs_null),
    ];
    let found = table.into_iter().find(|(at, _)| at.addr() as u64 == rip).map(|(_, to)| to.addr() as u64);
    found.or_else(|| gs::fixup(rip)).or_else(|| swift::fixup(rip)).or_else(|| swift_fault::fixup(rip))
}

/// Copies `len` bytes; one side is guest memory. False after a fault.
///
/// # Safety
/// The hypervisor's side is valid for `len` bytes; the guest's side lies outside of the hypervisor's
/// range, so that at worst the access faults.
#[inline]
pub(crate) unsafe fn copy(to: u64, from: u64, len: usize) -> bool {
    let smap = SMAP.load(Ordering::Relaxed);
    if smap {
        // SAFETY: SMAP is on, so the CPU has STAC; only accesses to the guest's side follow.
        unsafe { asm!("stac", options(nomem, nostack)) };
    }
    let fault: u64;
    // SAFETY: the caller's promise; the routine touches the declared registers only and faults in it are
    // sent to its own end.
    unsafe {
        asm!(
            "call {copy}", copy = sym revenant_copy,
            inout("rdi") to => _, inout("rsi") from => _, inout("rcx") len / 8 => _,
            inout("rdx") len % 8 => _, out("rax") fault,
        );
    }
    if smap {
        // SAFETY: as above.
        unsafe { asm!("clac", options(nomem, nostack)) };
    }
    fault == 0
}

/// Reads a model-specific register; `None` if the CPU has none of that number.
pub(crate) fn read_msr(index: u32) -> Option<u64> {
    let (low, high, fault): (u64, u64, u64);
    // SAFETY: reading has no effect; a fault is sent to the routine's end.
    unsafe {
        asm!(
            "call {read}", read = sym revenant_read_msr,
            in("ecx") index, out("rax") low, out("rdx") high, out("rsi") fault,
        );
    }
    (fault == 0).then_some(high << 32 | low & 0xffff_ffff)
}

/// Loads ds, es, fs and gs; those that fault become null. False: there were some. FS's and GS's bases follow the
/// selectors.
pub(crate) fn load_selectors([ds, es, fs, gs]: [u16; 4]) -> bool {
    let faults: u32;
    // SAFETY: the hypervisor uses none of these segments; a fault is sent to where null is loaded.
    unsafe {
        asm!(
            "call {load}", load = sym revenant_load_selectors,
            inout("edi") u32::from(ds) => _, inout("esi") u32::from(es) => _,
            inout("edx") u32::from(fs) => _, inout("ecx") u32::from(gs) => _, out("eax") faults,
        );
    }
    faults == 0
}

/// Loads one data selector (0: ds, 1: es, 2: fs, 3: gs) whose descriptor is known to be good.
pub(crate) fn load_selector(which: usize, selector: u16) {
    let value = u32::from(selector);
    match which {
        // SAFETY: the hypervisor uses none of these segments; the caller sees to the descriptor.
        0 => unsafe { asm!("mov ds, {:e}", in(reg) value, options(nomem, nostack, preserves_flags)) },
        // SAFETY: as above.
        1 => unsafe { asm!("mov es, {:e}", in(reg) value, options(nomem, nostack, preserves_flags)) },
        // SAFETY: as above.
        2 => unsafe { asm!("mov fs, {:e}", in(reg) value, options(nomem, nostack, preserves_flags)) },
        // SAFETY: as above.
        _ => unsafe { asm!("mov gs, {:e}", in(reg) value, options(nomem, nostack, preserves_flags)) },
    }
}

/// The selectors in ds, es, fs and gs.
pub(crate) fn selectors() -> [u16; 4] {
    let [ds, es, fs, gs]: [u16; 4];
    // SAFETY: reads registers.
    unsafe {
        asm!("mov {ds:x}, ds", "mov {es:x}, es", "mov {fs:x}, fs", "mov {gs:x}, gs", ds = out(reg) ds,
            es = out(reg) es, fs = out(reg) fs, gs = out(reg) gs, options(nomem, nostack));
    }
    [ds, es, fs, gs]
}
