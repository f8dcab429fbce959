//! A CPU's log: undo entries before the commit, outbox after it.

use crate::effect::{Apply, Effect, poke, take_back};
use crate::head::{Head, Phase};
use crate::lock::Held;
use crate::step;
use crate::tx::Tx;
use core::sync::atomic::{AtomicU64, Ordering};
use zerocopy::FromZeros;

/// Undo entries a transaction may write. The largest exchanges 64 frames: an entry for each that goes,
/// two for each that comes, and the splitting of a free block.
pub const MAX_UNDO: usize = 320;
/// Effects a transaction may publish, consequences included.
pub const MAX_EFFECTS: usize = 160;
/// Consequences one exactly-once effect may have.
pub(crate) const MAX_CHAINED: usize = 32;
/// Bytes that a transaction's effects may refer to (results to copy out).
pub const OUTBOX_BYTES: usize = 4096;

/// One CPU's log. Durable; written by its CPU alone, and by recovery while every CPU is stopped.
#[derive(FromZeros)]
#[repr(C, align(64))]
pub struct Log {
    pub(crate) head: AtomicU64,
    undo: [[AtomicU64; 2]; MAX_UNDO],
    pub(crate) effects: [[AtomicU64; 3]; MAX_EFFECTS],
    pub(crate) chained: [[AtomicU64; 3]; MAX_CHAINED],
    bytes: [AtomicU64; OUTBOX_BYTES / 8],
}

/// How an undo entry's second word is meant; added to the top 16 bits of its first, the address: addresses
/// are canonical, so 48 bits say what the top of one was.
const KIND: u32 = 48;
const DELTA: u64 = 0;
/// The address is a machine address: a live page-table entry (1 to 8 are widths of durable words).
const ENTRY: u64 = 16;
/// The address is a machine address: bits of a 32-bit word of guest memory.
const MARKS: u64 = 17;

/// What an undo entry says of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// The live page-table entry at `maddr` (with the three bits of [`Tx::note_entry`]) held `old`.
    Entry {
        /// Its machine address.
        maddr: u64,
        /// What it held.
        old: u64,
    },
    /// Bits of the 32-bit word at `maddr` were set.
    Marks {
        /// Its machine address.
        maddr: u64,
        /// The bits, to be cleared.
        bits: u32,
    },
}

impl core::fmt::Debug for Log {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Log({:?})", self.head())
    }
}

impl Log {
    /// The head: where this CPU's entry stands.
    #[inline(always)]
    pub fn head(&self) -> Head {
        Head(self.head.load(Ordering::Relaxed))
    }

    #[inline(always)]
    pub(crate) fn set_head(&self, head: Head) {
        step::point();
        // Release: whatever the new head gives a meaning to is in memory before it.
        self.head.store(head.0, Ordering::Release);
    }

    /// An entry begins: nothing written, nothing committed.
    #[inline(always)]
    pub fn begin(&self) {
        self.set_head(Head::BEGUN);
    }

    /// The entry is over: from here on a crash repeats nothing of it.
    #[inline(always)]
    pub fn end(&self) {
        self.set_head(Head::IDLE);
    }

    /// Completes the head of a CPU stopped between a shared word's exchange and the head's store.
    pub fn complete(&self, head: u64) {
        self.head.store(head, Ordering::Release);
    }

    /// Runs `f` as one transaction: commits if it returns `Ok` and drains the outbox through `apply`,
    /// otherwise undoes every write. Locks taken inside are free afterwards.
    ///
    /// # Errors
    /// Whatever `f` returns; then nothing has changed.
    #[inline(always)]
    pub fn transaction<'l, O, E>(
        &'l self,
        apply: &mut impl Apply,
        f: impl FnOnce(&mut Tx<'l>) -> Result<O, E>,
    ) -> Result<O, E> {
        self.run(apply, true, f)
    }

    /// As [`transaction`](Self::transaction), for what follows from another one's undoing: it ends no entry.
    ///
    /// # Errors
    /// Whatever `f` returns.
    pub fn transaction_between<'l, O, E>(
        &'l self,
        apply: &mut impl Apply,
        f: impl FnOnce(&mut Tx<'l>) -> Result<O, E>,
    ) -> Result<O, E> {
        self.run(apply, false, f)
    }

    /// As [`transaction`](Self::transaction); unless `in_entry`, it ends no entry whatever `f` says.
    #[inline(always)]
    pub(crate) fn run<'l, O, E>(
        &'l self,
        apply: &mut impl Apply,
        in_entry: bool,
        f: impl FnOnce(&mut Tx<'l>) -> Result<O, E>,
    ) -> Result<O, E> {
        let mut tx = Tx::new(self, in_entry);
        match f(&mut tx) {
            Ok(o) => {
                let (head, mut held) = tx.commit();
                self.finish(apply, head, &mut held);
                held.release_all();
                apply.settled();
                Ok(o)
            }
            Err(e) => {
                let entries = self.head().undo();
                if entries != 0 {
                    apply.undoing();
                }
                self.roll_back(apply);
                tx.into_held().release_all();
                if entries != 0 {
                    apply.undone(self, entries);
                }
                Err(e)
            }
        }
    }

