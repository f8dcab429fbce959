//! Machine memory for host tests: a vector of words, and an identity "address space" for guest addresses
//! unless a translation is set.

use crate::{Fault, GuestMemory};
use core::sync::atomic::{AtomicU64, Ordering};
use ids::{Gva, Maddr};
use std::boxed::Box;
use std::vec::Vec;

type Translate = Box<dyn Fn(Gva, bool) -> Option<Maddr> + Send + Sync>;

/// `frames` frames of zeroed memory from machine address 0.
pub struct FakeMemory {
    words: Vec<AtomicU64>,
    translate: Translate,
}

impl core::fmt::Debug for FakeMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "FakeMemory({} words)", self.words.len())
    }
}

impl FakeMemory {
    /// Zeroed memory; guest addresses are machine addresses.
    pub fn new(frames: usize) -> Self {
        let bytes = frames as u64 * ids::FRAME_SIZE;
        Self {
            words: (0..frames * 512).map(|_| AtomicU64::new(0)).collect(),
            translate: Box::new(move |gva, _| (gva.0 < bytes).then_some(Maddr(gva.0))),
        }
    }

    /// Sets how guest addresses are translated: (address, for writing) to machine address.
    pub fn translate_by(&mut self, f: impl Fn(Gva, bool) -> Option<Maddr> + Send + Sync + 'static) {
        self.translate = Box::new(f);
    }

    fn word(&self, at: Maddr) -> &AtomicU64 {
        &self.words[usize::try_from(at.0 / 8).expect("a host address")]
    }

    fn update(&self, at: Maddr, width: u64, value: u64) {
        let shift = at.0 % 8 * 8;
        let mask = (u64::MAX >> (64 - 8 * width)) << shift;
        let word = self.word(at);
        let mut old = word.load(Ordering::SeqCst);
        loop {
            let new = old & !mask | value << shift & mask;
            match word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return,
                Err(found) => old = found,
            }
        }
    }
}

impl GuestMemory for FakeMemory {
    fn load64(&self, at: Maddr) -> u64 {
        assert_eq!(at.0 % 8, 0, "aligned");
        self.word(at).load(Ordering::Acquire)
    }
    fn store64(&self, at: Maddr, value: u64) {
        assert_eq!(at.0 % 8, 0, "aligned");
        self.word(at).store(value, Ordering::Release);
    }
    fn exchange64(&self, at: Maddr, old: u64, new: u64) -> Result<(), u64> {
        self.word(at).compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).map(drop)
    }
    fn exchange32(&self, at: Maddr, old: u32, new: u32) -> Result<(), u32> {
        let shift = at.0 % 8 * 8;
        let mask = 0xffff_ffff << shift;
        let word = self.word(at);
        let mut current = word.load(Ordering::SeqCst);
        loop {
            if (current >> shift) as u32 != old {
                return Err((current >> shift) as u32);
            }
            let next = current & !mask | u64::from(new) << shift;
            match word.compare_exchange(current, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Ok(()),
                Err(found) => current = found,
            }
        }
    }
    fn load32(&self, at: Maddr) -> u32 {
        assert_eq!(at.0 % 4, 0, "aligned");
        (self.word(at).load(Ordering::SeqCst) >> (at.0 % 8 * 8)) as u32
    }
    fn store32(&self, at: Maddr, value: u32) {
        assert_eq!(at.0 % 4, 0, "aligned");
        self.update(at, 4, value.into());
    }
    fn load8(&self, at: Maddr) -> u8 {
        (self.word(at).load(Ordering::SeqCst) >> (at.0 % 8 * 8)) as u8
    }
    fn store8(&self, at: Maddr, value: u8) {
        self.update(at, 1, value.into());
    }
    fn copy_in(&self, from: Gva, out: &mut [u8]) -> Result<(), Fault> {
        for (i, byte) in out.iter_mut().enumerate() {
            let gva = Gva(from.0.checked_add(i as u64).ok_or(Fault)?);
            *byte = self.load8((self.translate)(gva, false).ok_or(Fault)?);
        }
        Ok(())
    }
    fn copy_out(&self, to: Gva, bytes: &[u8]) -> Result<(), Fault> {
        for (i, byte) in bytes.iter().enumerate() {
            let gva = Gva(to.0.checked_add(i as u64).ok_or(Fault)?);
            self.store8((self.translate)(gva, true).ok_or(Fault)?, *byte);
        }
        Ok(())
    }
}
