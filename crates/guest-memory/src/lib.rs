//! The one way to touch memory that guests can write.
//!
//! Guest memory never becomes a Rust reference: any byte may change between two reads. It is read and
//! written by value, atomically per word, either by machine address (the caller has proven by the frame
//! table whose frame it is) or by guest virtual address, where a fault is an error value.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "fake")]
extern crate std;

#[cfg(feature = "fake")]
mod fake;

#[cfg(feature = "fake")]
pub use fake::FakeMemory;
use ids::{Gva, Maddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// 64-bit words in a cache line.
pub const LINE_WORDS: usize = 8;
/// Cache lines that are looked at in one go.
pub const BLOCK_LINES: usize = 4;

/// A guest virtual address could not be read or written (the errno is `-EFAULT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault;

/// Machine memory and the current guest's address space.
///
/// Accesses by machine address panic (host) or fault fatally (machine) when the address is no RAM: the
/// caller holds a reference to the frame. They are atomic, naturally aligned, and ordered like x86 ones.
pub trait GuestMemory {
    /// Reads an aligned 64-bit word.
    fn load64(&self, at: Maddr) -> u64;
    /// All bits that are set in some word of an aligned cache line: each word is read atomically, the line not.
    fn bits_in_line(&self, at: Maddr) -> u64 {
        (0..LINE_WORDS as u64).fold(0, |all, i| all | self.load64(Maddr(at.0 + 8 * i)))
    }
    /// The same of [`BLOCK_LINES`] lines, aligned to as much.
    fn bits_in_block(&self, at: Maddr) -> u64 {
        let line = |i| self.bits_in_line(Maddr(at.0 + 8 * (LINE_WORDS * i) as u64));
        (0..BLOCK_LINES).fold(0, |all, i| all | line(i))
    }
    /// Writes an aligned 64-bit word.
    fn store64(&self, at: Maddr, value: u64);
    /// Compare-exchange on an aligned 64-bit word: `Ok(())`, or the value found.
    ///
    /// # Errors
    /// The word did not hold `old`.
    fn exchange64(&self, at: Maddr, old: u64, new: u64) -> Result<(), u64>;
    /// Compare-exchange on an aligned 32-bit word (FIFO event words).
    ///
    /// # Errors
    /// The word did not hold `old`.
    fn exchange32(&self, at: Maddr, old: u32, new: u32) -> Result<(), u32>;
    /// Reads an aligned 32-bit word.
    fn load32(&self, at: Maddr) -> u32;
    /// Writes an aligned 32-bit word.
    fn store32(&self, at: Maddr, value: u32);
    /// Reads one byte.
    fn load8(&self, at: Maddr) -> u8;
    /// Writes one byte.
    fn store8(&self, at: Maddr, value: u8);
    /// Fills a whole frame's worth of zeros at a frame-aligned address.
    fn clear_frame(&self, at: Maddr) {
        for offset in (0..ids::FRAME_SIZE).step_by(8) {
            self.store64(Maddr(at.0 + offset), 0);
        }
    }

    /// Sets bits of a 64-bit word atomically; returns the word before.
    fn or64(&self, at: Maddr, bits: u64) -> u64 {
        let mut old = self.load64(at);
        loop {
            match self.exchange64(at, old, old | bits) {
                Ok(()) => return old,
                Err(found) => old = found,
            }
        }
    }

    /// Clears bits of a 64-bit word atomically; returns the word before.
    fn and_not64(&self, at: Maddr, bits: u64) -> u64 {
        let mut old = self.load64(at);
        loop {
            match self.exchange64(at, old, old & !bits) {
                Ok(()) => return old,
                Err(found) => old = found,
            }
        }
    }

    /// Clears bits of a 32-bit word atomically.
    fn and_not32(&self, at: Maddr, bits: u32) {
        let mut old = self.load32(at);
        while let Err(found) = self.exchange32(at, old, old & !bits) {
            old = found;
        }
    }

    /// Copies `len` bytes from machine memory to machine memory, any alignment; each range lies in one frame.
    fn copy_machine(&self, from: Maddr, to: Maddr, len: u64) {
        let mut done = 0;
        while done < len {
            let (source, target) = (Maddr(from.0 + done), Maddr(to.0 + done));
            if (source.0 | target.0) % 8 == 0 && len - done >= 8 {
                self.store64(target, self.load64(source));
                done += 8;
            } else {
                self.store8(target, self.load8(source));
                done += 1;
            }
        }
    }

    /// Copies from the current guest's address space, as its kernel sees it.
    ///
    /// # Errors
    /// A byte is not mapped readable, or lies in the hypervisor's range.
    fn copy_in(&self, from: Gva, out: &mut [u8]) -> Result<(), Fault>;
    /// Copies to the current guest's address space, as its kernel sees it.
    ///
    /// # Errors
    /// A byte is not mapped writable, or lies in the hypervisor's range; bytes before it may be written.
    fn copy_out(&self, to: Gva, bytes: &[u8]) -> Result<(), Fault>;

    /// Copies one value in.
    ///
    /// # Errors
    /// As [`copy_in`](Self::copy_in).
    fn read<T: FromBytes + IntoBytes>(&self, from: Gva) -> Result<T, Fault>
    where
        Self: Sized,
    {
        let mut value = T::new_zeroed();
        self.copy_in(from, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies one value out.
    ///
    /// # Errors
    /// As [`copy_out`](Self::copy_out).
    fn write<T: IntoBytes + Immutable>(&self, to: Gva, value: &T) -> Result<(), Fault>
    where
        Self: Sized,
    {
        self.copy_out(to, value.as_bytes())
    }

    /// Copies bytes to machine memory, any alignment; the frames are adjacent.
    fn write_machine(&self, at: Maddr, bytes: &[u8]) {
        let head = (at.0.wrapping_neg() % 8) as usize;
        let (first, rest) = bytes.split_at(head.min(bytes.len()));
        for (i, byte) in first.iter().enumerate() {
            self.store8(Maddr(at.0 + i as u64), *byte);
        }
        let mut to = at.0 + first.len() as u64;
        let mut words = rest.chunks_exact(8);
        for word in words.by_ref() {
            let mut raw = [0; 8];
            raw.copy_from_slice(word);
            self.store64(Maddr(to), u64::from_le_bytes(raw));
            to += 8;
        }
        for (i, byte) in words.remainder().iter().enumerate() {
            self.store8(Maddr(to + i as u64), *byte);
        }
    }

    /// Copies one value in from machine memory (`at` 8-aligned, whole words).
    fn read_machine<T: FromBytes + IntoBytes>(&self, at: Maddr) -> T
    where
        Self: Sized,
    {
        let mut value = T::new_zeroed();
        for (i, chunk) in value.as_mut_bytes().chunks_mut(8).enumerate() {
            let word = self.load64(Maddr(at.0 + 8 * i as u64)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        value
    }
}
