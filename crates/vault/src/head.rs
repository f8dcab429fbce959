//! The log head: one word that says where an entry stands.

use crate::log::MAX_EFFECTS;

/// What a CPU's log means at this instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No entry in progress: the CPU runs a guest, idles, or is between the two.
    Idle,
    /// An entry is in progress; the log holds what to undo.
    Undo,
    /// A transaction is committed; the log holds what to finish.
    Outbox,
}

/// The log head, decoded and encoded as one 64-bit word so that every change of state is one store.
///
/// | bits | field |
/// |---|---|
/// | 0..2 | phase |
/// | 2 | last: the entry ends with this outbox |
/// | 3..16 | undo: entries in force; outbox: consequences of the last exchange still to be applied |
/// | 16..24 | effects published |
/// | 24..32 | effects known to be applied |
/// | 32..48 | parts of the effect behind those that are done |
/// | 48..64 | progress: elements of the entry that are committed |
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head(pub(crate) u64);

const LAST: u64 = 1 << 2;
const UNDO: u32 = 3;
const UNDO_MASK: u64 = 0x1fff;
const EFFECTS: u32 = 16;
const APPLIED: u32 = 24;
const COUNT: u64 = 0xff;
const PARTS: u32 = 32;
const PROGRESS: u32 = 48;
const FIELD: u64 = 0xffff;
/// How far the outbox has come.
const DONE: u64 = UNDO_MASK << UNDO | COUNT << APPLIED | FIELD << PARTS;

// Both counts of effects fit their fields.
const _: () = assert!((MAX_EFFECTS as u64) < COUNT);

impl Head {
    /// No entry in progress.
    pub const IDLE: Head = Head(0);
    /// An entry has begun, nothing is written and no element committed.
    pub const BEGUN: Head = Head(1);
    pub(crate) const ONE_UNDO: u64 = 1 << UNDO;
    const ONE_EFFECT: u64 = 1 << EFFECTS;

    /// The phase.
    pub const fn phase(self) -> Phase {
        match self.0 & 3 {
            0 => Phase::Idle,
            1 => Phase::Undo,
            _ => Phase::Outbox,
        }
    }

    /// Whether the entry ends with this outbox (no further transaction follows).
    pub const fn is_last(self) -> bool {
        self.0 & LAST != 0
    }

    /// Undo entries in force.
    pub const fn undo(self) -> usize {
        (self.0 >> UNDO & UNDO_MASK) as usize
    }

    /// Consequences of the last exactly-once effect that are still to be applied.
    pub const fn chained(self) -> usize {
        self.undo()
    }

    /// Effects published.
    pub const fn effects(self) -> usize {
        (self.0 >> EFFECTS & COUNT) as usize
    }

    /// Effects known to be applied (a lower bound: idempotent ones are not counted one by one).
    pub const fn applied(self) -> usize {
        (self.0 >> APPLIED & COUNT) as usize
    }

    /// Parts done of the effect behind those that are applied.
    pub(crate) const fn parts(self) -> u32 {
        (self.0 >> PARTS & FIELD) as u32
    }

    /// Elements of the entry that are committed.
    pub const fn progress(self) -> u64 {
        self.0 >> PROGRESS
    }

    /// The head that commits: the undo entries lose their meaning, the effects gain theirs.
    pub(crate) const fn commit(self, steps: u64, last: bool) -> Head {
        let kept = self.0 & (COUNT << EFFECTS | FIELD << PROGRESS);
        Head((kept | 2 | if last { LAST } else { 0 }).wrapping_add(steps << PROGRESS))
    }

    /// With one undo entry more, for which there was room in the log: so the count stays in its field.
    #[inline(always)]
    pub(crate) const fn one_undo_more(self) -> Head {
        Head(self.0.wrapping_add(Self::ONE_UNDO))
    }

    /// With one effect more, for which there was room likewise.
    #[inline(always)]
    pub(crate) const fn one_effect_more(self) -> Head {
        Head(self.0.wrapping_add(Self::ONE_EFFECT))
    }

    /// The head of an open transaction that has published this many effects.
    pub(crate) const fn with_effects(self, effects: usize) -> Head {
        Head(self.0 & !(COUNT << EFFECTS) | (effects as u64) << EFFECTS)
    }

    /// The head after its outbox is empty.
    pub(crate) const fn finished(self) -> Head {
        if self.is_last() { Self::IDLE } else { Head(1 | self.0 & (FIELD << PROGRESS)) }
    }

    /// An open log without entries, keeping the progress.
    pub(crate) const fn emptied(self) -> Head {
        Head(1 | self.0 & (FIELD << PROGRESS))
    }

    /// An outbox where `applied` effects are done, and nothing of the next one. No consequences.
    #[inline(always)]
    pub(crate) const fn with_applied(self, applied: usize) -> Head {
        Head(self.0 & !DONE | (applied as u64) << APPLIED)
    }

    /// It, with `parts` parts of the next effect done; so far it says none.
    #[inline(always)]
    pub(crate) const fn with_parts(self, parts: u32) -> Head {
        Head(self.0 | (parts as u64 & FIELD) << PARTS)
    }

    /// An outbox of which `chained` consequences are still to be applied.
    #[inline(always)]
    pub(crate) const fn with_chained(self, chained: usize) -> Head {
        Head(self.0 & !(UNDO_MASK << UNDO) | (chained as u64) << UNDO)
    }
}

impl core::fmt::Debug for Head {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{:?}{} undo {} effects {}/{} progress {}",
            self.phase(),
            if self.is_last() { " last" } else { "" },
            self.undo(),
            self.applied(),
            self.effects(),
            self.progress()
        )
    }
}
