//! Finding the present entries of a table, most of which are absent.

use crate::Pte;
use crate::work::{ENTRIES, entry_address};
use guest_memory::{BLOCK_LINES, GuestMemory, LINE_WORDS};
use ids::{Maddr, Mfn};

/// Bytes of an entry.
const ENTRY: u64 = 8;
/// Bytes of a table.
const TABLE: u64 = ENTRY * ENTRIES as u64;
/// Bytes of a cache line.
const LINE: u64 = ENTRY * LINE_WORDS as u64;
/// Bytes looked at in one go, where a table is empty.
const BLOCK: u64 = LINE * BLOCK_LINES as u64;

/// The first present entry of `table` from `from` on.
#[inline(always)]
pub(crate) fn next_present<M: GuestMemory>(memory: &M, table: Mfn, from: u16) -> Option<(u16, Pte)> {
    if from >= ENTRIES {
        return None;
    }
    let pte = entry(memory, table, from);
    if pte.is_present() {
        return Some((from, pte));
    }
    let index = skip_up(memory, table, from);
    (index < ENTRIES).then(|| (index, entry(memory, table, index)))
}

/// The last present entry of `table` below `end`.
#[inline(always)]
pub(crate) fn previous_present<M: GuestMemory>(memory: &M, table: Mfn, end: u16) -> Option<(u16, Pte)> {
    let last = end.checked_sub(1)?;
    let pte = entry(memory, table, last);
    if pte.is_present() {
        return Some((last, pte));
    }
    let index = skip_down(memory, table, end).checked_sub(1)?;
    Some((index, entry(memory, table, index)))
}

/// The cache lines of a table that may have present entries, a bit each.
#[derive(Clone, Copy)]
pub(crate) struct Lines(pub(crate) u64);

impl Lines {
    pub(crate) const NONE: Self = Self(0);

    /// With that of an entry.
    #[inline(always)]
    pub(crate) const fn with(self, index: u16) -> Self {
        Self(self.0 | 1 << (index / LINE_WORDS as u16 % 64))
    }

    /// The last present entry of `table` below `end`, if these are the lines that have some.
    #[inline(always)]
    pub(crate) fn previous_present<M: GuestMemory>(
        self,
        memory: &M,
        table: Mfn,
        end: u16,
    ) -> Option<(u16, Pte)> {
        let mut left = end;
        loop {
            if left.is_multiple_of(LINE_WORDS as u16) {
                left = self.end_below(left)?;
            }
            left = left.wrapping_sub(1);
            let pte = entry(memory, table, left);
            if pte.is_present() {
                return Some((left, pte));
            }
        }
    }

    /// The end of the last of these lines that ends at `end` or below; it is a line's.
    #[inline(always)]
    const fn end_below(self, end: u16) -> Option<u16> {
        let lines = end / LINE_WORDS as u16;
        // Those below `end`, from the top.
        let below = if lines == 0 { 0 } else { self.0 << (64 - lines) };
        if below == 0 { None } else { Some((lines - below.leading_zeros() as u16) * LINE_WORDS as u16) }
    }
}

#[inline(never)]
fn skip_up<M: GuestMemory>(memory: &M, table: Mfn, from: u16) -> u16 {
    let start = table.maddr().0;
    let (mut at, end) = (start.wrapping_add(ENTRY * u64::from(from)), start.wrapping_add(TABLE));
    while at < end {
        if at.is_multiple_of(BLOCK) && !has_present(memory.bits_in_block(Maddr(at))) {
            at = at.wrapping_add(BLOCK);
        } else if at.is_multiple_of(LINE) && !has_present(memory.bits_in_line(Maddr(at))) {
            at = at.wrapping_add(LINE);
        } else {
            let behind = (at | (LINE - 1)).wrapping_add(1);
            while at < behind {
                if has_present(memory.load64(Maddr(at))) {
                    return (at.wrapping_sub(start) / ENTRY) as u16;
                }
                at = at.wrapping_add(ENTRY);
            }
        }
    }
    ENTRIES
}

/// The end of the last present entry below `end`; 0 if there is none.
#[inline(never)]
fn skip_down<M: GuestMemory>(memory: &M, table: Mfn, end: u16) -> u16 {
    let start = table.maddr().0;
    let mut at = start.wrapping_add(ENTRY * u64::from(end));
    while at > start {
        if at.is_multiple_of(BLOCK) && !has_present(memory.bits_in_block(Maddr(at.wrapping_sub(BLOCK)))) {
            at = at.wrapping_sub(BLOCK);
        } else if at.is_multiple_of(LINE) && !has_present(memory.bits_in_line(Maddr(at.wrapping_sub(LINE)))) {
            at = at.wrapping_sub(LINE);
        } else {
            let before = at.wrapping_sub(1) & !(LINE - 1);
            while at > before {
                if has_present(memory.load64(Maddr(at.wrapping_sub(ENTRY)))) {
                    return (at.wrapping_sub(start) / ENTRY) as u16;
                }
                at = at.wrapping_sub(ENTRY);
            }
        }
    }
    0
}

#[inline(always)]
fn entry<M: GuestMemory>(memory: &M, table: Mfn, index: u16) -> Pte {
    Pte(memory.load64(entry_address(table, index)))
}

/// Whether this entry, or one of several that these are all bits of, is present.
#[inline(always)]
const fn has_present(bits: u64) -> bool {
    bits & Pte::P != 0
}

#[cfg(test)]
mod tests {
    use super::{Lines, next_present, previous_present};
    use guest_memory::{FakeMemory, GuestMemory};
    use ids::{Maddr, Mfn};
    use std::vec::Vec;

    const TABLE: Mfn = Mfn(1);

    /// Tables with these entries present; an absent one may have other bits.
    fn table(present: &[u16]) -> FakeMemory {
        let memory = FakeMemory::new(2);
        for index in 0..512 {
            let bits = u64::from(present.contains(&index)) | u64::from(index % 5) << 1;
            memory.store64(Maddr(TABLE.maddr().0 + 8 * u64::from(index)), bits);
        }
        memory
    }

    #[test]
    fn each_present_entry_is_found_from_both_ends_and_by_its_line() {
        let dense: Vec<u16> = (0..512).collect();
        let sparse: Vec<u16> = (0..512).filter(|index| index * 7 % 61 == 3).collect();
        let edges = [0, 7, 8, 31, 32, 33, 255, 256, 272, 480, 511];
        for present in [&[][..], &[0], &[511], &[300], &edges, &sparse, &dense] {
            let memory = table(present);
            let lines = present.iter().fold(Lines::NONE, |lines, index| lines.with(*index));
            for at in 0..=512 {
                let above = present.iter().copied().find(|index| *index >= at);
                let below = present.iter().copied().rfind(|index| *index < at);
                assert_eq!(next_present(&memory, TABLE, at).map(|found| found.0), above, "from {at}");
                assert_eq!(previous_present(&memory, TABLE, at).map(|found| found.0), below, "below {at}");
                let by_lines = lines.previous_present(&memory, TABLE, at);
                assert_eq!(by_lines.map(|found| found.0), below, "below {at}, by lines");
            }
        }
    }
}
