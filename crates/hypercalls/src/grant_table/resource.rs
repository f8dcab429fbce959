//! `XENMEM_acquire_resource` of a grant table: its frames, for the toolstack to map.

use super::size::grow;
use crate::call::{Call, CallResult, Outcome, fault};
use core::mem::offset_of;
use grants::status_frames;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Mfn};
use vault::Apply;
use xen_abi::Errno;
use xen_abi::memory::{
    MemAcquireResource, XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED, XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS,
};

/// Tells the size of the resource, or lists its frames, for which the table grows.
///
/// # Errors
/// `EINVAL`: there is no such part of it, and there will be none.
pub(crate) fn acquire<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
    request: &MemAcquireResource,
) -> CallResult {
    let limits = call.state.grants.limits(slot);
    let most = match request.id {
        XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED => limits.frames,
        XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS => status_frames(limits.frames),
        _ => return Err(Errno::EINVAL),
    };
    if request.frame_list == 0 {
        if request.nr_frames != 0 {
            return Err(Errno::EINVAL);
        }
        let at = call.args[1].wrapping_add(offset_of!(MemAcquireResource, nr_frames) as u64);
        call.memory.write(Gva(at), &most).map_err(fault)?;
        return Ok(Outcome::Value(0));
    }
    let end = request.frame.checked_add(request.nr_frames.into()).and_then(|end| u32::try_from(end).ok());
    let end = end.filter(|end| request.nr_frames > 0 && *end <= most).ok_or(Errno::EINVAL)?;
    if request.id == XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS {
        if call.state.grants.version(slot) == 1 {
            return Err(Errno::EINVAL);
        }
        // As many frames of entries as the last status frame is for.
        let wanted = end.saturating_mul(8).min(limits.frames);
        grow(call, slot, wanted).map_err(|_| Errno::EINVAL)?;
        return list(call, request, call.state.grants.status(slot));
    }
    grow(call, slot, end).map_err(|_| Errno::EINVAL)?;
    list(call, request, call.state.grants.frames(slot))
}

fn list<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    request: &MemAcquireResource,
    frames: impl Iterator<Item = Mfn>,
) -> CallResult {
    let wanted = frames.skip(request.frame as usize).take(request.nr_frames as usize);
    for (index, mfn) in (0..).zip(wanted) {
        let at = request.frame_list.checked_add(8 * index).ok_or(Errno::EFAULT)?;
        call.memory.write(Gva(at), &mfn.0).map_err(fault)?;
    }
    Ok(Outcome::Value(0))
}
