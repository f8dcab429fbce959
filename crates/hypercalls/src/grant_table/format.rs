//! The format of entries: `GNTTABOP_set_version`, `GNTTABOP_get_version`; `GNTTABOP_swap_grant_ref`; and
//! `GNTTABOP_cache_flush`.

use super::elements::{each, refuse};
use crate::allocation::allocating;
use crate::call::{Call, CallResult, Outcome, fault};
use crate::reply::copy_half;
use core::mem::offset_of;
use frames::Owner;
use guest_memory::GuestMemory;
use ids::{FRAME_SIZE, Gva, Maddr};
use vault::Apply;
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL, GNTTAB_CACHE_SOURCE_GREF, GnttabCacheFlush, GnttabGetVersion,
    GnttabSetVersion, GnttabSwapGrantRef,
};

/// Changes the format of the caller's entries. The guest hears of the format there is where it asked, so with the
/// result: a repetition reads what was asked.
pub(super) fn set_version<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
) -> CallResult {
    let request: GnttabSetVersion = call.memory.read(Gva(at)).map_err(fault)?;
    let (grants, slot) = (&call.state.grants, call.domain);
    let result = match request.version {
        2 if grants.limits(slot).version == 1 => Err(Errno::ENOSYS),
        1 | 2 => change_format(call, request.version == 2),
        _ => Err(Errno::EINVAL),
    };
    match result {
        Ok(()) => Ok(Outcome::Replied),
        Err(errno) => {
            let (reply, version) = (call.reply, grants.version(slot));
            call.j.change(|tx| {
                copy_half(tx, at, version);
                reply.publish(tx, errno.to_result());
            });
            Ok(Outcome::Replied)
        }
    }
}

fn change_format<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    to_v2: bool,
) -> Result<(), Errno> {
    let (state, memory, slot, reply, at) = (call.state, call.memory, call.domain, call.reply, call.args[1]);
    let clear = |mfn: ids::Mfn| memory.clear_frame(mfn.maddr());
    if to_v2 {
        super::size::grow(call, slot, grants::INITIAL_FRAMES).map_err(|_| Errno::ENOMEM)?;
        let mut grown = || allocating(call, |tx| state.grants.grow_status(tx, state.frames, slot, clear));
        while grown().map_err(|_| Errno::ENOMEM)? {}
    }
    call.j.transaction(|tx| {
        state.grants.set_format(tx, memory, state.frames, slot, to_v2)?;
        copy_half(tx, at, 1 + u32::from(to_v2));
        reply.publish(tx, 0);
        Ok(())
    })
}

/// Says which format a domain's entries have.
pub(super) fn get_version<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: u64) -> CallResult {
    let request: GnttabGetVersion = call.memory.read(Gva(at)).map_err(fault)?;
    let slot = call.domain_slot(request.dom)?;
    let at = at.wrapping_add(offset_of!(GnttabGetVersion, version) as u64);
    call.memory.write(Gva(at), &call.state.grants.version(slot)).map_err(fault)?;
    Ok(Outcome::Value(0))
}

/// Exchanges entries of the caller's table.
pub(super) fn swap<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    count: u64,
) -> CallResult {
    const STATUS: usize = offset_of!(GnttabSwapGrantRef, status);
    each(call, at, count, size_of::<GnttabSwapGrantRef>(), |call, element| {
        let request: GnttabSwapGrantRef = call.memory.read(Gva(element.at)).map_err(fault)?;
        let (grants, memory, slot) = (&call.state.grants, call.memory, call.domain);
        let done = call.j.transaction(|tx| {
            grants.swap(tx, memory, slot, [request.ref_a, request.ref_b])?;
            element.tell(tx, STATUS, 0);
            element.finish(tx);
            Ok(())
        });
        if let Err(status) = done {
            refuse(call, element, STATUS, status);
        }
        Ok(())
    })
}

/// Cache maintenance, which processors of this architecture do by themselves: checked, and done.
pub(super) fn cache_flush<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    count: u64,
) -> CallResult {
    each(call, at, count, size_of::<GnttabCacheFlush>(), |call, element| {
        let request: GnttabCacheFlush = call.memory.read(Gva(element.at)).map_err(fault)?;
        check_flush(call, &request)?;
        call.j.change(|tx| element.finish(tx));
        Ok(())
    })
}

fn check_flush<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    request: &GnttabCacheFlush,
) -> Result<(), Errno> {
    let end = u64::from(request.offset) + u64::from(request.length);
    if u64::from(request.offset) >= FRAME_SIZE
        || end > FRAME_SIZE
        || request.op & !(GNTTAB_CACHE_INVAL | GNTTAB_CACHE_CLEAN) != 0
    {
        return Err(Errno::EINVAL);
    }
    if request.length == 0 || request.op == 0 {
        return Ok(());
    }
    debug_assert_eq!(request.op & GNTTAB_CACHE_SOURCE_GREF, 0, "refused above");
    let mfn = Maddr(request.a).mfn();
    let owner = call.state.frames.frame(mfn).ok_or(Errno::EINVAL)?.usage().owner();
    let granter = owner.slot().ok_or(Errno::EPERM)?;
    let mapped = || {
        let mut mappings = call.state.grants.mappings();
        mappings.any(|m| m.granter == granter && m.mapper == call.domain && m.frame == mfn)
    };
    if owner == Owner::domain(call.domain) || mapped() { Ok(()) } else { Err(Errno::EINVAL) }
}
