//! The two GS bases and the word that says whose is active: they change together.
//!
//! The processor exchanges them with one instruction and does not say which is which. As in `vault::step`, the
//! instructions have known addresses: a CPU that was stopped among them has the rest in its registers
//! ([`complete`]).
#![expect(unsafe_code, reason = "GS in assembly")]

use super::host::HostFrame;
use core::arch::{asm, global_asm};
use vault::GuestOwned;

// SAFETY: labels of the code below; it is called by `asm!`, which says what it takes, and only addresses are taken.
unsafe extern "C" {
    static revenant_gs_swapped: u8;
    static revenant_gs_noted: u8;
    static revenant_gs_exchanged: u8;
    static revenant_gs_load: u8;
    static revenant_gs_null: u8;
    static revenant_gs_end: u8;
    fn revenant_swap_gs();
    fn revenant_load_gs();
}

global_asm!(
    r#"
    .pushsection .text.gs, "ax", @progbits
    # RDI: the word, SIL: its new value.
    .global revenant_swap_gs, revenant_gs_swapped, revenant_gs_noted
revenant_swap_gs:
    swapgs
revenant_gs_swapped:
    mov byte ptr [rdi], sil
revenant_gs_noted:
    ret

    # EDI: a selector for the GS that is not active. Between the two exchanges the word is wrong.
    .global revenant_load_gs, revenant_gs_exchanged, revenant_gs_load, revenant_gs_null, revenant_gs_end
revenant_load_gs:
    swapgs
revenant_gs_exchanged:
    jmp revenant_gs_load
revenant_gs_null:
    xor edi, edi
revenant_gs_load:
    mov gs, edi
    swapgs
revenant_gs_end:
    ret
    .popsection
"#
);

fn address(label: *const u8) -> u64 {
    label.addr() as u64
}

/// Exchanges the two bases and gives `word` a value.
#[inline(always)]
pub(crate) fn swap(word: &GuestOwned<u8>, value: u8) {
    // SAFETY: the hypervisor does not use GS; the word is a byte that is stored to as one, as by all others.
    unsafe {
        asm!("call {swap}", swap = sym revenant_swap_gs, in("rdi") core::ptr::from_ref(word), in("sil") value,
            options(preserves_flags));
    }
}

/// Loads a selector into the GS that is not active; null if that faults.
pub(crate) fn load_other(selector: u16) {
    // SAFETY: the hypervisor does not use GS; a fault is sent to where null is loaded.
    unsafe { asm!("call {load}", load = sym revenant_load_gs, inout("edi") u32::from(selector) => _) };
}

/// Where to go on when the load of a selector faults at `rip`.
pub(crate) fn fixup(rip: u64) -> Option<u64> {
    (rip == address(&raw const revenant_gs_load)).then(|| address(&raw const revenant_gs_null))
}

/// On a CPU that was stopped with these registers, and whose GS bases are as they were then: brings the word up
/// to date, or the bases back.
pub(crate) fn complete(frame: &HostFrame) {
    let [swapped, noted, exchanged, end] = [
        &raw const revenant_gs_swapped,
        &raw const revenant_gs_noted,
        &raw const revenant_gs_exchanged,
        &raw const revenant_gs_end,
    ]
    .map(address);
    let [.., rsi, rdi] = frame.general;
    if (swapped..noted).contains(&frame.rip) {
        let word: *const GuestOwned<u8> = core::ptr::with_exposed_provenance(rdi as usize);
        // SAFETY: the register is `swap`'s argument, a word of the vault, which lives for good.
        unsafe { &*word }.set(rsi as u8);
    } else if (exchanged..end).contains(&frame.rip) {
        // SAFETY: the hypervisor does not use GS.
        unsafe { asm!("swapgs", options(nomem, nostack, preserves_flags)) };
    }
}
