//! Finding the present entries of a table, most of which are absent.

use crate::Pte;
use crate::work::{ENTRIES, entry_address};
use guest_memory::{GuestMemory, LINE_WORDS};
use ids::Mfn;

/// Entries looked at in one go.
const LINE: u16 = LINE_WORDS as u16;

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
    let mut index = from;
    while index < ENTRIES {
        if index.is_multiple_of(LINE) && is_absent_line(memory, table, index) {
            index += LINE;
        } else if is_present(memory, table, index) {
            break;
        } else {
            index += 1;
        }
    }
    index
}

/// The end of the last present entry below `end`; 0 if there is none.
#[inline(never)]
fn skip_down<M: GuestMemory>(memory: &M, table: Mfn, end: u16) -> u16 {
    let mut end = end;
    while end > 0 {
        if end.is_multiple_of(LINE) && is_absent_line(memory, table, end - LINE) {
            end -= LINE;
        } else if is_present(memory, table, end - 1) {
            break;
        } else {
            end -= 1;
        }
    }
    end
}

#[inline(always)]
fn is_present<M: GuestMemory>(memory: &M, table: Mfn, index: u16) -> bool {
    Pte(memory.load64(entry_address(table, index))).is_present()
}

/// Whether none of the entries of a cache line from `index` on is present.
#[inline(always)]
fn is_absent_line<M: GuestMemory>(memory: &M, table: Mfn, index: u16) -> bool {
    let line = memory.load_line(entry_address(table, index));
    line.iter().fold(0, |all, entry| all | entry) & Pte::P == 0
}
