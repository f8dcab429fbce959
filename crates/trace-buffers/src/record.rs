//! What a record says.

use xen_abi::hypercall;
use xen_abi::trace::{
    TRACE_EXTRA_MAX, TRACE_EXTRA_SHIFT, TRC_HD_CYCLE_FLAG, TRC_PV_HYPERCALL_SUBCALL, TRC_PV_HYPERCALL_V2,
};

/// Words of the longest record: head, time, and its own.
pub(crate) const MOST_WORDS: usize = 3 + TRACE_EXTRA_MAX as usize;

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    words: [u32; MOST_WORDS],
    length: usize,
}

impl Record {
    /// Of an event, with its time (the TSC), if it has one, and up to seven words; what is beyond is left out.
    pub fn new(event: u32, time: Option<u64>, words: &[u32]) -> Self {
        let own = &words[..words.len().min(TRACE_EXTRA_MAX as usize)];
        let mut record = Self { words: [0; MOST_WORDS], length: 0 };
        let timed = if time.is_some() { TRC_HD_CYCLE_FLAG } else { 0 };
        record.push(event | (own.len() as u32) << TRACE_EXTRA_SHIFT | timed);
        for word in time.map(halves).iter().flatten().chain(own) {
            record.push(*word);
        }
        record
    }

    fn push(&mut self, word: u32) {
        if let Some(place) = self.words.get_mut(self.length) {
            *place = word;
            self.length += 1;
        }
    }

    /// Its words.
    pub fn words(&self) -> &[u32] {
        &self.words[..self.length]
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> u32 {
        4 * self.length as u32
    }

    /// The event.
    pub(crate) fn event(&self) -> u32 {
        self.words[0] & ((1 << TRACE_EXTRA_SHIFT) - 1)
    }
}

/// A 64-bit word's halves, the low one first.
pub(crate) const fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// 64-bit words as 32-bit ones.
pub fn packed<const N: usize>(words: [u64; N]) -> impl Iterator<Item = u32> {
    words.into_iter().flat_map(halves)
}

/// What is told of a hypercall, alone or one of a multicall: event, words and how many. Of its arguments only those are
/// told that say how much it does, or what: each has two bits of the first word.
pub fn hypercall(number: u64, arguments: &[u64], in_multicall: bool) -> (u32, [u32; 3], usize) {
    let told: &[usize] = match number {
        hypercall::MMU_UPDATE | hypercall::MULTICALL | hypercall::MMUEXT_OP => &[1],
        hypercall::GRANT_TABLE_OP => &[0, 2],
        hypercall::VCPU_OP => &[0, 1],
        hypercall::SCHED_OP => &[0],
        _ => &[],
    };
    let mut words = [number as u32 & 0xf_ffff, 0, 0];
    let mut length = 1;
    for index in told {
        words[0] |= 1 << (20 + 2 * index);
        words[length] = arguments.get(*index).copied().unwrap_or(0) as u32;
        length += 1;
    }
    (if in_multicall { TRC_PV_HYPERCALL_SUBCALL } else { TRC_PV_HYPERCALL_V2 }, words, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_say_how_long_records_are() {
        assert_eq!(Record::new(5, None, &[]).words(), [5]);
        assert_eq!(Record::new(5, Some(1 << 32 | 2), &[7]).words(), [0x9000_0005, 2, 1, 7]);
        let long = Record::new(5, Some(0), &[1; 9]);
        assert_eq!((long.words().len(), long.words()[0], long.event()), (10, 0xf000_0005, 5));
    }

    #[test]
    fn hypercalls_tell_what_counts() {
        let (event, words, length) = hypercall(hypercall::GRANT_TABLE_OP, &[6, 0x1000, 3], false);
        assert_eq!((event, &words[..length]), (TRC_PV_HYPERCALL_V2, &[20 | 1 << 20 | 1 << 24, 6, 3][..]));
        let (event, words, length) = hypercall(hypercall::XEN_VERSION, &[6], true);
        assert_eq!((event, &words[..length]), (TRC_PV_HYPERCALL_SUBCALL, &[17][..]));
    }
}
