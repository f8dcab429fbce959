//! References that entries of a table in work give back, by one effect.

use crate::holds_reference;
use crate::scan::{Lines, previous_present};
use crate::work::{HYPERVISOR_SLOTS, is_hypervisor_slot};
use core::ops::Range;
use frames::{Frame, Frames};
use guest_memory::GuestMemory;
use ids::Mfn;
use vault::{Apply, Effect, Puts, Tx, kind};

/// Where the end of the run and the level stand in the effect's operand, above its start.
const END: u32 = 10;
const LEVEL: u32 = 20;
const INDEX: u32 = (1 << END) - 1;

/// Drops the references of `entries` of a table in work, whose lock is held, with the commit. Of a higher table
/// `lines` have all that are present.
pub(crate) fn put_entries(tx: &mut Tx<'static>, table: Mfn, level: u32, entries: Range<u16>, lines: Lines) {
    if !entries.is_empty() {
        let x = u32::from(entries.start) | u32::from(entries.end) << END | level << LEVEL;
        tx.publish(Effect { kind: kind::PUT_ENTRIES, x, a: table.0, b: lines.0 });
    }
}

/// Applies such an effect (`PUT_ENTRIES`): drops the references, from the last entry on. Nobody writes to the table as
/// long as its lock is held, but that a processor may mark entries; so what is left after a crash is what was left.
#[inline(always)]
pub fn apply_put_entries<M: GuestMemory>(
    frames: &Frames,
    memory: &M,
    apply: &mut impl Apply,
    effect: &Effect,
    puts: &mut Puts<'_, '_>,
) {
    let (start, end, level) = (effect.x & INDEX, effect.x >> END & INDEX, effect.x >> LEVEL);
    let left = end.saturating_sub(puts.done()) as u16;
    let run = Given { table: Mfn(effect.a), start: start as u16, end, left };
    if level == 1 {
        run.put_leaves(frames, memory, apply, puts);
    } else {
        run.put_tables(frames, memory, apply, puts, level, Lines(effect.b));
    }
}

/// What is left of a run.
struct Given {
    table: Mfn,
    start: u16,
    end: u32,
    left: u16,
}

impl Given {
    /// Entries that are done with the one at `index`.
    #[inline(always)]
    fn parts(&self, index: u16) -> u32 {
        self.end.wrapping_sub(index.into())
    }

    #[inline(always)]
    fn put_leaves<M: GuestMemory>(
        self,
        frames: &Frames,
        memory: &M,
        apply: &mut impl Apply,
        puts: &mut Puts<'_, '_>,
    ) {
        let mut left = self.left;
        while let Some((index, pte)) = previous_present(memory, self.table, left)
            && index >= self.start
        {
            left = index;
            if holds_reference(frames, pte.mfn()) {
                let what = if pte.is_writable() { kind::PUT_TYPED } else { kind::PUT_REF };
                puts.put(apply, self.parts(index), what, pte.mfn().0);
            }
        }
    }

    #[inline(always)]
    fn put_tables<M: GuestMemory>(
        self,
        frames: &Frames,
        memory: &M,
        apply: &mut impl Apply,
        puts: &mut Puts<'_, '_>,
        level: u32,
        lines: Lines,
    ) {
        let mut left = self.left;
        while let Some((index, pte)) = lines.previous_present(memory, self.table, left)
            && index >= self.start
        {
            left = index;
            if is_hypervisor_slot(level, index) {
                left = HYPERVISOR_SLOTS.start;
                continue;
            }
            let plain = frames.frame(pte.mfn()).and_then(Frame::table_put);
            if !plain.is_some_and(|plain| puts.exchange(self.parts(index), plain)) {
                puts.put(apply, self.parts(index), kind::PUT_TYPED, pte.mfn().0);
            }
        }
    }
}
