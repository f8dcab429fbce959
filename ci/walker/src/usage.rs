//! The frame table, decoded from its words (the layout is in `frames/src/usage.rs`).

use crate::machine::Machine;

/// Who a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// No RAM of the machine's: a device, a hole, firmware.
    Io,
    Free,
    Hypervisor,
    /// The table of trace buffers, which Dom0 may read, or a buffer, which it may write: without references.
    Traces {
        buffer: bool,
    },
    /// A domain's slot.
    Domain(u64),
    /// None of these.
    Unknown(u64),
}

/// Kind 5: a descriptor table.
pub(crate) const DESCRIPTORS: u64 = 5;
/// Kind 6: mapped writable.
pub(crate) const WRITABLE: u64 = 6;
/// Counts at which they stay.
const REFS_MOST: u64 = 0x7f_ffff;
const TYPED_MOST: u64 = 0x3f_ffff;
/// The order of a frame that heads no free block.
pub(crate) const NO_BLOCK: u64 = 0xff;

/// One frame's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) refs: u64,
    pub(crate) allocated: bool,
    pub(crate) typed: u64,
    /// 1 to 4: a page table of that level.
    pub(crate) kind: u64,
    pub(crate) validated: bool,
    pub(crate) in_work: bool,
    pub(crate) pinned: bool,
    pub(crate) owner: Owner,
    pub(crate) next: u64,
    pub(crate) prev: u64,
    /// Entries of a table in work that are counted.
    pub(crate) cursor: u64,
    /// Of the free block that it heads.
    pub(crate) order: u64,
}

impl Frame {
    fn decode(word: u64, links: u64) -> Frame {
        let free = word >> 52 == 1;
        let in_work = word & 1 << 50 != 0;
        // Where a frame in work has its cursor, others have the upper part of their count.
        let (typed, cursor) =
            if in_work { (word >> 24 & 0x3ff, word >> 36 & 0x3ff) } else { (word >> 24 & TYPED_MOST, 0) };
        let stored = word >> 46 & 7;
        Frame {
            refs: if free { 0 } else { word & REFS_MOST },
            allocated: word & 1 << 23 != 0,
            typed,
            // Typed references of no other kind are writable mappings.
            kind: if stored == 0 && typed > 0 { WRITABLE } else { stored },
            validated: word & 1 << 49 != 0,
            in_work,
            pinned: word & 1 << 51 != 0,
            owner: match word >> 52 {
                0 => Owner::Io,
                1 => Owner::Free,
                2 => Owner::Hypervisor,
                4 => Owner::Traces { buffer: false },
                5 => Owner::Traces { buffer: true },
                slot @ 16.. => Owner::Domain(slot - 16),
                other => Owner::Unknown(other),
            },
            next: links & 0xffff_ffff,
            prev: links >> 32,
            cursor,
            order: if free && word & 0x1f != 0 { (word & 0x1f) - 1 } else { NO_BLOCK },
        }
    }

    /// Whether its counts are so high that they no longer move.
    pub(crate) fn is_saturated(&self) -> bool {
        self.refs == REFS_MOST || self.typed == TYPED_MOST
    }

    /// Whether it is, or may be in use as, a page table.
    pub(crate) fn level(&self) -> Option<u64> {
        let used = self.typed > 0 || self.validated || self.in_work;
        (used && (1..=4).contains(&self.kind)).then_some(self.kind)
    }

    /// Entries of a table that are counted.
    pub(crate) fn counted_entries(&self) -> usize {
        match (self.validated, self.in_work) {
            (true, _) => 512,
            (false, true) => self.cursor.min(512) as usize,
            (false, false) => 0,
        }
    }
}

/// The whole table.
pub(crate) struct Table(Vec<Frame>);

impl Table {
    pub(crate) fn read(machine: &Machine<'_>) -> Result<Table, String> {
        let records = machine.records("frames::Frame")?;
        let (usage, links) = (records.column("usage", 8)?, records.column("links", 8)?);
        let frame = |i| Frame::decode(usage.at(i, 0), links.at(i, 0));
        Ok(Table((0..records.count).map(frame).collect()))
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub(crate) fn get(&self, mfn: u64) -> Option<&Frame> {
        self.0.get(usize::try_from(mfn).ok()?)
    }

    /// All frames with their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u64, &Frame)> {
        self.0.iter().enumerate().map(|(mfn, frame)| (mfn as u64, frame))
    }

    /// Whether an entry that names the frame holds no reference: it is a device's.
    pub(crate) fn is_io(&self, mfn: u64) -> bool {
        self.get(mfn).is_none_or(|frame| frame.owner == Owner::Io)
    }

    /// The same: it is a trace buffer's, or of their table.
    pub(crate) fn is_trace(&self, mfn: u64) -> bool {
        self.get(mfn).is_some_and(|frame| matches!(frame.owner, Owner::Traces { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_the_frame_table_documents_it() {
        // Slot 0's, L2, validated and pinned, two typed references, the allocation's and one more.
        let word = 16 << 52 | 1 << 51 | 1 << 49 | 2 << 46 | 2 << 24 | 1 << 23 | 2;
        let f = Frame::decode(word, 7 << 32 | 9);
        assert_eq!((f.owner, f.kind, f.typed, f.refs), (Owner::Domain(0), 2, 2, 2));
        assert!(f.allocated && f.validated && f.pinned && !f.in_work);
        assert_eq!((f.next, f.prev, f.level(), f.counted_entries()), (9, 7, Some(2), 512));
        assert_eq!(Frame::decode(3 << 24, 0).kind, WRITABLE);
        assert!(Frame::decode(REFS_MOST, 0).is_saturated());
        // An L1 in work on its way down, at entry 300.
        let f = Frame::decode(16 << 52 | 1 << 50 | 1 << 46 | 300 << 36 | 1 << 34 | 1 << 24 | 5, 0);
        assert_eq!((f.in_work, f.typed, f.refs, f.counted_entries()), (true, 1, 5, 300));
        let free = |block: u64| Frame::decode(1 << 52 | block, 0);
        assert_eq!((free(0).order, free(1).order, free(19).order, free(19).refs), (NO_BLOCK, 0, 18, 0));
    }
}
