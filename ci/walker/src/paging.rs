//! Page tables as the processor reads them (AMD64 manual, volume 2, 5.3).

use crate::memory::Memory;
use std::collections::HashSet;

/// The entry maps something.
pub const PRESENT: u64 = 1;
/// Writes are allowed, if every level does.
pub const WRITABLE: u64 = 1 << 1;
/// User mode may use it, if every level says so.
pub const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
/// The address in an entry or in CR3.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The frame an entry names.
pub(crate) fn target(entry: u64) -> u64 {
    (entry & ADDRESS) >> 12
}

/// A run of frames that one entry maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// The address, sign-extended.
    pub(crate) va: u64,
    /// First frame.
    pub(crate) frame: u64,
    /// Frames: 1, 512 or 512 * 512.
    pub(crate) frames: u64,
    pub(crate) writable: bool,
    pub(crate) user: bool,
    pub(crate) executable: bool,
}

/// What a walk meets.
pub(crate) trait Visitor {
    /// A table of `level` (4 is a root), before its entries.
    fn table(&mut self, mfn: u64, level: u32);
    /// A mapping.
    fn leaf(&mut self, leaf: Leaf);
    /// A table where there is no RAM.
    fn missing(&mut self, mfn: u64, level: u32);
}

/// The rights that the levels above leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Rights {
    writable: bool,
    user: bool,
    executable: bool,
}

/// Walks of several roots, each table once for each combination of rights.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    seen: HashSet<(u64, u32, Rights)>,
}

impl Walker {
    /// Walks the chosen slots of a root.
    pub(crate) fn root(
        &mut self,
        memory: &dyn Memory,
        root: u64,
        slots: impl Fn(usize) -> bool,
        visitor: &mut impl Visitor,
    ) {
        let all = Rights { writable: true, user: true, executable: true };
        visitor.table(root, 4);
        let Some(entries) = memory.frame(root) else { return visitor.missing(root, 4) };
        for (index, entry) in entries.into_iter().enumerate().filter(|(index, _)| slots(*index)) {
            self.entry(memory, entry, 4, (index as u64) << 39, all, visitor);
        }
    }

    fn entry(
        &mut self,
        memory: &dyn Memory,
        entry: u64,
        level: u32,
        va: u64,
        above: Rights,
        visitor: &mut impl Visitor,
    ) {
        if entry & PRESENT == 0 {
            return;
        }
        let rights = Rights {
            writable: above.writable && entry & WRITABLE != 0,
            user: above.user && entry & USER != 0,
            executable: above.executable && entry & NO_EXECUTE == 0,
        };
        let size = 12 + 9 * (level - 1);
        if level == 1 || level < 4 && entry & LARGE != 0 {
            let frames = 1 << (size - 12);
            let va = ((va << 16).cast_signed() >> 16).cast_unsigned();
            let Rights { writable, user, executable } = rights;
            let frame = target(entry) & !(frames - 1);
            return visitor.leaf(Leaf { va, frame, frames, writable, user, executable });
        }
        let (table, level) = (target(entry), level - 1);
        if !self.seen.insert((table, level, rights)) {
            return;
        }
        visitor.table(table, level);
        let Some(entries) = memory.frame(table) else { return visitor.missing(table, level) };
        for (index, entry) in entries.into_iter().enumerate() {
            self.entry(memory, entry, level, va | (index as u64) << (size - 9), rights, visitor);
        }
    }
}

/// The machine address behind a virtual one.
pub(crate) fn translate(memory: &dyn Memory, root: u64, va: u64) -> Option<u64> {
    let mut table = root;
    for level in (1..=4_u32).rev() {
        let shift = 12 + 9 * (level - 1);
        let entry = memory.frame(table)?[(va >> shift & 511) as usize];
        if entry & PRESENT == 0 {
            return None;
        }
        if level == 1 || level < 4 && entry & LARGE != 0 {
            let mask = (1 << shift) - 1;
            return Some(entry & ADDRESS & !mask | va & mask);
        }
        table = target(entry);
    }
    None
}
