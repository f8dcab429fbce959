//! `XEN_DOMCTL_getpageframeinfo3`: what a domain's frames are used as.

use crate::call::{Call, CallResult, Outcome, fault};
use crate::reply::copy_bytes;
use frames::{Owner, Usage};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Mfn};
use toolstack_compat::state::Words;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::domctl::{
    XEN_DOMCTL_PFINFO_L1TAB, XEN_DOMCTL_PFINFO_LPINTAB, XEN_DOMCTL_PFINFO_NOTAB, XEN_DOMCTL_PFINFO_XTAB,
};
use zerocopy::IntoBytes;

/// Frames that one call may ask of, as on Xen.
const MOST: u64 = 1024;
/// Frames of one transaction: what is said takes the places of their numbers.
const BATCH: usize = 256;

/// Says it of each frame of the list, in its place.
///
/// # Errors
/// `E2BIG`: too many; `EFAULT`.
pub(super) fn describe<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    domain: DomainSlot,
    list: Words,
) -> CallResult {
    if list.count > MOST {
        return Err(Errno::E2BIG);
    }
    loop {
        let done = call.done();
        let left = list.count.saturating_sub(done);
        let mut words = [0; BATCH];
        let Some(words) = words.get_mut(..left.min(BATCH as u64) as usize) else { return Err(Errno::EFAULT) };
        let at = list.at.checked_add(8 * done).ok_or(Errno::EFAULT)?;
        for (word, place) in words.iter_mut().zip((at..).step_by(8)) {
            *word = kind(call, domain, Mfn(call.memory.read(Gva(place)).map_err(fault)?));
        }
        let (count, reply) = (words.len() as u64, call.reply);
        let is_last = count == left;
        call.j.change(|tx| {
            copy_bytes(tx, at, words.as_bytes());
            if is_last {
                reply.publish(tx, 0);
            } else {
                tx.advance(count);
            }
        });
        if is_last {
            return Ok(Outcome::Replied);
        }
    }
}

fn kind<M, A>(call: &Call<'_, M, A>, domain: DomainSlot, mfn: Mfn) -> u64 {
    match call.state.frames.frame(mfn).map(|frame| frame.usage()) {
        Some(usage) if usage.owner() == Owner::domain(domain) => of_usage(usage),
        _ => XEN_DOMCTL_PFINFO_XTAB,
    }
}

fn of_usage(usage: Usage) -> u64 {
    let pinned = if usage.is_pinned() { XEN_DOMCTL_PFINFO_LPINTAB } else { 0 };
    match usage.kind().level() {
        Some(level) if usage.is_validated() || usage.is_in_work() => {
            (XEN_DOMCTL_PFINFO_L1TAB * u64::from(level)) | pinned
        }
        // What the hypervisor shares with it is no memory of its.
        _ if !usage.is_allocated() => XEN_DOMCTL_PFINFO_XTAB,
        _ => XEN_DOMCTL_PFINFO_NOTAB,
    }
}
