//! `GNTTABOP_copy`: bytes from frame to frame, each the caller's own or granted to it.
//!
//! The bytes are written before the commit: a repetition copies them again, and to who may see them it makes no
//! difference when. The grants are in use from before the first byte until after the last, whatever fails.

use super::elements::{Element, each, refuse};
use super::map::{Refusal, by_any_id};
use crate::call::{Call, CallResult, fault};
use core::mem::offset_of;
use frames::{Frames, Owner};
use grants::Want;
use guest_memory::GuestMemory;
use ids::{DomainSlot, FRAME_SIZE, Gva, Maddr, Mfn};
use vault::{Apply, Effect, Tx};
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTST_BAD_COPY_ARG, GNTST_GENERAL_ERROR, GNTST_PERMISSION_DENIED,
    GnttabCopy, GnttabCopyPtr,
};
use xen_abi::xen::DOMID_SELF;

const STATUS: usize = offset_of!(GnttabCopy, status);

/// One side of a copy.
struct Side {
    slot: DomainSlot,
    /// Frame or reference.
    what: u64,
    is_grant: bool,
    write: bool,
}

/// What a side has come to: the frame, held, and the part of it that may be used.
struct Held {
    frame: Mfn,
    start: u32,
    len: u32,
    write: bool,
    release: Option<Effect>,
}

impl Held {
    fn allows(&self, offset: u32, len: u32) -> bool {
        offset >= self.start && offset + len <= self.start + self.len
    }

    fn let_go(self, tx: &mut Tx<'_>) {
        if let Some(unmark) = self.release {
            tx.publish(unmark);
        }
        tx.publish(if self.write { Frames::put_typed(self.frame) } else { Frames::put_ref(self.frame) });
    }
}

/// The hypercall.
pub(super) fn copy<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    count: u64,
) -> CallResult {
    let result = each(call, at, count, size_of::<GnttabCopy>(), one);
    call.restartable(result)
}

fn one<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    element: &Element,
) -> Result<(), Errno> {
    let request: GnttabCopy = call.memory.read(Gva(element.at)).map_err(fault)?;
    let source = side(call, &request.source, request.flags & GNTCOPY_SOURCE_GREF != 0, false);
    let dest = || side(call, &request.dest, request.flags & GNTCOPY_DEST_GREF != 0, true);
    let sides = source.and_then(|source| Ok([source, dest()?]));
    let [source, dest] = match sides {
        Ok(sides) => sides,
        Err(status) => {
            refuse(call, element, STATUS, status);
            return Ok(());
        }
    };
    loop {
        match attempt(call, element, &request, [&source, &dest]) {
            Ok(()) => return Ok(()),
            Err(Refusal::Status(status)) => {
                refuse(call, element, STATUS, status);
                return Ok(());
            }
            Err(Refusal::InTheWay(mfn)) => {
                let mmu = call.state.mmu(call.memory);
                mmu.clear_the_way(call.j, mfn).map_err(|_| Errno::ERESTART)?;
            }
        }
    }
}

fn side<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    named: &GnttabCopyPtr,
    is_grant: bool,
    write: bool,
) -> Result<Side, i16> {
    // A frame by its number is the caller's own.
    if named.domid != DOMID_SELF && !is_grant {
        return Err(GNTST_PERMISSION_DENIED);
    }
    let slot = by_any_id(call, named.domid)?;
    let what = if is_grant { named.u & 0xffff_ffff } else { named.u };
    Ok(Side { slot, what, is_grant, write })
}

fn attempt<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    element: &Element,
    request: &GnttabCopy,
    [source, dest]: [&Side; 2],
) -> Result<(), Refusal> {
    let (state, memory, domain) = (call.state, call.memory, call.domain);
    let mmu = state.mmu(memory);
    let id = state.domains.domain(domain).id.get();
    let [from, to, len] = [request.source.offset, request.dest.offset, request.len].map(u32::from);
    call.j.transaction(|tx| {
        match (source.is_grant, dest.is_grant) {
            (true, true) => state.grants.lock_both(tx, source.slot, dest.slot),
            (true, false) => state.grants.lock(tx, source.slot),
            (false, true) => state.grants.lock(tx, dest.slot),
            (false, false) => {}
        }
        let hold = |tx: &mut Tx<'static>, side: &Side| -> Result<Held, Refusal> {
            let held = if side.is_grant {
                let want = Want {
                    granter: side.slot,
                    gref: side.what as u32,
                    mapper: domain,
                    mapper_id: id,
                    write: side.write,
                    to_map: false,
                };
                let claim = state.grants.claim(tx, memory, &want)?;
                let (start, len) = (claim.start, claim.len);
                Held { frame: claim.frame, start, len, write: side.write, release: claim.release }
            } else {
                let len = FRAME_SIZE as u32;
                Held { frame: Mfn(side.what), start: 0, len, write: side.write, release: None }
            };
            mmu.hold(tx, held.frame, Owner::domain(side.slot), side.write)?;
            Ok(held)
        };
        let source = hold(tx, source)?;
        let dest = hold(tx, dest)?;
        if from + len > FRAME_SIZE as u32 || to + len > FRAME_SIZE as u32 {
            return Err(GNTST_BAD_COPY_ARG.into());
        }
        if !source.allows(from, len) || !dest.allows(to, len) {
            return Err(GNTST_GENERAL_ERROR.into());
        }
        let place = |side: &Held, offset: u32| Maddr(side.frame.maddr().0 + u64::from(offset));
        memory.copy_machine(place(&source, from), place(&dest, to), len.into());
        source.let_go(tx);
        dest.let_go(tx);
        element.tell(tx, STATUS, 0);
        element.finish(tx);
        Ok(())
    })
}
