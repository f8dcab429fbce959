//! Finding the present entries of a table, most of which are absent.

use crate::Pte;
use crate::work::{ENTRIES, entry_address};
use guest_memory::{GuestMemory, LINE_WORDS};
use ids::{Maddr, Mfn};

/// Bytes of an entry.
const ENTRY: u64 = 8;
/// Bytes of a table.
const TABLE: u64 = ENTRY * ENTRIES as u64;
/// Bytes looked at in one go.
const LINE: u64 = ENTRY * LINE_WORDS as u64;

/// The first present entry of `table` from `from` on; [`ENTRIES`] if there is none.
#[inline(always)]
pub(crate) fn next_present<M: GuestMemory>(memory: &M, table: Mfn, from: u16) -> u16 {
    if from < ENTRIES && is_present(memory, table, from) { from } else { skip_up(memory, table, from) }
}

/// The last present entry of `table` below `end`; `None` if there is none.
#[inline(always)]
pub(crate) fn previous_present<M: GuestMemory>(memory: &M, table: Mfn, end: u16) -> Option<u16> {
    let last = end.checked_sub(1)?;
    let found = if is_present(memory, table, last) { end } else { skip_down(memory, table, end) };
    found.checked_sub(1)
}

#[inline(never)]
fn skip_up<M: GuestMemory>(memory: &M, table: Mfn, from: u16) -> u16 {
    let start = table.maddr().0;
    let (mut at, end) = (start + ENTRY * u64::from(from), start + TABLE);
    loop {
        if at.is_multiple_of(LINE) {
            while at < end && !has_present(memory.bits_in_line(Maddr(at))) {
                at += LINE;
            }
        }
        if at >= end || has_present(memory.load64(Maddr(at))) {
            return ((at - start) / ENTRY) as u16;
        }
        at += ENTRY;
    }
}

/// The end of the last present entry below `end`; 0 if there is none.
#[inline(never)]
fn skip_down<M: GuestMemory>(memory: &M, table: Mfn, end: u16) -> u16 {
    let start = table.maddr().0;
    let mut at = start + ENTRY * u64::from(end);
    loop {
        if at.is_multiple_of(LINE) {
            while at > start && !has_present(memory.bits_in_line(Maddr(at - LINE))) {
                at -= LINE;
            }
        }
        if at <= start || has_present(memory.load64(Maddr(at - ENTRY))) {
            return ((at - start) / ENTRY) as u16;
        }
        at -= ENTRY;
    }
}

#[inline(always)]
fn is_present<M: GuestMemory>(memory: &M, table: Mfn, index: u16) -> bool {
    has_present(memory.load64(entry_address(table, index)))
}

/// Whether this entry, or one of several that these are all bits of, is present.
#[inline(always)]
const fn has_present(bits: u64) -> bool {
    bits & Pte::P != 0
}
