//! `mmu_update`: page-table entries and machine-to-physical entries, in batches.

use crate::batch::{self, Request, Said};
use crate::call::{Call, CallResult, fault, mmu_errno};
use guest_memory::GuestMemory;
use ids::{Gva, Maddr, Mfn};
use pv_mmu::{AdBits, MmuError, Pte, Subject};
use vault::{Apply, Effect, Tx, kind};
use xen_abi::Errno;
use xen_abi::xen::{
    MMU_MACHPHYS_UPDATE, MMU_NORMAL_PT_UPDATE, MMU_PT_UPDATE_NO_TRANSLATE, MMU_PT_UPDATE_PRESERVE_AD,
    MmuUpdate,
};

const UPDATE_BYTES: u64 = 16;

/// The hypercall: requests, count, done-count pointer, foreign domain.
pub(crate) fn mmu_update<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let foreign = call.args[3];
    // Bits above 15: a table owner other than the caller, plus one, which only a stub domain's model uses.
    if let Some(owner) = ((foreign as u32 >> 16) as u16).checked_sub(1)
        && call.domain_slot(owner)? != call.domain
    {
        return Err(Errno::EPERM);
    }
    let subject = call.subject(foreign as u16)?;
    batch::run(call, UPDATE_BYTES, |call, request| one(call, request, subject))
}

fn one<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    this: &Request,
    subject: Subject,
) -> Result<Said, Errno> {
    let request: MmuUpdate = call.memory.read(Gva(this.at)).map_err(fault)?;
    let address = Maddr(request.ptr & !7);
    let mmu = call.state.mmu(call.memory);
    let mut finish = |tx: &mut Tx<'static>| this.finish(tx);
    let result = match request.ptr & 3 {
        command if command == MMU_NORMAL_PT_UPDATE || command == MMU_PT_UPDATE_NO_TRANSLATE => {
            mmu.update(call.j, address, Pte(request.val), AdBits::Replace, subject, &mut finish)
        }
        command if command == MMU_PT_UPDATE_PRESERVE_AD => {
            mmu.update(call.j, address, Pte(request.val), AdBits::Preserve, subject, &mut finish)
        }
        command if command == MMU_MACHPHYS_UPDATE => {
            let mfn = Mfn(request.ptr >> 12);
            call.j.transaction(|tx| {
                call.state.frames.get_ref(tx, mfn, subject.leaves)?;
                tx.publish(Effect { kind: kind::M2P, x: 0, a: mfn.0, b: request.val });
                tx.publish(frames::Frames::put_ref(mfn));
                this.finish(tx);
                Ok(())
            })
        }
        _ => Err(MmuError::Invalid),
    };
    result.map_err(mmu_errno)?;
    Ok(this.finished())
}
