//! Reservations: `increase_reservation`, `populate_physmap`, `decrease_reservation`.
//!
//! The result is always the number of extents done, whatever stopped the rest, as in Xen. New frames
//! never show what somebody else left in them: they are cleared, even those that were the domain's own,
//! before the commit, when nobody can reach them.

use crate::allocation::{allocating, clear};
use crate::call::{Call, CallResult, Outcome, fault};
use crate::large_extents::{self, Extent};
use crate::memory_exchange::Stop;
use crate::memory_op::COMMAND_BITS;
use crate::reply::{MAX_INNER, copy_bytes};
use frames::{MAX_ASSIGN_ORDER, NoMemory, Owner};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Mfn};
use pv_cpu::Reg;
use vault::{Apply, Effect, Preempted, Tx, kind};
use xen_abi::Errno;
use xen_abi::memory::{
    MemoryReservation, XENMEM_POPULATE_PHYSMAP, XENMEMF_ADDRESS_BITS_MASK, XENMEMF_POPULATE_ON_DEMAND,
    XENMEMF_VNODE,
};
use xen_abi::trace::TRC_MEM_DECREASE_RESERVATION;
use zerocopy::IntoBytes;

/// Largest extents that Xen lets Dom0 and other domains ask for (`memop-max-order`).
const MAX_ORDER_DOM0: u32 = 18;
const MAX_ORDER: u32 = 9;
/// Single frames that one transaction hands out.
const BATCH_OUT: usize = 8;
/// Frames that one transaction takes back (its effects are bounded).
const BATCH_IN: usize = 1 << MAX_ASSIGN_ORDER;
/// Largest extent whose pieces the progress of one call can count.
const MAX_ORDER_IN: u32 = 16;

/// A request that may be carried out.
struct Request {
    slot: DomainSlot,
    list: u64,
    count: u64,
    order: u32,
    address_bits: u32,
    populate: bool,
}

impl Request {
    fn element(&self, index: u64) -> Option<Gva> {
        index.checked_mul(8).and_then(|offset| self.list.checked_add(offset)).map(Gva)
    }
}

/// The largest order that the caller may ask for.
pub(crate) fn max_order<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>) -> u32 {
    if call.is_privileged() { MAX_ORDER_DOM0 } else { MAX_ORDER }
}

/// The width of the addresses wanted; 64: any.
pub(crate) fn address_bits(mem_flags: u32) -> u32 {
    match mem_flags & XENMEMF_ADDRESS_BITS_MASK {
        0 => 64,
        bits => bits,
    }
}

fn request<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, start: u64) -> Option<Request> {
    let raw: MemoryReservation = call.memory.read(Gva(call.args[1])).ok()?;
    if raw.nr_extents > u64::from(u32::MAX >> COMMAND_BITS) || start >= raw.nr_extents {
        return None;
    }
    let slot = call.domain_slot(raw.domid).ok()?;
    let bits = address_bits(raw.mem_flags);
    if bits <= ids::FRAME_SHIFT || raw.mem_flags & XENMEMF_VNODE != 0 || raw.extent_order > max_order(call) {
        return None;
    }
    // Nothing is populated on demand for a PV domain.
    if raw.mem_flags & XENMEMF_POPULATE_ON_DEMAND != 0 {
        return None;
    }
    Some(Request {
        slot,
        list: raw.extent_start,
        count: raw.nr_extents,
        order: raw.extent_order,
        address_bits: bits,
        populate: false,
    })
}

/// Runs the hypercall again from extent `index` on.
fn resume<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, index: u64) -> Outcome {
    let op = call.args[0] & ((1 << COMMAND_BITS) - 1);
    call.again(&[(Reg::Rdi, op | index << COMMAND_BITS)])
}

