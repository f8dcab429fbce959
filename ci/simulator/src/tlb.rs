//! What processors remember of page tables: the worst that the manuals allow. A processor in a guest may have
//! walked to everything that can be reached, and knows it until it is told to forget: translations of pages, and
//! places of tables below the root (paging-structure caches; Intel SDM volume 3, 4.10; AMD64 volume 2, 5.5).
//!
//! At every step nobody may know a way to a frame that is not its guest's to use in this way any more:
//!
//! - a frame that became free and was handed out since ([`frames`]' promise),
//! - a writable page that has become a table whose entries count,
//! - a table that has become something else: a page to write to is a table of whatever the guest likes,
//! - a writable page of a device's that has become part of a closed MSI-X table.

use crate::memory::Memory;
use frames::{Frames, Kind, Owner, Usage};
use ids::Mfn;
use irqs::Tables;
use system::Flush;

/// A page is translated to the frame.
const PAGE: u8 = 1;
/// It may be written through such a translation.
const WRITABLE: u8 = 2;
/// It is known as a table; the bits of levels 2 and 3 follow.
const TABLE: u8 = 4;
/// It has been free since.
const FREED: u8 = 0x80;

pub(crate) const WRITE: u64 = 2;
pub(crate) const GLOBAL: u64 = 1 << 8;

/// What one processor remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tlb {
    /// Page number, frame number, write and global; in order.
    pages: Vec<(u64, u64, u64)>,
    /// By frame: how it is known.
    known: Vec<u8>,
}

impl Tlb {
    /// Of a machine of `frames` frames.
    pub(crate) fn new(frames: usize) -> Self {
        Self { known: vec![0; frames], ..Self::default() }
    }

    /// Remembers a page; neither RAM nor a device's: nothing.
    pub(crate) fn learn_page(&mut self, va: u64, mfn: u64, flags: u64) {
        if let Some(known) = self.known.get_mut(mfn as usize) {
            *known |= PAGE | if flags & WRITE != 0 { WRITABLE } else { 0 };
            let page = (va >> 12, mfn, flags & (WRITE | GLOBAL));
            if let Err(at) = self.pages.binary_search(&page) {
                self.pages.insert(at, page);
            }
        }
    }

    /// Remembers a table of `level`.
    pub(crate) fn learn_table(&mut self, level: u32, mfn: u64) {
        if let Some(known) = self.known.get_mut(mfn as usize) {
            *known |= TABLE << (level - 1);
        }
    }

    /// Everything that can be reached from `root`.
    pub(crate) fn learn_all(&mut self, memory: &Memory, root: Mfn) {
        if root != Mfn(0) {
            memory.walk_all(root, &mut |level, va, mfn, flags| match level {
                0 => self.learn_page(va, mfn, flags),
                level => self.learn_table(level, mfn),
            });
        }
    }

    /// Forgets what it was told to, and the places of all tables.
    pub(crate) fn flush(&mut self, what: Flush) {
        match what {
            Flush::All => self.pages.clear(),
            Flush::Page(at) => self.pages.retain(|(page, ..)| *page != at.0 >> 12),
        }
        self.forget_tables();
    }

    /// A root of another address space is loaded.
    pub(crate) fn load_space(&mut self) {
        self.flush(Flush::All);
    }

    /// Another root is loaded, or the same again.
    pub(crate) fn load_root(&mut self) {
        self.pages.retain(|(_, _, flags)| flags & GLOBAL != 0);
        self.forget_tables();
    }

    fn forget_tables(&mut self) {
        let freed: Vec<bool> = self.known.iter().map(|known| known & FREED != 0).collect();
        self.known.fill(0);
        for (_, mfn, flags) in &self.pages {
            let freed = if freed[*mfn as usize] { FREED } else { 0 };
            self.known[*mfn as usize] |= PAGE | freed | if flags & WRITE != 0 { WRITABLE } else { 0 };
        }
    }

    /// Looks at what is known against the frame table and the MSI-X tables.
    ///
    /// # Errors
    /// What is known and must not be.
    pub(crate) fn check(&mut self, frames: &Frames, tables: Tables) -> Result<(), String> {
        for (mfn, known) in (0..).zip(&mut self.known) {
            if *known == 0 {
                continue;
            }
            let Some(frame) = frames.frame(Mfn(mfn)) else {
                if *known & WRITABLE != 0 && tables.is_closed(Mfn(mfn)) {
                    return Err(format!(
                        "device frame {mfn:#x} of a closed table is still known as writable"
                    ));
                }
                continue;
            };
            let usage = frame.usage();
            if usage.owner() == Owner::FREE {
                *known |= FREED;
            } else if let Some(what) = wrong(*known, usage) {
                return Err(format!("frame {mfn:#x} is still known as {what}: {usage:?}"));
            }
        }
        Ok(())
    }
}

/// As what a frame of this use must not be known, and is.
fn wrong(known: u8, usage: Usage) -> Option<&'static str> {
    let counts = usage.is_validated() || usage.is_in_work() && usage.cursor() > 0;
    let level = usage.kind().level();
    let special = level.is_some() || usage.kind() == Kind::Descriptors;
    if known & FREED != 0 {
        return Some("its former owner's");
    }
    if known & WRITABLE != 0 && special && counts {
        return Some("a writable page");
    }
    let written = usage.kind() == Kind::Writable && usage.typed() > 0;
    (1..4)
        .filter(|of| known & TABLE << (of - 1) != 0)
        .find(|of| written || special && counts && level != Some(*of))
        .map(|of| ["a table of level 1", "a table of level 2", "a table of level 3"][of as usize - 1])
}
