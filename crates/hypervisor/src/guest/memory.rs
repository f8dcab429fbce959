//! Guest memory on the machine: by the direct map, or by the guest's own translations.
#![expect(unsafe_code, reason = "memory by address")]

use super::hardware::Hardware;
use super::{access, guarded};
use crate::{chaos, inject};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use guest_memory::{BLOCK_LINES, Fault, GuestMemory, LINE_WORDS};
use ids::{Gva, Maddr};
use machine::direct;

/// First address that is not canonical in the lower half.
const LOWER_END: u64 = 0x0000_8000_0000_0000;
/// First address behind the hypervisor's range.
const UPPER_START: u64 = 0xffff_8800_0000_0000;

/// Whether a guest may name `len` bytes at `at`.
fn is_guest_range(at: u64, len: usize) -> bool {
    match at.checked_add(len as u64) {
        Some(end) => end <= LOWER_END || at >= UPPER_START,
        None => false,
    }
}

/// The word at a machine address.
fn word(at: Maddr) -> &'static AtomicU64 {
    // SAFETY: (1) the direct map shows all RAM for good, and the trait's callers name RAM only;
    // (2) the address is aligned by the trait's contract; (3) all access to guest memory is atomic.
    unsafe { AtomicU64::from_ptr(direct::pointer(at)) }
}

fn half(at: Maddr) -> &'static AtomicU32 {
    // SAFETY: as for `word`.
    unsafe { AtomicU32::from_ptr(direct::pointer(at)) }
}

fn byte(at: Maddr) -> &'static AtomicU8 {
    // SAFETY: as for `word`.
    unsafe { AtomicU8::from_ptr(direct::pointer(at)) }
}

impl GuestMemory for Hardware {
    #[inline(always)]
    fn load64(&self, at: Maddr) -> u64 {
        word(at).load(Ordering::Acquire)
    }
    #[inline(always)]
    fn bits_in_line(&self, at: Maddr) -> u64 {
        const { assert!(LINE_WORDS == 8) };
        let line: *const [AtomicU64; LINE_WORDS] = direct::pointer(at);
        let bits;
        // SAFETY: as for `word`; the line lies in one frame, and an aligned 64-bit operand is read at once.
        unsafe {
            core::arch::asm!(
                "mov {bits}, [{line}]",
                "or {bits}, [{line} + 8]",
                "or {bits}, [{line} + 16]",
                "or {bits}, [{line} + 24]",
                "or {bits}, [{line} + 32]",
                "or {bits}, [{line} + 40]",
                "or {bits}, [{line} + 48]",
                "or {bits}, [{line} + 56]",
                line = in(reg) line,
                bits = out(reg) bits,
                options(nostack, readonly),
            );
        }
        bits
    }
    #[inline(always)]
    fn bits_in_block(&self, at: Maddr) -> u64 {
        const { assert!(LINE_WORDS * BLOCK_LINES == 32) };
        let block: *const [AtomicU64; LINE_WORDS * BLOCK_LINES] = direct::pointer(at);
        let bits;
        // SAFETY: as for `word`; the block lies in one frame, and an aligned 64-bit operand is read at once.
        unsafe {
            core::arch::asm!(
                "mov {bits}, [{block}]",
                "or {bits}, [{block} + 8]",
                "or {bits}, [{block} + 16]",
                "or {bits}, [{block} + 24]",
                "or {bits}, [{block} + 32]",
                "or {bits}, [{block} + 40]",
                "or {bits}, [{block} + 48]",
                "or {bits}, [{block} + 56]",
                "or {bits}, [{block} + 64]",
                "or {bits}, [{block} + 72]",
                "or {bits}, [{block} + 80]",
                "or {bits}, [{block} + 88]",
                "or {bits}, [{block} + 96]",
                "or {bits}, [{block} + 104]",
                "or {bits}, [{block} + 112]",
                "or {bits}, [{block} + 120]",
                "or {bits}, [{block} + 128]",
                "or {bits}, [{block} + 136]",
                "or {bits}, [{block} + 144]",
                "or {bits}, [{block} + 152]",
                "or {bits}, [{block} + 160]",
                "or {bits}, [{block} + 168]",
                "or {bits}, [{block} + 176]",
                "or {bits}, [{block} + 184]",
                "or {bits}, [{block} + 192]",
                "or {bits}, [{block} + 200]",
                "or {bits}, [{block} + 208]",
                "or {bits}, [{block} + 216]",
                "or {bits}, [{block} + 224]",
                "or {bits}, [{block} + 232]",
                "or {bits}, [{block} + 240]",
                "or {bits}, [{block} + 248]",
                block = in(reg) block,
                bits = out(reg) bits,
                options(nostack, readonly),
            );
        }
        bits
    }
    #[inline(always)]
    fn store64(&self, at: Maddr, value: u64) {
        inject::point();
        chaos::point();
        word(at).store(value, Ordering::Release);
        guarded::written(at);
    }
    #[inline(always)]
    fn exchange64(&self, at: Maddr, old: u64, new: u64) -> Result<(), u64> {
        inject::point();
        chaos::point();
        word(at).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)?;
        if old != new {
            guarded::written(at);
        }
        Ok(())
    }
    #[inline(always)]
    fn exchange32(&self, at: Maddr, old: u32, new: u32) -> Result<(), u32> {
        half(at).compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }
    #[inline(always)]
    fn load32(&self, at: Maddr) -> u32 {
        half(at).load(Ordering::Acquire)
    }
    #[inline(always)]
    fn store32(&self, at: Maddr, value: u32) {
        half(at).store(value, Ordering::Release);
    }
    #[inline(always)]
    fn load8(&self, at: Maddr) -> u8 {
        byte(at).load(Ordering::Acquire)
    }
    #[inline(always)]
    fn store8(&self, at: Maddr, value: u8) {
        inject::point();
        chaos::point();
        byte(at).store(value, Ordering::Release);
    }
    fn clear_frame(&self, at: Maddr) {
        // SAFETY: a frame the caller holds for the guest; the guest sees any mixture of old and new.
        unsafe { direct::zero(at, ids::FRAME_SIZE as usize) };
    }
    fn copy_machine(&self, from: Maddr, to: Maddr, len: u64) {
        inject::point();
        chaos::point();
        // SAFETY: two ranges within frames the caller holds for guests, which may overlap; guests see any mixture of
        // old and new.
        unsafe { core::ptr::copy(direct::pointer::<u8>(from), direct::pointer(to), len as usize) };
    }
    fn write_machine(&self, at: Maddr, bytes: &[u8]) {
        // SAFETY: as above, for `bytes.len()` bytes of adjacent frames.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), direct::pointer(at), bytes.len()) };
    }
    #[inline]
    fn copy_in(&self, from: Gva, out: &mut [u8]) -> Result<(), Fault> {
        inject::point();
        chaos::point();
        if !is_guest_range(from.0, out.len()) {
            return Err(Fault);
        }
        // SAFETY: `out` is valid; the guest's range was checked.
        let done = unsafe { access::copy(out.as_mut_ptr() as u64, from.0, out.len()) };
        if done { Ok(()) } else { Err(Fault) }
    }
    #[inline]
    fn copy_out(&self, to: Gva, bytes: &[u8]) -> Result<(), Fault> {
        inject::point();
        chaos::point();
        if !is_guest_range(to.0, bytes.len()) {
            return Err(Fault);
        }
        // SAFETY: `bytes` is valid; the guest's range was checked.
        let done = unsafe { access::copy(to.0, bytes.as_ptr() as u64, bytes.len()) };
        if done { Ok(()) } else { Err(Fault) }
    }
}
