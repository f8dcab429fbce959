//! What a CPU did last: a ring of the entries that it handled.
//!
//! State class: kept aside. The hypervisor puts each CPU's ring into that CPU's data page, which no image copy holds,
//! so that the life after a failure can show it. Nothing is ever derived from it, and only its CPU writes it: with
//! plain stores, seven instructions an entry. System calls of processes and their returns are carried out in assembly and
//! leave no trace.
#![no_std]
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// Entries that a ring holds.
pub const ENTRIES: usize = 128;

/// A CPU's ring; valid when it is zero.
#[derive(Debug)]
#[repr(C)]
pub struct Ring {
    /// Entries ever noted.
    noted: AtomicU64,
    entries: [[AtomicU64; 2]; ENTRIES],
}

/// In an entry's first word: code in the low half, then the vector.
const VECTOR: u32 = 32;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its vector, as in the guest's frame: below 256 the processor's, 256 a system call or hypercall.
    pub vector: u16,
    /// The error code, or the number of the system call or hypercall.
    pub code: u32,
    /// Where the guest was.
    pub rip: u64,
}

impl Default for Ring {
    fn default() -> Self {
        Ring { noted: AtomicU64::new(0), entries: [const { [const { AtomicU64::new(0) }; 2] }; ENTRIES] }
    }
}

impl Ring {
    /// An entry begins.
    #[inline(always)]
    pub fn entry(&self, vector: u16, code: u32, rip: u64) {
        let noted = self.noted.load(Ordering::Relaxed);
        let [what, place] = &self.entries[noted as usize % ENTRIES];
        what.store(u64::from(vector) << VECTOR | u64::from(code), Ordering::Relaxed);
        place.store(rip, Ordering::Relaxed);
        self.noted.store(noted.wrapping_add(1), Ordering::Relaxed);
    }

    /// The last entries, at most `most`, the newest first.
    pub fn last(&self, most: usize) -> impl Iterator<Item = Entry> {
        let noted = self.noted.load(Ordering::Relaxed);
        let kept = noted.min(ENTRIES as u64).min(most as u64);
        (1..=kept).map(move |back| {
            let entry = &self.entries[noted.wrapping_sub(back) as usize % ENTRIES];
            Entry::of_words(entry.each_ref().map(|word| word.load(Ordering::Relaxed)))
        })
    }
}

impl Entry {
    /// The two words that keep an entry.
    pub const fn words(&self) -> [u64; 2] {
        [(self.vector as u64) << VECTOR | self.code as u64, self.rip]
    }

    /// The entry that two words keep.
    pub const fn of_words([what, rip]: [u64; 2]) -> Entry {
        Entry { vector: (what >> VECTOR) as u16, code: what as u32, rip }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { vector, code, rip } = self;
        match vector {
            0..32 => write!(f, "exception {vector} ({code:#x}) at {rip:016x}"),
            32..256 => write!(f, "interrupt {vector:#x} at {rip:016x}"),
            256 => write!(f, "call {code} from {rip:016x}"),
            _ => write!(f, "entry {vector} ({code:#x}) at {rip:016x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn the_newest_come_first_and_the_oldest_go() {
        let ring = Ring::default();
        assert_eq!(ring.last(9).count(), 0);
        for code in 0..ENTRIES as u32 + 5 {
            ring.entry(256, code, 0x1000);
        }
        let last: Vec<Entry> = ring.last(2).collect();
        assert_eq!(last[0], Entry { vector: 256, code: ENTRIES as u32 + 4, rip: 0x1000 });
        assert_eq!(Entry::of_words(last[0].words()), last[0]);
        assert_eq!(last[1].code, ENTRIES as u32 + 3);
        assert_eq!(ring.last(1000).count(), ENTRIES);
    }

    #[test]
    fn entries_say_what_they_were() {
        let entry = |vector, code| Entry { vector, code, rip: 0xffff }.to_string();
        assert_eq!(entry(14, 6), "exception 14 (0x6) at 000000000000ffff");
        assert_eq!(entry(0xf0, 0), "interrupt 0xf0 at 000000000000ffff");
        assert_eq!(entry(256, 1), "call 1 from 000000000000ffff");
    }
}
