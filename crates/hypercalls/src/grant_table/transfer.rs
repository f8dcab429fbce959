//! `GNTTABOP_transfer`: frames that the caller gives away, to entries of others that accept them.
//!
//! An element has two steps, for between them all processors must flush. The first gives the frame away and commits the
//! entry, in one transaction; the second tells the taker and the caller. A frame that nobody takes is lost to the caller
//! as well, as in Xen.

use super::elements::tell_now;
use crate::call::{Call, CallResult, Outcome, fault};
use crate::memory_reservation::{number, retired};
use crate::reply::Reply;
use core::mem::offset_of;
use frames::{FrameError, Owner};
use guest_memory::GuestMemory;
use ids::{DomId, Gva, Mfn};
use pv_cpu::Reg;
use vault::{Apply, Tx, flush};
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTST_BAD_DOMAIN, GNTST_BAD_PAGE, GNTST_GENERAL_ERROR, GNTST_OKAY, GnttabTransfer,
};

/// Bytes of an element.
pub(super) const BYTES: u64 = size_of::<GnttabTransfer>() as u64;
const STATUS: u64 = offset_of!(GnttabTransfer, status) as u64;
/// Elements of one run; progress counts two for each.
const AT_ONCE: u64 = 128;

/// The hypercall.
pub(super) fn transfer<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    count: u64,
) -> CallResult {
    let result = run(call, at, count);
    call.restartable(result)
}

fn run<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64, count: u64) -> CallResult {
    loop {
        let (index, is_given) = (call.done() / 2, !call.done().is_multiple_of(2));
        // The status of the element before could not be told: the list ends there.
        if index > 0 && call.j.apply.take_fault() {
            return Err(Errno::EFAULT);
        }
        if index >= count {
            return Ok(Outcome::Value(0));
        }
        let at = at.checked_add(index * BYTES).ok_or(Errno::EFAULT)?;
        if index == AT_ONCE {
            return Ok(call.again(&[(Reg::Rsi, at), (Reg::Rdx, count - index)]));
        }
        let request: GnttabTransfer = call.memory.read(Gva(at)).map_err(fault)?;
        let element = Element { request, at, is_last: index + 1 == count, reply: call.reply };
        if is_given {
            complete(call, &element);
        } else if give(call, &element)? {
            continue;
        }
        if element.is_last {
            return Ok(Outcome::Replied);
        }
    }
}

/// One element.
struct Element {
    request: GnttabTransfer,
    at: u64,
    is_last: bool,
    reply: Reply,
}

impl Element {
    /// Tells its status and counts it.
    fn finish<M: GuestMemory>(&self, tx: &mut Tx<'_>, memory: &M, status: i16) {
        tell_now(memory, tx, self.at.wrapping_add(STATUS), &status.to_le_bytes());
        if self.is_last {
            self.reply.publish(tx, 0);
        } else {
            tx.advance(2 - tx.progress() % 2);
        }
    }
}

/// Gives the frame away; it is to be completed then. If it cannot be given, the element is over: the frame is free,
/// unless it was not the caller's to give.
fn give<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    element: &Element,
) -> Result<bool, Errno> {
    let request = &element.request;
    let mfn = Mfn(request.mfn);
    if !retired(call, mfn) {
        return Err(Errno::ERESTART);
    }
    let (state, memory, from) = (call.state, call.memory, call.domain);
    let id = state.domains.domain(from).id.get();
    let taker = state.domains.by_id(DomId(request.domid)).ok_or(GNTST_BAD_DOMAIN);
    let given = call.j.transaction(|tx| {
        let taker = taker?;
        let wanted = state.grants.accept(tx, memory, (taker, request.ref_), id, mfn)?;
        state.frames.hand_over(tx, mfn, from, taker).map_err(|_| GNTST_GENERAL_ERROR)?;
        number(tx, mfn, wanted, 1);
        tx.publish(flush::EVERYWHERE);
        tx.advance(1);
        Ok(())
    });
    let Err(status) = given else { return Ok(true) };
    let lost = call.j.transaction(|tx| {
        state.frames.release_sole(tx, mfn, Owner::domain(from))?;
        element.finish(tx, memory, status);
        Ok::<(), FrameError>(())
    });
    if lost.is_err() {
        call.j.change(|tx| element.finish(tx, memory, GNTST_BAD_PAGE));
    }
    Ok(false)
}

/// Tells taker and caller of a frame that was given.
fn complete<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, element: &Element) {
    let (state, memory, request) = (call.state, call.memory, &element.request);
    let id = state.domains.domain(call.domain).id.get();
    let taker = state.domains.by_id(DomId(request.domid));
    call.j.change(|tx| {
        if let Some(taker) = taker {
            state.grants.complete_transfer(tx, memory, (taker, request.ref_), id);
        }
        element.finish(tx, memory, GNTST_OKAY);
    });
}
