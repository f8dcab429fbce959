//! Runs of entries that one transaction validates.
//!
//! The table is not in use, so its entries are adjusted right away: adjusting is idempotent and a rolled-back adjustment
//! harmless.

use crate::entry::Refusal;
use crate::scan::next_present;
use crate::work::{ENTRIES, HYPERVISOR_SLOTS, Outer, entry_address, is_hypervisor_slot};
use crate::{Mmu, MmuError, Pte, Subject, adjusted_l1, adjusted_table};
use frames::{Got, Kind};
use guest_memory::GuestMemory;
use ids::Mfn;
use vault::Tx;

/// References one transaction takes at most (its undo entries are bounded).
const BATCH: u32 = 96;

/// Where a run ended.
pub(crate) enum Run {
    /// The references of the entries below are held.
    To(u16),
    /// The same, and the entry there names a table that comes first.
    Below(Mfn, u16),
    /// Nothing was done: a table in the way must be unvalidated first.
    InTheWay(Mfn),
}

impl<M: GuestMemory> Mmu<'_, M> {
    /// Takes the references of L1 entries from `start` on.
    #[inline(never)]
    pub(crate) fn work_leaves(
        &self,
        tx: &mut Tx<'static>,
        mfn: Mfn,
        start: u16,
        subject: Subject,
        outer: Outer,
    ) -> Result<Run, MmuError> {
        let (mut index, mut taken) = (start, 0);
        loop {
            let Some((present, pte)) = next_present(self.memory, mfn, index) else {
                return Ok(Run::To(ENTRIES));
            };
            index = present;
            if taken == BATCH {
                return Ok(Run::To(index));
            }
            let at = entry_address(mfn, index);
            let mut allowed = pte;
            match self.get_leaf(tx, pte, subject, mfn) {
                Ok(()) => {}
                Err(Refusal::ReadOnly) => allowed = pte.read_only(),
                // What came before stays; the table in the way is dealt with between transactions.
                Err(Refusal::Dormant(m)) if index == start => {
                    let own = m == mfn || outer.is_some_and(|(above, _)| above == m);
                    return if own { Err(MmuError::Invalid) } else { Ok(Run::InTheWay(m)) };
                }
                Err(Refusal::Final(e)) if index == start => return Err(e),
                Err(_) => return Ok(Run::To(index)),
            }
            let adjusted = adjusted_l1(allowed);
            if adjusted != pte {
                self.memory.store64(at, adjusted.0);
            }
            taken += 1;
            index += 1;
        }
    }

    /// The same of a higher table's: runs of absent ones, or tables below that are valid already.
    #[inline(never)]
    pub(crate) fn work_tables(
        &self,
        tx: &mut Tx<'static>,
        mfn: Mfn,
        level: u32,
        start: u16,
        subject: Subject,
    ) -> Result<Run, MmuError> {
        let kind = Kind::table(level - 1);
        let (mut index, mut taken) = (start, 0);
        loop {
            let Some((present, pte)) = next_present(self.memory, mfn, index) else {
                return Ok(Run::To(ENTRIES));
            };
            index = present;
            if taken == BATCH {
                return Ok(Run::To(index));
            }
            if is_hypervisor_slot(level, index) {
                index = HYPERVISOR_SLOTS.end;
                continue;
            }
            if pte.0 & Pte::PSE != 0 {
                return if index == start { Err(MmuError::Invalid) } else { Ok(Run::To(index)) };
            }
            let held = self.frames.take_valid(tx, pte.mfn(), subject.tables, kind)
                || matches!(self.frames.get_typed(tx, pte.mfn(), subject.tables, kind), Ok(Got::Taken));
            if !held {
                return Ok(Run::Below(pte.mfn(), index));
            }
            let adjusted = adjusted_table(pte);
            if adjusted != pte {
                self.memory.store64(entry_address(mfn, index), adjusted.0);
            }
            taken += 1;
            index += 1;
        }
    }
}
