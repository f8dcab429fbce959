//! Buffers for hypercall arguments in the guest's memory.

use crate::entry::Write;
use crate::kernel::{BUFFER_BYTES, buffers};
use crate::random::Random;

/// Buffers in a hundred that cannot be used.
const BAD: u64 = 2;

/// Hands out buffers of one entry.
#[derive(Debug)]
pub(crate) struct Args {
    base: u64,
    next: u64,
    /// Where the play pages' L1 is mapped read-only.
    read_only: u64,
    pub(crate) writes: Vec<Write>,
}

impl Args {
    pub(crate) fn new(vcpu: u32, read_only: u64, r: &mut Random) -> Self {
        // Instructions have the first page.
        Self { base: buffers(vcpu) + 0x1000, next: r.below(512) * 8, read_only, writes: Vec::new() }
    }

    /// A buffer of `len` bytes; now and then one that cannot be used.
    pub(crate) fn room(&mut self, r: &mut Random, len: usize) -> u64 {
        if r.chance(BAD) {
            return r.pick(&[
                0,
                0x1000,
                self.read_only + 0x800,
                0xffff_8000_0000_1000,
                u64::MAX - 7,
                1 << 47,
            ]);
        }
        let len = (len as u64).next_multiple_of(8);
        if self.next + len > BUFFER_BYTES - 0x1000 {
            self.next = 0;
        }
        self.next += len;
        self.base + self.next - len
    }

    /// A buffer with these bytes.
    pub(crate) fn bytes(&mut self, r: &mut Random, bytes: &[u8]) -> u64 {
        let at = self.room(r, bytes.len());
        self.writes.push(Write::Virtual(at, bytes.to_vec()));
        at
    }

    /// A buffer with these words.
    pub(crate) fn words(&mut self, r: &mut Random, words: &[u64]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.bytes(r, &bytes)
    }

    /// A buffer with these 32-bit words.
    pub(crate) fn halves(&mut self, r: &mut Random, halves: &[u32]) -> u64 {
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        self.bytes(r, &bytes)
    }
}
