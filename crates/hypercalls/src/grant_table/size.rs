//! The size of a table and its frames: `GNTTABOP_setup_table`, `GNTTABOP_query_size`, `GNTTABOP_get_status_frames`.

use crate::allocation::allocating;
use crate::call::{Call, CallResult, Outcome, fault};
use core::mem::offset_of;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Mfn};
use vault::Apply;
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTST_BAD_DOMAIN, GNTST_BAD_VIRT_ADDR, GNTST_GENERAL_ERROR, GNTST_OKAY, GNTST_PERMISSION_DENIED,
    GnttabGetStatusFrames, GnttabQuerySize, GnttabSetupTable,
};

/// The domain whose table is meant, or the status that says why not.
fn table_of<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, id: u16) -> Result<DomainSlot, i16> {
    call.domain_slot(id).map_err(|errno| match errno {
        Errno::EPERM => GNTST_PERMISSION_DENIED,
        _ => GNTST_BAD_DOMAIN,
    })
}

fn status<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: u64, value: i16) -> CallResult {
    call.memory.write(Gva(at), &value).map_err(fault)?;
    Ok(Outcome::Value(0))
}

/// Grows a table to `wanted` frames, a frame a transaction.
///
/// # Errors
/// No memory, or more than the domain may have.
pub(super) fn grow<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    slot: DomainSlot,
    wanted: u32,
) -> Result<(), frames::NoMemory> {
    let (state, memory) = (call.state, call.memory);
    // A guest's words from before must not be taken for grants.
    let clear = |mfn: Mfn| memory.clear_frame(mfn.maddr());
    while allocating(call, |tx| state.grants.grow_by_one(tx, state.frames, slot, wanted, clear))? {}
    Ok(())
}

/// Lists frames in guest memory; the status says whether it took them.
fn list<M: GuestMemory>(memory: &M, to: u64, frames: impl Iterator<Item = Mfn>) -> i16 {
    let mut status = GNTST_OKAY;
    for (index, mfn) in (0..).zip(frames) {
        let at = to.checked_add(8 * index);
        if at.is_none_or(|at| memory.write(Gva(at), &mfn.0).is_err()) {
            status = GNTST_BAD_VIRT_ADDR;
        }
    }
    status
}

/// Grows the table to the size wanted and lists its frames.
pub(super) fn setup_table<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
) -> CallResult {
    let request: GnttabSetupTable = call.memory.read(Gva(at)).map_err(fault)?;
    let status_at = at.wrapping_add(offset_of!(GnttabSetupTable, status) as u64);
    let slot = match table_of(call, request.dom) {
        Ok(slot) => slot,
        Err(refused) => return status(call, status_at, refused),
    };
    if request.nr_frames > call.state.grants.limits(slot).frames
        || grow(call, slot, request.nr_frames).is_err()
    {
        return status(call, status_at, GNTST_GENERAL_ERROR);
    }
    let frames = call.state.grants.frames(slot).take(request.nr_frames as usize);
    let listed = list(call.memory, request.frame_list, frames);
    status(call, status_at, listed)
}

/// Says how large a table is.
pub(super) fn query_size<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: u64) -> CallResult {
    let mut request: GnttabQuerySize = call.memory.read(Gva(at)).map_err(fault)?;
    match table_of(call, request.dom) {
        Ok(slot) => {
            request.nr_frames = call.state.grants.count(slot);
            request.max_nr_frames = call.state.grants.limits(slot).frames;
            request.status = GNTST_OKAY;
        }
        Err(refused) => request.status = refused,
    }
    call.memory.write(Gva(at), &request).map_err(fault)?;
    Ok(Outcome::Value(0))
}

/// Lists the status frames of a table of format 2.
pub(super) fn status_frames<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    at: u64,
) -> CallResult {
    let request: GnttabGetStatusFrames = call.memory.read(Gva(at)).map_err(fault)?;
    let status_at = at.wrapping_add(offset_of!(GnttabGetStatusFrames, status) as u64);
    let slot = match table_of(call, request.dom) {
        Ok(slot) => slot,
        Err(refused) => return status(call, status_at, refused),
    };
    let grants = &call.state.grants;
    let wanted = request.nr_frames as usize;
    if grants.version(slot) == 1 && wanted > 0 || wanted > grants.status(slot).count() {
        return status(call, status_at, GNTST_GENERAL_ERROR);
    }
    let listed = list(call.memory, request.frame_list, grants.status(slot).take(wanted));
    status(call, status_at, listed)
}
