//! Machine memory: words by machine address, frames that changed since a base can be put back or compared.

use crate::shared::Shared;
use crate::steps::step;
use crate::tlb::GLOBAL;
use guest_memory::{Fault, GuestMemory};
use ids::{Gva, Maddr, Mfn};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

const WORDS: usize = 512;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const USER: u64 = 4;
/// A guest may not name addresses from here...
const LOWER_END: u64 = 0x0000_8000_0000_0000;
/// ...to here.
const UPPER_START: u64 = 0xffff_8800_0000_0000;

/// Frames that differ from the base, by number.
pub(crate) type Changed = BTreeMap<u32, Box<[u64]>>;

/// RAM from machine address 0.
pub struct Memory {
    words: Vec<AtomicU64>,
    base: Shared<Vec<u64>>,
    dirty: Shared<Vec<u32>>,
    is_dirty: Vec<AtomicBool>,
}

impl core::fmt::Debug for Memory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Memory({} frames)", self.is_dirty.len())
    }
}

impl Memory {
    /// `frames` frames, each word with something in it.
    pub fn new(frames: usize) -> Self {
        let dirt = |i: usize| 0xd1d1_0000_0000_d1d0 ^ (i as u64) << 20;
        Self {
            words: (0..frames * WORDS).map(|i| AtomicU64::new(dirt(i))).collect(),
            base: Shared::new((0..frames * WORDS).map(dirt).collect()),
            dirty: Shared::default(),
            is_dirty: (0..frames).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// A word. An address that is no RAM is a bug of whoever names it.
    pub fn get(&self, at: Maddr) -> u64 {
        self.words[at.0 as usize / 8].load(Relaxed)
    }

    /// Writes a word, whatever happens.
    pub fn put(&self, at: Maddr, value: u64) {
        let index = at.0 as usize / 8;
        let frame = index / WORDS;
        if !self.is_dirty[frame].swap(true, Relaxed) {
            self.dirty.borrow_mut().push(frame as u32);
        }
        self.words[index].store(value, Relaxed);
    }

    /// Writes `width` bytes within a word.
    pub fn put_part(&self, at: Maddr, width: u64, value: u64) {
        let shift = at.0 % 8 * 8;
        let mask = (u64::MAX >> (64 - 8 * width)) << shift;
        let word = Maddr(at.0 & !7);
        self.put(word, self.get(word) & !mask | value << shift & mask);
    }

    /// Makes what there is now the base.
    pub fn set_base(&self) {
        let mut base = self.base.borrow_mut();
        for frame in std::mem::take(&mut *self.dirty.borrow_mut()) {
            for index in frame as usize * WORDS..(frame as usize + 1) * WORDS {
                base[index] = self.words[index].load(Relaxed);
            }
            self.is_dirty[frame as usize].store(false, Relaxed);
        }
    }

    /// Puts the base back.
    pub fn restore(&self) {
        let base = self.base.borrow();
        for frame in std::mem::take(&mut *self.dirty.borrow_mut()) {
            for index in frame as usize * WORDS..(frame as usize + 1) * WORDS {
                self.words[index].store(base[index], Relaxed);
            }
            self.is_dirty[frame as usize].store(false, Relaxed);
        }
    }

    /// What was written since the base.
    pub fn changed(&self) -> Changed {
        let content = |frame: u32| {
            let first = frame as usize * WORDS;
            self.words[first..first + WORDS].iter().map(|word| word.load(Relaxed)).collect()
        };
        self.dirty.borrow().iter().map(|frame| (*frame, content(*frame))).collect()
    }

    /// Writes what [`changed`](Self::changed) said.
    pub fn apply(&self, changed: &Changed) {
        for (frame, words) in changed {
            for (index, word) in words.iter().enumerate() {
                self.put(Maddr(u64::from(*frame) * 4096 + 8 * index as u64), *word);
            }
        }
    }

    /// Words that differ from base and `other`: address, here, there.
    pub fn differences(&self, other: &Changed, mut found: impl FnMut(Maddr, u64, u64)) {
        let base = self.base.borrow();
        let mut compare = |frame: u32| {
            let first = frame as usize * WORDS;
            for index in 0..WORDS {
                let here = self.words[first + index].load(Relaxed);
                let there = other.get(&frame).map_or(base[first + index], |words| words[index]);
                if here != there {
                    found(Maddr(8 * (first + index) as u64), here, there);
                }
            }
        };
        self.dirty.borrow().iter().for_each(|frame| compare(*frame));
        other
            .keys()
            .filter(|frame| !self.is_dirty[**frame as usize].load(Relaxed))
            .for_each(|frame| compare(*frame));
    }

    /// The leaf entry for a guest address under a root: as the processor finds it.
    pub fn leaf(&self, root: Mfn, va: u64) -> Option<(Maddr, u64)> {
        let mut table = root.0;
        let mut flags = WRITE | USER;
        for level in (1..=4).rev() {
            let at = Maddr(table * 4096 + (va >> (12 + 9 * (level - 1)) & 0x1ff) * 8);
            let entry = self.get(at);
            if entry & PRESENT == 0 {
                return None;
            }
            flags &= entry;
            if level == 1 {
                return Some((at, entry & !(WRITE | USER) | flags));
            }
            table = (entry & ADDRESS) / 4096;
        }
        None
    }

    /// Calls `f` with all that a guest reaches from a root: level (0: a page), address, frame, flags of pages.
    pub(crate) fn walk_all(&self, root: Mfn, f: &mut impl FnMut(u32, u64, u64, u64)) {
        self.walk_table(root.0, 4, 0, WRITE | USER, f);
    }

    fn walk_table(
        &self,
        table: u64,
        level: u32,
        va: u64,
        rights: u64,
        f: &mut impl FnMut(u32, u64, u64, u64),
    ) {
        let own = |index: usize| level == 4 && (256..272).contains(&index);
        let Some(words) = self.words.get(table as usize * WORDS..(table as usize + 1) * WORDS) else {
            return;
        };
        for (index, word) in words.iter().enumerate().filter(|(index, _)| !own(*index)) {
            let entry = word.load(Relaxed);
            let (next, rights) = ((entry & ADDRESS) / 4096, rights & entry);
            if entry & PRESENT == 0 || rights & USER == 0 {
                continue;
            }
            let va = va | (index as u64) << (12 + 9 * (level - 1));
            let va = if level == 4 && index > 255 { va | 0xffff << 48 } else { va };
            f(level - 1, va, next, rights & WRITE | entry & GLOBAL);
            if level > 1 {
                self.walk_table(next, level - 1, va, rights, f);
            }
        }
    }

    /// Where the byte at a guest address lies.
    pub fn translate(&self, root: Mfn, va: u64, write: bool) -> Option<Maddr> {
        if !is_guest_range(va, 1) {
            return None;
        }
        let (_, entry) = self.leaf(root, va)?;
        let allowed = entry & USER != 0 && (!write || entry & WRITE != 0);
        allowed.then_some(Maddr((entry & ADDRESS) + (va & 0xfff)))
    }
}

/// Whether a guest may name these bytes.
fn is_guest_range(at: u64, len: usize) -> bool {
    at.checked_add(len as u64).is_some_and(|end| end <= LOWER_END || at >= UPPER_START)
}

/// Pieces that do not cross a page or a word: address, range within the bytes.
fn pieces(at: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let here = at.wrapping_add(done as u64);
        let piece = (8 - here as usize % 8).min(len - done);
        done += piece;
        (piece > 0).then_some((here, done - piece..done))
    })
}

