//! `mmu_update`: page-table entries and machine-to-physical entries, in batches.

use crate::batch::{self, Request, Said};
use crate::call::{Call, CallResult, Outcome, fault, mmu_errno};
use guest_memory::GuestMemory;
use ids::{Gva, Maddr, Mfn};
use pv_mmu::{AdBits, EntryWrite, MmuError, Pte, Subject};
use vault::{Apply, Effect, Tx, kind};
use xen_abi::Errno;
use xen_abi::xen::{
    DOMID_SELF, MMU_MACHPHYS_UPDATE, MMU_NORMAL_PT_UPDATE, MMU_PT_UPDATE_NO_TRANSLATE,
    MMU_PT_UPDATE_PRESERVE_AD, MmuUpdate,
};

const UPDATE_BYTES: u64 = 16;

/// The hypercall: requests, count, done-count pointer, foreign domain.
pub(crate) fn mmu_update<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [list, count, done_at, foreign, _] = call.args;
    if (count, done_at, foreign) == (1, 0, DOMID_SELF.into()) && single(call, list) {
        return Ok(Outcome::Replied);
    }
    // Bits above 15: a table owner other than the caller, plus one, which only a stub domain's model uses.
    if let Some(owner) = ((foreign as u32 >> 16) as u16).checked_sub(1)
        && call.domain_slot(owner)? != call.domain
    {
        return Err(Errno::EPERM);
    }
    let subject = call.subject(foreign as u16)?;
    batch::run(call, UPDATE_BYTES, |call, request| one(call, request, subject))
}

/// Carries out a list of one request as most are: the change of an L1 entry, from which nothing follows. False: nothing
/// was done.
#[inline(never)]
fn single<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, list: u64) -> bool {
    // Neither counted in an earlier run, nor has one left work.
    if call.done() != 0 || call.context.debt.get() != Mfn(0) {
        return false;
    }
    let Ok(request) = call.memory.read::<MmuUpdate>(Gva(list)) else { return false };
    let (Some(write), Ok(subject)) = (entry_write(&request), call.subject(DOMID_SELF)) else { return false };
    let (mmu, reply) = (call.state.mmu(call.memory), call.reply);
    mmu.update_at_once(call.j, write, subject, |tx| reply.publish(tx, 0))
}

fn one<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    this: &Request,
    subject: Subject,
) -> Result<Said, Errno> {
    let request: MmuUpdate = call.memory.read(Gva(this.at)).map_err(fault)?;
    let result = match entry_write(&request) {
        Some(write) => {
            let (memory, mmu, debt) = (call.memory, call.state.mmu(call.memory), &call.context.debt);
            let next = |behind| entry_write(&memory.read(this.further(behind, UPDATE_BYTES)?).ok()?);
            let mut said = this.finished();
            let done = |tx: &mut Tx<'static>, count, owes| said = this.finish_unless(tx, count, owes);
            mmu.update(call.j, write, subject, debt, next, done).map(|()| said)
        }
        None if request.ptr & 3 == MMU_MACHPHYS_UPDATE => {
            name_frame(call, this, Mfn(request.ptr >> 12), request.val, subject)
        }
        None => Err(MmuError::Invalid),
    };
    result.map_err(mmu_errno)
}

/// The change of an entry that a request asks for, if that is what it asks for.
#[inline(always)]
fn entry_write(request: &MmuUpdate) -> Option<EntryWrite> {
    let ad = match request.ptr & 3 {
        MMU_NORMAL_PT_UPDATE | MMU_PT_UPDATE_NO_TRANSLATE => AdBits::Replace,
        MMU_PT_UPDATE_PRESERVE_AD => AdBits::Preserve,
        _ => return None,
    };
    Some(EntryWrite { at: Maddr(request.ptr & !7), new: Pte(request.val), ad })
}

/// Says in the machine-to-physical table which of the domain's frames `mfn` is.
fn name_frame<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    this: &Request,
    mfn: Mfn,
    pfn: u64,
    subject: Subject,
) -> Result<Said, MmuError> {
    let frames = &call.state.frames;
    call.j.transaction(|tx| {
        frames.get_ref(tx, mfn, subject.leaves)?;
        tx.publish(Effect { kind: kind::M2P, x: 0, a: mfn.0, b: pfn });
        tx.publish(frames::Frames::put_ref(mfn));
        this.finish(tx);
        Ok(this.finished())
    })
}
