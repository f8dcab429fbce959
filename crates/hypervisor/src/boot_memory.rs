//! Memory that boot gives to the frame table. This code stays, for the last of it is the code of boot itself.

use crate::guest::hardware::{Existing, Hardware};
use crate::sealed::sealed;
use boot_info::Range;
use ids::Mfn;
use machine::paging::PageTables;
use machine::{control, layout};
use system::{Applier, System};
use vault::Journal;

/// The whole frames of a range: first, end.
pub(crate) fn frames_within(range: Range) -> (Mfn, Mfn) {
    (Mfn(range.start.div_ceil(ids::FRAME_SIZE)), Mfn(range.end / ids::FRAME_SIZE))
}

/// Gives a range of whole frames to the heap of the frame table.
pub(crate) fn free_range(
    system: &'static System<Hardware>,
    journal: &mut Journal<Applier<Hardware>>,
    range: Range,
) {
    let (start, end) = (Mfn(range.start / ids::FRAME_SIZE), Mfn(range.end.div_ceil(ids::FRAME_SIZE)));
    let frames = &system.state.frames;
    let mut at = start;
    while at.0 < end.0 {
        at.0 += journal.change(|tx| frames.seed_frames(tx, at, end));
    }
    at = start;
    while at.0 < end.0 {
        at.0 += journal.change(|tx| frames.seed_block(tx, at, end));
    }
}

/// Unmaps and frees what only the first boot needed of the image: its code, its stack, its page tables. The second copy
/// of the image never had it. No other CPU runs; a failure before the end loses that memory and nothing else.
pub(crate) fn forget_first_boot(system: &'static System<Hardware>) {
    let record = sealed();
    let (start, bytes) = record.image.first_boots();
    let tables = PageTables::at(record.root);
    for va in (layout::IMAGE..layout::IMAGE + bytes).step_by(ids::FRAME_SIZE as usize) {
        assert!(tables.unmap_page(&mut Existing, va).is_some(), "the image is mapped in small pages");
    }
    control::flush_tlb();
    let mut journal = system.journal_beside();
    journal.log().begin();
    free_range(system, &mut journal, Range::new(start, bytes));
    journal.log().end();
}