impl GuestMemory for crate::machine::Machine {
    fn load64(&self, at: Maddr) -> u64 {
        assert_eq!(at.0 % 8, 0, "aligned");
        self.memory.get(at)
    }
    fn store64(&self, at: Maddr, value: u64) {
        assert_eq!(at.0 % 8, 0, "aligned");
        step();
        self.memory.put(at, value);
    }
    fn exchange64(&self, at: Maddr, old: u64, new: u64) -> Result<(), u64> {
        step();
        match self.load64(at) {
            found if found == old => {
                self.memory.put(at, new);
                Ok(())
            }
            found => Err(found),
        }
    }
    fn exchange32(&self, at: Maddr, old: u32, new: u32) -> Result<(), u32> {
        step();
        match self.load32(at) {
            found if found == old => {
                self.memory.put_part(at, 4, new.into());
                Ok(())
            }
            found => Err(found),
        }
    }
    fn load32(&self, at: Maddr) -> u32 {
        assert_eq!(at.0 % 4, 0, "aligned");
        (self.memory.get(at) >> (at.0 % 8 * 8)) as u32
    }
    fn store32(&self, at: Maddr, value: u32) {
        assert_eq!(at.0 % 4, 0, "aligned");
        step();
        self.memory.put_part(at, 4, value.into());
    }
    fn load8(&self, at: Maddr) -> u8 {
        (self.memory.get(at) >> (at.0 % 8 * 8)) as u8
    }
    fn store8(&self, at: Maddr, value: u8) {
        step();
        self.memory.put_part(at, 1, value.into());
    }
    fn clear_frame(&self, at: Maddr) {
        for offset in (0..4096).step_by(8) {
            // A frame is cleared in three steps rather than 512.
            if offset % 2048 == 0 {
                step();
            }
            self.memory.put(Maddr(at.0 + offset), 0);
        }
    }
    fn copy_in(&self, from: Gva, out: &mut [u8]) -> Result<(), Fault> {
        if !is_guest_range(from.0, out.len()) {
            return Err(Fault);
        }
        for (va, range) in pieces(from.0, out.len()) {
            let at = self.memory.translate(self.root(), va, false).ok_or(Fault)?;
            self.use_translation(va);
            let word = self.memory.get(Maddr(at.0 & !7)).to_le_bytes();
            let first = (at.0 % 8) as usize;
            out[range.clone()].copy_from_slice(&word[first..first + range.len()]);
        }
        Ok(())
    }
    fn copy_out(&self, to: Gva, bytes: &[u8]) -> Result<(), Fault> {
        if !is_guest_range(to.0, bytes.len()) {
            return Err(Fault);
        }
        for (va, range) in pieces(to.0, bytes.len()) {
            let at = self.memory.translate(self.root(), va, true).ok_or(Fault)?;
            self.use_translation(va);
            step();
            let mut word = [0; 8];
            word[..range.len()].copy_from_slice(&bytes[range.clone()]);
            self.memory.put_part(at, range.len() as u64, u64::from_le_bytes(word));
        }
        Ok(())
    }
}
