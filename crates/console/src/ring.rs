//! The ring buffer behind `xl dmesg` (`XEN_SYSCTL_readconsole`, public/sysctl.h).
//!
//! Positions count bytes since the start, modulo 2^32. One writer at a time (the console lock); readers need no lock: a
//! byte overwritten while it was read is skipped afterwards.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};

/// The ring's words beside its cells. All-zero is the empty ring; survives a microreboot with the cells.
#[derive(Debug, Default)]
#[repr(C)]
pub struct State {
    /// Position after the newest byte.
    head: AtomicU32,
    /// Position after the byte being written: `head` or one more.
    claimed: AtomicU32,
    /// Position of the oldest byte not cleared.
    tail: AtomicU32,
    /// Position of the first byte not yet drained to the serial line.
    drained: AtomicU32,
}

impl State {
    /// The empty ring's.
    pub const fn new() -> Self {
        Self {
            head: AtomicU32::new(0),
            claimed: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            drained: AtomicU32::new(0),
        }
    }
}

/// Bytes the ring gets: what `conring_size=` asks for, else 16 KiB or, on machines with many CPUs, 512 bytes a CPU
/// doubled for each level that is always printed (`lower_threshold` of `loglvl=`); a power of two.
pub fn bytes_for(option: Option<u32>, cpus: u32, lower_threshold: u8) -> u32 {
    const LEAST: u32 = 16 << 10;
    const MOST: u32 = 1 << 30;
    let scaled = u64::from(cpus) << (9 + u32::from(lower_threshold.min(4)));
    let scaled = u32::try_from(scaled).unwrap_or(MOST);
    option.filter(|&size| size != 0).unwrap_or(scaled).clamp(LEAST, MOST).next_power_of_two()
}

/// What a reader gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Bytes copied.
    pub count: usize,
    /// Where to continue.
    pub index: u32,
}

/// The ring.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    cells: &'a [AtomicU8],
    state: &'a State,
}

impl<'a> Ring<'a> {
    /// An empty ring in `cells` and `state`, neither of which was used before: for a static.
    ///
    /// # Panics
    /// Panics if the number of cells is not a power of two up to 2^30.
    pub const fn empty(cells: &'a [AtomicU8], state: &'a State) -> Self {
        assert!(cells.len().is_power_of_two() && cells.len() <= 1 << 30, "ring size");
        Self { cells, state }
    }

    /// The ring in `cells` and `state`, empty or left by an earlier life. Positions no life can have left (a damaged
    /// word) are corrected: at worst old bytes are lost, or bytes never written are read as they are.
    ///
    /// # Panics
    /// As [`Self::empty`].
    pub fn attach(cells: &'a [AtomicU8], state: &'a State) -> Self {
        let ring = Self::empty(cells, state);
        let head = state.head.load(Ordering::Relaxed);
        state.claimed.store(head, Ordering::Relaxed);
        for word in [&state.tail, &state.drained] {
            if ring.distance(word.load(Ordering::Relaxed), head) > ring.size() {
                word.store(head.wrapping_sub(ring.size()), Ordering::Relaxed);
            }
        }
        ring
    }

    /// Appends bytes; the oldest make room.
    pub fn push(&self, bytes: &[u8]) {
        for &byte in bytes {
            let head = self.state.head.load(Ordering::Relaxed);
            let next = head.wrapping_add(1);
            self.state.claimed.store(next, Ordering::Relaxed);
            if self.distance(self.state.tail.load(Ordering::Relaxed), next) > self.size() {
                self.state.tail.store(next.wrapping_sub(self.size()), Ordering::Relaxed);
            }
            // Pairs with the acquire fence in `copy`: who reads the new byte sees the claim.
            fence(Ordering::Release);
            self.cell(head).store(byte, Ordering::Relaxed);
            // Pairs with the acquire loads of readers: what is below head was written.
            self.state.head.store(next, Ordering::Release);
        }
    }

    /// Where a reader begins who was told to go on at `from`, or was told nothing: there if those bytes are still here,
    /// else with the oldest one.
    pub fn start(&self, from: Option<u32>) -> u32 {
        let (tail, head) = self.bounds();
        from.filter(|from| self.distance(tail, *from) <= self.distance(tail, head)).unwrap_or(tail)
    }

    /// Copies bytes from position `index` on, from a later one if those were overwritten.
    pub fn copy(&self, index: u32, buffer: &mut [u8]) -> Answer {
        let mut from = index;
        loop {
            let head = self.state.head.load(Ordering::Acquire);
            let available = self.distance(from, head);
            if available > self.size() {
                from = head.wrapping_sub(self.size());
                continue;
            }
            let count = buffer.len().min(usize::try_from(available).unwrap_or(usize::MAX));
            let mut at = from;
            for byte in &mut buffer[..count] {
                *byte = self.cell(at).load(Ordering::Relaxed);
                at = at.wrapping_add(1);
            }
            // Pairs with the release fence in `push`.
            fence(Ordering::Acquire);
            let claimed = self.state.claimed.load(Ordering::Relaxed);
            if self.distance(from, claimed) <= self.size() {
                return Answer { count, index: at };
            }
            from = claimed.wrapping_sub(self.size());
        }
    }

    /// Forgets what is before position `index`. Like [`Self::push`], under the console lock.
    pub fn clear_to(&self, index: u32) {
        let (tail, head) = self.bounds();
        if self.distance(tail, index) <= self.distance(tail, head) {
            self.state.tail.store(index, Ordering::Relaxed);
        }
    }

