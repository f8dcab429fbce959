//! Touching guest addresses, with faults as answers: a few instructions whose faults `host` knows.
#![expect(unsafe_code, reason = "guest accesses in assembly")]

use super::gs;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, Ordering};

/// Whether SMAP is on: then guest pages need STAC. Derived; set by every start.
static SMAP: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    static revenant_copy_words: u8;
    static revenant_copy_bytes: u8;
    static revenant_copy_fault: u8;
    static revenant_msr_read: u8;
    static revenant_msr_fault: u8;
    fn revenant_copy();
    fn revenant_read_msr();
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
    .popsection
"#
);

/// Says whether SMAP is on.
pub(crate) fn set_smap(on: bool) {
    SMAP.store(on, Ordering::Relaxed);
}

/// Where to go on when the hypervisor faults at `rip`, if that is one of the accesses here.
pub(crate) fn fixup(rip: u64) -> Option<u64> {
    let table = [
        (&raw const revenant_copy_words, &raw const revenant_copy_fault),
        (&raw const revenant_copy_bytes, &raw const revenant_copy_fault),
        (&raw const revenant_msr_read, &raw const revenant_msr_fault),
    ];
    let found = table.into_iter().find(|(at, _)| at.addr() as u64 == rip).map(|(_, to)| to.addr() as u64);
    found.or_else(|| gs::fixup(rip))
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
