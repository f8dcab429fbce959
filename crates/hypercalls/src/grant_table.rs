//! `grant_table_op`: the table's frames. Mapping, copying and transfer are not there yet: each element
//! gets `GNTST_general_error`.

use crate::allocation::allocating;
use crate::call::{Call, CallResult, Outcome, fault};
use crate::reply::copy_half;
use core::mem::offset_of;
use grants::{MAX_FRAMES, VERSION};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva};
use pv_cpu::Reg;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTST_BAD_DOMAIN, GNTST_GENERAL_ERROR, GNTST_OKAY, GNTST_PERMISSION_DENIED, GNTTABOP_COPY,
    GNTTABOP_GET_STATUS_FRAMES, GNTTABOP_GET_VERSION, GNTTABOP_MAP_GRANT_REF, GNTTABOP_QUERY_SIZE,
    GNTTABOP_SET_VERSION, GNTTABOP_SETUP_TABLE, GNTTABOP_SWAP_GRANT_REF, GNTTABOP_TRANSFER,
    GNTTABOP_UNMAP_AND_REPLACE, GNTTABOP_UNMAP_GRANT_REF, GnttabCopy, GnttabGetStatusFrames,
    GnttabGetVersion, GnttabMapGrantRef, GnttabQuerySize, GnttabSetVersion, GnttabSetupTable,
    GnttabSwapGrantRef, GnttabTransfer, GnttabUnmapAndReplace, GnttabUnmapGrantRef,
};
use xen_abi::hypercall::GRANT_TABLE_OP;

/// Elements answered before the guest's call is run again for the rest.
const BATCH: u64 = 1024;

/// The hypercall: operation, list, count.
pub(crate) fn grant_table_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [op, at, count, ..] = call.args;
    if count as i32 as i64 != count as i64 || (count as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    match op as u32 {
        GNTTABOP_SETUP_TABLE if count == 1 => setup_table(call, at),
        GNTTABOP_QUERY_SIZE if count == 1 => query_size(call, at),
        GNTTABOP_GET_STATUS_FRAMES if count == 1 => {
            // Only version 2 has them.
            let status_at = at + offset_of!(GnttabGetStatusFrames, status) as u64;
            status(call, status_at, GNTST_GENERAL_ERROR)
        }
        GNTTABOP_SETUP_TABLE | GNTTABOP_QUERY_SIZE | GNTTABOP_GET_STATUS_FRAMES => Err(Errno::EINVAL),
        GNTTABOP_SET_VERSION => set_version(call, at),
        GNTTABOP_GET_VERSION => get_version(call, at),
        op => match element(op) {
            Some(element) => refuse_each(call, element),
            None => call.unsupported(GRANT_TABLE_OP, op.into(), Errno::ENOSYS),
        },
    }
}

/// Size of an element and place of its status.
fn element(op: u32) -> Option<(u64, u64)> {
    macro_rules! of {
        ($type:ty) => {
            Some((size_of::<$type>() as u64, offset_of!($type, status) as u64))
        };
    }
    match op {
        GNTTABOP_MAP_GRANT_REF => of!(GnttabMapGrantRef),
        GNTTABOP_UNMAP_GRANT_REF => of!(GnttabUnmapGrantRef),
        GNTTABOP_TRANSFER => of!(GnttabTransfer),
        GNTTABOP_COPY => of!(GnttabCopy),
        GNTTABOP_UNMAP_AND_REPLACE => of!(GnttabUnmapAndReplace),
        GNTTABOP_SWAP_GRANT_REF => of!(GnttabSwapGrantRef),
        _ => None,
    }
}

/// Tells each element of a list that it failed.
fn refuse_each<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    (size, status_offset): (u64, u64),
) -> CallResult {
    let [op, list, count, ..] = call.args;
    call.notice(GRANT_TABLE_OP, op);
    let now = count.min(BATCH);
    for index in 0..now {
        let offset = size * index + status_offset;
        let at = list.checked_add(offset).ok_or(Errno::EFAULT)?;
        call.memory.write(Gva(at), &GNTST_GENERAL_ERROR).map_err(fault)?;
    }
    if now == count {
        return Ok(Outcome::Value(0));
    }
    Ok(call.again(&[(Reg::Rsi, list + size * now), (Reg::Rdx, count - now)]))
}

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

/// Grows the table to the size wanted, a frame a transaction, and lists its frames.
fn setup_table<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let request: GnttabSetupTable = call.memory.read(Gva(at)).map_err(fault)?;
    let status_at = at.wrapping_add(offset_of!(GnttabSetupTable, status) as u64);
    let slot = match table_of(call, request.dom) {
        Ok(slot) => slot,
        Err(refused) => return status(call, status_at, refused),
    };
    if request.nr_frames > MAX_FRAMES {
        return status(call, status_at, GNTST_GENERAL_ERROR);
    }
    let (state, memory) = (call.state, call.memory);
    loop {
        // A guest's words from before must not be taken for grants.
        let clear = |mfn: ids::Mfn| memory.clear_frame(mfn.maddr());
        let step =
            allocating(call, |tx| state.grants.grow_by_one(tx, state.frames, slot, request.nr_frames, clear));
        match step {
            Ok(true) => {}
            Ok(false) => break,
            Err(frames::NoMemory) => return status(call, status_at, GNTST_GENERAL_ERROR),
        }
    }
    for (index, mfn) in (0..).zip(state.grants.frames(slot).take(request.nr_frames as usize)) {
        let to = request.frame_list.checked_add(8 * index).ok_or(Errno::EFAULT)?;
        call.memory.write(Gva(to), &mfn.0).map_err(fault)?;
    }
    status(call, status_at, GNTST_OKAY)
}

fn query_size<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: u64) -> CallResult {
    let mut request: GnttabQuerySize = call.memory.read(Gva(at)).map_err(fault)?;
    match table_of(call, request.dom) {
        Ok(slot) => {
            request.nr_frames = call.state.grants.count(slot);
            request.max_nr_frames = MAX_FRAMES;
            request.status = GNTST_OKAY;
        }
        Err(refused) => request.status = refused,
    }
    call.memory.write(Gva(at), &request).map_err(fault)?;
    Ok(Outcome::Value(0))
}

/// Version 1 is the only one: 2 is answered as Xen does where it is switched off (`gnttab=max-ver:1`). The guest
/// hears of it where it asked, so with the result: a repetition reads what was asked.
fn set_version<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64) -> CallResult {
    let request: GnttabSetVersion = call.memory.read(Gva(at)).map_err(fault)?;
    let result = match request.version {
        VERSION => 0,
        2 => Errno::ENOSYS.to_result(),
        _ => Errno::EINVAL.to_result(),
    };
    let reply = call.reply;
    call.j.change(|tx| {
        copy_half(tx, at, VERSION);
        reply.publish(tx, result);
    });
    Ok(Outcome::Replied)
}

fn get_version<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: u64) -> CallResult {
    let mut request: GnttabGetVersion = call.memory.read(Gva(at)).map_err(fault)?;
    call.domain_slot(request.dom)?;
    request.version = VERSION;
    call.memory.write(Gva(at), &request).map_err(fault)?;
    Ok(Outcome::Value(0))
}