    /// Empties the outbox of a transaction just committed: in the caller's code if it has no effects.
    #[inline(always)]
    fn finish<'l>(&'l self, apply: &mut impl Apply, head: Head, held: &mut Held<'l>) {
        if head.effects() == 1 {
            self.drain_one(apply, head, held);
        } else if head.effects() != 0 {
            self.drain_from(apply, head, held);
        } else if head.is_last() {
            self.close(apply, head);
        }
    }

    /// Undoes every write of the open transaction, newest first. Safe to crash in and run again.
    pub fn roll_back(&self, apply: &mut impl Apply) {
        let head = self.head();
        if head.phase() != Phase::Undo {
            return;
        }
        let head = self.undo_to(head, 0, |noted| match noted {
            Noted::Entry { maddr, old } => apply.restore_entry(maddr, old),
            Noted::Marks { maddr, bits } => apply.clear_marks(maddr, bits),
        });
        self.set_head(head.emptied());
    }

    /// Undoes the open transaction's writes, newest first, until `left` are in force; what is in guest memory by `undo`.
    #[inline(always)]
    pub(crate) fn undo_to(&self, mut head: Head, left: usize, mut undo: impl FnMut(Noted)) -> Head {
        while head.undo() > left {
            let [tagged, value] = &self.undo[head.undo() - 1];
            let (tagged, value) = (tagged.load(Ordering::Relaxed), value.load(Ordering::Relaxed));
            let address = sign_extend(tagged);
            let next = Head(head.0 - Head::ONE_UNDO);
            match kind_of(tagged) {
                DELTA => take_back(address, value, self, next),
                ENTRY => {
                    step::point();
                    undo(Noted::Entry { maddr: address, old: value });
                    self.set_head(next);
                }
                MARKS => {
                    step::point();
                    undo(Noted::Marks { maddr: address, bits: value as u32 });
                    self.set_head(next);
                }
                width => {
                    poke(address, width, value);
                    self.set_head(next);
                }
            }
            head = next;
        }
        head
    }

    /// The address in an undo entry that says how much a shared word was changed: of the open transaction, or one that is
    /// left of an earlier one and may have been undone. A hint; an entry is overwritten by the next transactions.
    pub fn changed_word(&self, index: usize) -> Option<u64> {
        let tagged = self.undo.get(index)?[0].load(Ordering::Relaxed);
        (kind_of(tagged) == DELTA).then(|| sign_extend(tagged))
    }

    #[inline(always)]
    pub(crate) fn write_undo_value(&self, index: usize, address: u64, width: u64, value: u64) {
        let entry = &self.undo[index];
        entry[0].store(tagged(address, width), Ordering::Relaxed);
        entry[1].store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn write_undo_delta(&self, index: usize, address: u64, delta: u64) {
        let entry = &self.undo[index];
        entry[0].store(tagged(address, DELTA), Ordering::Relaxed);
        entry[1].store(delta, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn write_undo_entry(&self, index: usize, maddr: u64, value: u64) {
        let entry = &self.undo[index];
        entry[0].store(tagged(maddr, ENTRY), Ordering::Relaxed);
        entry[1].store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn write_undo_marks(&self, index: usize, maddr: u64, bits: u32) {
        let entry = &self.undo[index];
        entry[0].store(tagged(maddr, MARKS), Ordering::Relaxed);
        entry[1].store(bits.into(), Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn write_effect(&self, index: usize, effect: &Effect) {
        put_effect(&self.effects[index], effect);
    }

    pub(crate) fn write_chained(&self, index: usize, effect: &Effect) {
        put_effect(&self.chained[index], effect);
    }

    /// Stores `bytes` from `offset` (a multiple of 8) of the outbox's byte area.
    pub(crate) fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        for (slot, chunk) in self.bytes[offset / 8..].iter().zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            slot.store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
    }

    /// Reads back bytes that an effect refers to: `out.len()` of them from `offset` (a multiple of 8).
    pub fn read_bytes(&self, offset: usize, out: &mut [u8]) {
        for (slot, chunk) in self.bytes[offset / 8..].iter().zip(out.chunks_mut(8)) {
            let word = slot.load(Ordering::Relaxed).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[inline(always)]
fn put_effect(slot: &[AtomicU64; 3], effect: &Effect) {
    slot[0].store(u64::from(effect.kind) << 32 | u64::from(effect.x), Ordering::Relaxed);
    slot[1].store(effect.a, Ordering::Relaxed);
    slot[2].store(effect.b, Ordering::Relaxed);
}

#[inline(always)]
pub(crate) fn read_effect(slot: &[AtomicU64; 3]) -> Effect {
    let first = slot[0].load(Ordering::Relaxed);
    Effect {
        kind: (first >> 32) as u32,
        x: first as u32,
        a: slot[1].load(Ordering::Relaxed),
        b: slot[2].load(Ordering::Relaxed),
    }
}

/// The first word of an undo entry.
#[inline(always)]
fn tagged(address: u64, kind: u64) -> u64 {
    address.wrapping_add(kind << KIND)
}

/// What was added to the address.
fn kind_of(tagged: u64) -> u64 {
    tagged.wrapping_sub(sign_extend(tagged)) >> KIND
}

/// The canonical address from its low 48 bits.
fn sign_extend(tagged: u64) -> u64 {
    ((tagged << 16) as i64 >> 16) as u64
}