/// Hands frames out: `op` says whether the list names the frame numbers they get.
///
/// Extents larger than [`MAX_ASSIGN_ORDER`] go one by one, in pieces ([`large_extents`]).
pub(crate) fn grow<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    op: u32,
    start: u64,
) -> CallResult {
    let Some(mut request) = request(call, start) else { return Ok(Outcome::Value(start as i64)) };
    request.populate = op == XENMEM_POPULATE_PHYSMAP;
    large_extents::settle(call, Some((request.slot, request.order, false)));
    let most = if request.order == 0 { BATCH_OUT } else { 1 };
    let mut batch = most;
    loop {
        let index = start + call.done();
        let left = (request.count - index).min(MAX_INNER - call.done());
        if index == request.count {
            return Ok(Outcome::Value(index as i64));
        }
        // One by one after a refusal it comes to its end soon.
        if left == 0 || batch == most && call.j.spend().is_err() {
            return Ok(resume(call, index));
        }
        if request.order > MAX_ASSIGN_ORDER {
            match hand_out_large(call, &request, index) {
                Ok(()) => continue,
                Err(Stop::Later) => return Ok(resume(call, index)),
                Err(Stop::Refused(_)) => return Ok(Outcome::Value(index as i64)),
            }
        }
        if make_room(call, request.order, request.address_bits).is_err() {
            return Ok(resume(call, index));
        }
        let count = batch.min(left as usize);
        match hand_out(call, &request, index, count) {
            Ok(()) => {}
            Err(NoMemory) if batch > 1 => batch = 1,
            Err(NoMemory) => return Ok(Outcome::Value(index as i64)),
        }
    }
}

/// Hands out extent `index`, a large one.
fn hand_out_large<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    request: &Request,
    index: u64,
) -> Result<(), Stop> {
    let told_at = (request.list != 0).then(|| request.element(index).ok_or(Errno::EFAULT)).transpose()?;
    let gpfn = match told_at {
        // Written back at once: see `hand_out`.
        Some(at) => {
            let gpfn: u64 = call.memory.read(at).map_err(fault)?;
            call.memory.write(at, &gpfn).map_err(fault)?;
            Some(gpfn).filter(|_| request.populate)
        }
        None if request.populate => return Err(Errno::EFAULT.into()),
        None => None,
    };
    let (slot, order, bits) = (request.slot, request.order, request.address_bits);
    let extent = Extent { slot, order, bits, gpfn, told_at: told_at.map(|at| at.0) };
    large_extents::hand_out(call, &extent)
}

/// Joins free frames until a block of `order` is there, or no more join.
///
/// # Errors
/// [`Preempted`]: the rest is for the next entry.
pub(crate) fn make_room<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    order: u32,
    bits: u32,
) -> Result<(), Preempted> {
    let frames = call.state.frames;
    while !frames.has_block(order, bits) && call.j.change(|tx| frames.settle(tx, bits)) {
        call.j.spend()?;
    }
    Ok(())
}

/// Hands out `count` extents in one transaction.
fn hand_out<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    request: &Request,
    index: u64,
    count: usize,
) -> Result<(), NoMemory> {
    let mut gpfns = [0u64; BATCH_OUT];
    if request.populate || request.list != 0 {
        // Written back at once: the guest is given nothing that it could not be told about.
        let (at, list) = (request.element(index).ok_or(NoMemory)?, gpfns[..count].as_mut_bytes());
        call.memory.copy_in(at, list).and_then(|()| call.memory.copy_out(at, list)).map_err(|_| NoMemory)?;
    }
    let (frames, memory) = (call.state.frames, call.memory);
    allocating(call, |tx| {
        let mut mfns = [0u64; BATCH_OUT];
        for (mfn, gpfn) in mfns[..count].iter_mut().zip(&gpfns) {
            let first = frames.allocate(tx, request.slot, request.order, request.address_bits)?;
            clear(memory, first, 1 << request.order);
            if request.populate {
                number(tx, first, *gpfn, 1 << request.order);
            }
            *mfn = first.0;
        }
        if request.list != 0
            && let Some(at) = request.element(index)
        {
            copy_bytes(tx, at.0, mfns[..count].as_bytes());
        }
        tx.advance(count as u64);
        Ok(())
    })
}

