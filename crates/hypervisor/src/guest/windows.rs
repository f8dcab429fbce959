//! The windows in which a CPU sees the descriptor tables of the vCPU that it holds.

use super::hardware::{Existing, this_cpu};
use crate::sealed::sealed;
use core::sync::atomic::{AtomicU8, Ordering};
use ids::Mfn;
use machine::paging::{PageTables, TableMemory};
use machine::{control, percpu};

/// Pages of a guest's GDT; the hypervisor's own entries are behind them.
const GDT_PAGES: u8 = 14;
/// What an entry says beside the frame: present, writable (the processor sets accessed bits), accessed, dirty, no execute.
const ENTRY: u64 = 1 | 1 << 1 | 1 << 5 | 1 << 6 | 1 << 63;

/// A window in every CPU's block. Derived: a new life does not know what is in it.
pub(super) struct Window {
    /// Where in the block it begins.
    offset: u64,
    pages: u8,
    /// For each CPU: from its start on this many pages and one may show something, and none behind; 0: not known. Each CPU's
    /// own.
    shown: [AtomicU8; percpu::MAX_CPUS as usize],
}

/// That of the GDT.
pub(super) static GDT: Window = Window::new(percpu::GDT_WINDOW, GDT_PAGES);
/// That of the LDT.
pub(super) static LDT: Window = Window::new(percpu::LDT_WINDOW, percpu::WINDOW_PAGES as u8);

impl Window {
    const fn new(offset: u64, pages: u8) -> Self {
        Self { offset, pages, shown: [const { AtomicU8::new(0) }; percpu::MAX_CPUS as usize] }
    }

    /// Shows `frames` in this CPU's window, the rest of it empty.
    pub(super) fn show(&self, frames: &[Mfn]) {
        let cpu = this_cpu();
        let start = percpu::block(cpu) + self.offset;
        let shown = &self.shown[cpu.0 as usize];
        let filled = frames.len().min(self.pages.into()) as u8;
        let known = shown.load(Ordering::Relaxed);
        // Most of a window stays empty from one vCPU to the next.
        let pages = if known == 0 { self.pages } else { filled.max(known - 1) };
        // Before the first is written: whatever ends this, the next time all of them are looked at.
        shown.store(pages + 1, Ordering::Relaxed);
        let Some(table) = PageTables::at(sealed().root).existing_table(&Existing, start) else { return };
        for page in 0..pages {
            let va = start + u64::from(page) * ids::FRAME_SIZE;
            let entry = match frames.get(usize::from(page)) {
                Some(mfn) if mfn.0 != 0 => mfn.maddr().0 | ENTRY,
                _ => 0,
            };
            let index = (va >> 12 & 511) as usize;
            if Existing.read(table, index) != entry {
                Existing.write(table, index, entry);
                control::flush_page(va);
            }
        }
        shown.store(filled + 1, Ordering::Relaxed);
    }
}
