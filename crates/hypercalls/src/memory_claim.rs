//! `XENMEM_claim_pages`: free memory is promised to a domain that is being built.

use crate::call::{Call, CallResult, fault};
use frames::NoClaim;
use guest_memory::GuestMemory;
use ids::{DomId, Gva};
use vault::Apply;
use xen_abi::Errno;
use xen_abi::memory::MemoryReservation;
use xen_abi::xen::DOMID_FIRST_RESERVED;

/// Sets a domain's claim, or ends it: the argument's extents are the frames that it is to have in all.
///
/// # Errors
/// `EINVAL`: not so to be asked, no such domain, it has a claim, or it cannot come to have so many; `ENOMEM`; `EPERM`.
pub(crate) fn claim<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let claim: MemoryReservation = call.memory.read(Gva(call.args[1])).map_err(fault)?;
    if claim.extent_start != 0 || claim.extent_order != 0 || claim.mem_flags != 0 {
        return Err(Errno::EINVAL);
    }
    if claim.domid >= DOMID_FIRST_RESERVED {
        return Err(Errno::EINVAL);
    }
    let slot = call.state.domains.by_id(DomId(claim.domid)).ok_or(Errno::EINVAL)?;
    call.privileged()?;
    let frames = call.state.frames;
    call.reply_after(|tx| {
        frames.claim(tx, slot, claim.nr_extents).map_err(|refused| match refused {
            NoClaim::Invalid => Errno::EINVAL,
            NoClaim::NoMemory => Errno::ENOMEM,
        })
    })
}
