//! Machine memory through the direct map.
#![expect(unsafe_code, reason = "memory named by machine address")]

use core::ptr;

use ids::Maddr;

use crate::layout;

/// The address at which the direct map shows `maddr`.
///
/// # Panics
/// Panics beyond the map's 5 TiB: no RAM is accepted there at boot.
#[inline]
pub fn pointer<T>(maddr: Maddr) -> *mut T {
    let va = layout::direct(maddr).expect("machine address beyond the direct map");
    ptr::with_exposed_provenance_mut(va as usize)
}

/// Zeroes `len` bytes from `maddr` on.
///
/// # Safety
/// The range is RAM in the direct map and the caller owns it.
pub unsafe fn zero(maddr: Maddr, len: usize) {
    // SAFETY: the caller's promise; the direct map is writable.
    unsafe { pointer::<u8>(maddr).write_bytes(0, len) };
}

/// Copies `len` bytes from `from` to `to`.
///
/// # Safety
/// Both ranges are RAM in the direct map and do not overlap; the caller owns the target, and nobody writes the source.
pub unsafe fn copy(from: Maddr, to: Maddr, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { ptr::copy_nonoverlapping(pointer::<u8>(from), pointer::<u8>(to), len) };
}

/// Copies `words` words from `from` to `to`, each by one load and one store.
///
/// # Safety
/// Both ranges are RAM in the direct map, aligned to words; the caller owns the target.
pub unsafe fn copy_words(from: Maddr, to: Maddr, words: usize) {
    // SAFETY: the caller's promise; the direct map is writable, and the direction flag is clear.
    unsafe {
        core::arch::asm!(
            "rep movsq",
            inout("rcx") words => _, inout("rsi") pointer::<u64>(from) => _, inout("rdi") pointer::<u64>(to) => _,
            options(nostack, preserves_flags),
        );
    }
}

/// The bytes from `maddr` on.
///
/// # Safety
/// The range is RAM in the direct map and nobody writes it for `'a`.
pub unsafe fn bytes<'a>(maddr: Maddr, len: usize) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { core::slice::from_raw_parts(pointer::<u8>(maddr), len) }
}

/// One naturally aligned 8-byte word.
///
/// # Safety
/// The word is RAM in the direct map; `maddr` is a multiple of 8.
#[inline]
pub unsafe fn read_word(maddr: Maddr) -> u64 {
    // SAFETY: the caller's promise; volatile because others may write it.
    unsafe { pointer::<u64>(maddr).read_volatile() }
}

/// Writes one naturally aligned 8-byte word by one store.
///
/// # Safety
/// As [`read_word`], and the caller may write it.
#[inline]
pub unsafe fn write_word(maddr: Maddr, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { pointer::<u64>(maddr).write_volatile(value) };
}
