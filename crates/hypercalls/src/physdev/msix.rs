//! An MSI-X table becomes read-only before the first message of its device is mapped.
//!
//! Each step leaves less that can be written: the table is guarded; one page table after another loses the right to
//! write to it, as far as the cursor says; processors forget; the table is closed. A crash, or the end of the entry, in
//! between leaves a guard that the repetition of the call goes on with.

use super::pirq::pirq_errno;
use crate::call::Call;
use domain::{InBar, State};
use guest_memory::GuestMemory;
use ids::Maddr;
use irqs::{Guard, MsixTable, Source};
use vault::{Apply, Preempted, flush};
use xen_abi::Errno;

/// The table of the device whose message is to be mapped: where its base address register says, or else where the guest
/// says, as on Xen. `None`: it has none.
pub(super) fn table(state: &State, source: Source) -> Option<MsixTable> {
    let (Source::Msi(msi) | Source::MultiMsi(msi, _)) = source else { return None };
    if msi.table_base == 0 {
        return None;
    }
    let (segment, bus, devfn) = (msi.segment, msi.bus, msi.devfn);
    let found = state.pci?.msix(segment, bus, devfn)?;
    let place = |part: InBar| {
        // The guest speaks of the table's register alone.
        let said = (part.register == found.table.register).then_some(Maddr(msi.table_base));
        InBar { base: part.base.or(said), ..part }.address()
    };
    let (at, pending) = (place(found.table)?, place(found.pending));
    Some(MsixTable { segment, bus, devfn, at, entries: found.entries, pending })
}

/// What a step of closing a table came to.
enum Step {
    Closed,
    Swept,
    Forgotten,
}

/// Closes a table, if it is not closed yet.
///
/// # Errors
/// `ERESTART`: there is more to do than one entry does. `ENOSPC`.
pub(super) fn guard<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    table: &MsixTable,
) -> Result<(), Errno> {
    let (irqs, mmu) = (call.state.irqs(), call.state.mmu(call.memory));
    let end = call.state.frames.len();
    loop {
        let step = call.j.transaction(|tx| match irqs.guard(tx, table).map_err(pirq_errno)? {
            Guard::Closed => Ok(Step::Closed),
            Guard::Open(from) if from < end => {
                let next = mmu.sweep(tx, from);
                irqs.note_swept(tx, table, next);
                Ok(Step::Swept)
            }
            Guard::Open(_) => {
                tx.publish(flush::EVERYWHERE);
                Ok(Step::Forgotten)
            }
        })?;
        match step {
            Step::Closed => return Ok(()),
            Step::Swept => call.j.spend().map_err(|Preempted| Errno::ERESTART)?,
            // Behind the flush, which was waited for.
            Step::Forgotten => call.j.change(|tx| irqs.close(tx, table)),
        }
    }
}