/// Gives adjacent frames adjacent frame numbers in the machine-to-physical table.
pub(crate) fn number(tx: &mut Tx<'_>, first: Mfn, gpfn: u64, count: u64) {
    for index in 0..count {
        tx.publish(Effect { kind: kind::M2P, x: 0, a: first.0 + index, b: gpfn.wrapping_add(index) });
    }
}

/// Takes frames back. A frame that is still mapped stays with the domain until it no longer is.
pub(crate) fn shrink<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    start: u64,
) -> CallResult {
    let Some(request) = request(call, start) else { return Ok(Outcome::Value(start as i64)) };
    if request.order > MAX_ORDER_IN {
        return Ok(Outcome::Value(start as i64));
    }
    // Small extents go several at once, large ones in pieces; progress counts extents or pieces.
    let pieces = 1 << request.order.saturating_sub(MAX_ASSIGN_ORDER);
    let most = BATCH_IN >> request.order.min(MAX_ASSIGN_ORDER);
    let mut batch = most;
    loop {
        let (index, piece) = (start + call.done() / pieces, call.done() % pieces);
        if index == request.count {
            return Ok(Outcome::Value(index as i64));
        }
        let room = MAX_INNER - call.done();
        // A repetition goes on at a whole extent.
        if piece == 0 && (room < pieces || batch == most && call.j.spend().is_err()) {
            return Ok(resume(call, index));
        }
        let count = batch.min((request.count - index) as usize).min(room as usize);
        match take_back(call, &request, index, piece, count) {
            Ok(true) if call.state.traces.is_on() => tell(call, &request, index, count),
            Ok(true) => {}
            Ok(false) => return Ok(resume(call, index)),
            Err(Refused) if batch > 1 => batch = 1,
            Err(Refused) => return Ok(Outcome::Value(index as i64)),
        }
    }
}

/// Notes that extents were taken back.
#[cold]
fn tell<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    request: &Request,
    index: u64,
    count: usize,
) {
    let id = call.state.domains.domain(request.slot).id.get().0;
    for at in (index..index + count as u64).filter_map(|index| request.element(index)) {
        let first: u64 = call.memory.read(at).unwrap_or(u64::MAX);
        let [low, high] = [first as u32, (first >> 32) as u32];
        let words = [low, high, u32::from(id) | request.order << 16];
        call.cpus.trace(TRC_MEM_DECREASE_RESERVATION, false, &words);
    }
}

struct Refused;

/// Takes back `count` whole extents, or piece `piece` of a large one, in one transaction. `Ok(false)`:
/// something has to be finished first, and the entry has no more time for it.
fn take_back<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    request: &Request,
    index: u64,
    piece: u64,
    count: usize,
) -> Result<bool, Refused> {
    let mut firsts = [0u64; BATCH_IN];
    let at = request.element(index).ok_or(Refused)?;
    call.memory.copy_in(at, firsts[..count].as_mut_bytes()).map_err(|_| Refused)?;
    let size = 1 << request.order.min(MAX_ASSIGN_ORDER);
    let runs = firsts[..count].iter().map(|first| first.wrapping_add(piece << MAX_ASSIGN_ORDER));
    let mfns = runs.flat_map(|first| (0..size).map(move |offset| Mfn(first.wrapping_add(offset))));
    for mfn in mfns.clone() {
        // Only between extents, so that a large one is never left half done.
        if !retired(call, mfn) && piece == 0 {
            return Ok(false);
        }
    }
    let (frames, owner) = (call.state.frames, Owner::domain(request.slot));
    call.j.transaction(|tx| {
        for mfn in mfns {
            frames.release(tx, mfn, owner).map_err(|_| Refused)?;
        }
        tx.advance(count as u64);
        Ok(true)
    })
}

/// Unvalidates a page table that nobody uses any more. False: it has not come to its end yet.
pub(crate) fn retired<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, mfn: Mfn) -> bool {
    let mmu = call.state.mmu(call.memory);
    mmu.retire(call.j, mfn).is_ok()
}