    /// Bytes that were not drained yet.
    pub fn undrained(&self) -> u32 {
        let head = self.state.head.load(Ordering::Acquire);
        self.distance(self.state.drained.load(Ordering::Relaxed), head).min(self.size())
    }

    /// Takes bytes for the serial line, oldest first; one drainer at a time.
    pub fn drain(&self, buffer: &mut [u8]) -> usize {
        let answer = self.copy(self.state.drained.load(Ordering::Relaxed), buffer);
        self.state.drained.store(answer.index, Ordering::Relaxed);
        answer.count
    }

    /// Counts everything as drained: it went to the serial line directly.
    pub fn set_drained(&self) {
        self.state.drained.store(self.state.head.load(Ordering::Acquire), Ordering::Relaxed);
    }

    fn bounds(&self) -> (u32, u32) {
        let head = self.state.head.load(Ordering::Acquire);
        let tail = self.state.tail.load(Ordering::Relaxed);
        // The tail may have moved past the head read just before.
        if self.distance(tail, head) > self.size() { (head, head) } else { (tail, head) }
    }

    fn cell(&self, position: u32) -> &AtomicU8 {
        &self.cells[position as usize & (self.cells.len() - 1)]
    }

    fn size(&self) -> u32 {
        u32::try_from(self.cells.len()).unwrap_or(u32::MAX)
    }

    fn distance(&self, from: u32, to: u32) -> u32 {
        to.wrapping_sub(from)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn cells(count: usize) -> Vec<AtomicU8> {
        (0..count).map(|_| AtomicU8::new(0)).collect()
    }

    fn read(ring: &Ring<'_>, from: Option<u32>, len: usize) -> (Vec<u8>, u32) {
        let mut buffer = vec![0; len];
        let answer = ring.copy(ring.start(from), &mut buffer);
        buffer.truncate(answer.count);
        (buffer, answer.index)
    }

    proptest! {
        /// Against a list of all bytes ever written, with positions that wrap around 2^32.
        #[test]
        fn reads_like_the_list_of_all_bytes(
            steps in prop::collection::vec((0..4_u8, 0..40_usize, any::<bool>()), 0..60),
            origin in prop::sample::select(vec![0_u32, u32::MAX - 50]),
        ) {
            let (cells, state) = (cells(16), State::default());
            for word in [&state.head, &state.tail, &state.drained] {
                word.store(origin, Ordering::Relaxed);
            }
            let ring = Ring::attach(&cells, &state);
            let (mut all, mut cleared, mut last, mut drained) = (Vec::new(), 0, 0, 0);
            for (step, len, flag) in steps {
                let oldest = all.len().saturating_sub(16);
                let tail = oldest.max(cleared);
                match step {
                    0 => {
                        let text: Vec<u8> = (0..len).map(|n| (all.len() + n) as u8).collect();
                        ring.push(&text);
                        all.extend(text);
                    }
                    1 | 2 => {
                        let incremental = step == 2;
                        let index = origin.wrapping_add(last as u32);
                        let (bytes, next) = read(&ring, incremental.then_some(index), len);
                        let start = if incremental && last >= tail { last } else { tail };
                        let end = all.len().min(start + len);
                        prop_assert_eq!(&bytes, &all[start..end]);
                        prop_assert_eq!(next, origin.wrapping_add(end as u32));
                        last = end;
                        if flag {
                            ring.clear_to(next);
                            cleared = end;
                        }
                    }
                    _ => {
                        let mut buffer = vec![0; len];
                        let count = ring.drain(&mut buffer);
                        let start = oldest.max(drained);
                        let end = all.len().min(start + len);
                        prop_assert_eq!(&buffer[..count], &all[start..end]);
                        drained = end;
                        prop_assert_eq!(ring.undrained() as usize, all.len() - end);
                    }
                }
            }
        }
    }

    #[test]
    fn a_ring_survives_and_damage_is_bounded() {
        let (cells, state) = (cells(16), State::default());
        Ring::attach(&cells, &state).push(b"before");
        let ring = Ring::attach(&cells, &state);
        ring.push(b" after");
        assert_eq!(read(&ring, None, 99).0, b"before after");
        state.tail.store(0x1234_5678, Ordering::Relaxed);
        let ring = Ring::attach(&cells, &state);
        assert_eq!(read(&ring, None, 99).0.len(), 16);
        let foreign = Some(0xdead_beef);
        assert_eq!(read(&ring, foreign, 99).0.len(), 16);
    }

    #[test]
    fn readers_beside_a_writer_see_runs_of_what_was_written() {
        let (cells, state) = (cells(64), State::default());
        let ring = Ring::attach(&cells, &state);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..200_000_u32).for_each(|n| ring.push(&[n as u8])));
            let mut buffer = [0; 48];
            while state.head.load(Ordering::Relaxed) < 200_000 {
                let oldest = state.head.load(Ordering::Relaxed).saturating_sub(64);
                let answer = ring.copy(oldest, &mut buffer);
                let first = answer.index.wrapping_sub(answer.count as u32);
                for (offset, byte) in buffer[..answer.count].iter().enumerate() {
                    assert_eq!(*byte, first.wrapping_add(offset as u32) as u8);
                }
            }
        });
    }

    #[test]
    fn sizes_follow_option_cpus_and_level() {
        assert_eq!(bytes_for(None, 1, 2), 16 << 10);
        assert_eq!(bytes_for(None, 64, 4), 512 << 10);
        assert_eq!(bytes_for(Some(100_000), 1, 2), 128 << 10);
        assert_eq!(bytes_for(Some(1), 1, 2), 16 << 10);
        assert_eq!(bytes_for(None, u32::MAX, 4), 1 << 30);
    }
}
