//! `XENMEM_exchange`: frames for others that lie better (adjacent, or low enough for a device).
//!
//! A chunk is the larger of an input and an output extent; each is one transaction, wholly done or not, unless it is
//! a large one (`large_extents`).

use crate::allocation::{allocating, clear};
use crate::call::{Call, CallResult, Outcome, fault};
use crate::large_extents;
use crate::memory_reservation::{address_bits, make_room, max_order, number, retired};
use crate::reply::{MAX_INNER, copy_bytes, copy_word};
use core::mem::offset_of;
use frames::{MAX_ASSIGN_ORDER, Owner};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Mfn};
use vault::{Apply, Preempted};
use xen_abi::Errno;
use xen_abi::memory::MemoryExchange;
use zerocopy::IntoBytes;

/// Frames of a chunk at most.
const MOST: usize = 1 << MAX_ASSIGN_ORDER;

/// A request whose sizes have been checked.
pub(crate) struct Exchange {
    pub(crate) slot: DomainSlot,
    /// Lists of frames to give, and of frame numbers to fill (then of the frames got).
    pub(crate) given: u64,
    pub(crate) taken: u64,
    pub(crate) given_order: u32,
    pub(crate) taken_order: u32,
    pub(crate) bits: u32,
}

impl Exchange {
    pub(crate) fn order(&self) -> u32 {
        self.given_order.max(self.taken_order)
    }

    /// Extents of the lists that one chunk has.
    pub(crate) fn given_count(&self) -> usize {
        1 << (self.order() - self.given_order)
    }

    pub(crate) fn taken_count(&self) -> usize {
        1 << (self.order() - self.taken_order)
    }
}

/// The hypercall's part: the argument says how far an earlier run came.
pub(crate) fn exchange<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let at = call.args[1];
    let raw: MemoryExchange = call.memory.read(Gva(at)).map_err(fault)?;
    check(call, &raw)?;
    let request = Exchange {
        slot: call.domain_slot(raw.in_.domid)?,
        given: raw.in_.extent_start,
        taken: raw.out.extent_start,
        given_order: raw.in_.extent_order,
        taken_order: raw.out.extent_order,
        bits: address_bits(raw.out.mem_flags),
    };
    large_extents::settle(call, Some((request.slot, request.order(), true)));
    let per_chunk = u64::from(raw.out.extent_order.saturating_sub(raw.in_.extent_order));
    let (first, total) = (raw.nr_exchanged >> per_chunk, raw.in_.nr_extents >> per_chunk);
    let count_at = at.wrapping_add(offset_of!(MemoryExchange, nr_exchanged) as u64);
    loop {
        let index = first + call.done();
        let result = if index >= total {
            Ok(())
        } else if call.done() == MAX_INNER || call.j.spend().is_err() {
            Err(Stop::Later)
        } else {
            chunk(call, &request, index)
        };
        let (done, result) = match result {
            Ok(()) if index < total => continue,
            Ok(()) => (raw.in_.nr_extents, 0),
            Err(Stop::Later) => {
                return Ok(call.again_with(&[], |tx| copy_word(tx, count_at, index << per_chunk)));
            }
            Err(Stop::Refused(errno)) => (index << per_chunk, errno.to_result()),
        };
        let reply = call.reply;
        call.j.change(|tx| {
            copy_word(tx, count_at, done);
            reply.publish(tx, result);
        });
        return Ok(Outcome::Replied);
    }
}

fn check<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    raw: &MemoryExchange,
) -> Result<(), Errno> {
    let (given, taken) = (&raw.in_, &raw.out);
    if max_order(call) < given.extent_order.max(taken.extent_order) {
        return Err(Errno::EPERM);
    }
    let fits = |r: &xen_abi::memory::MemoryReservation| u64::MAX >> r.extent_order >= r.nr_extents;
    let pages = |r: &xen_abi::memory::MemoryReservation| r.nr_extents << r.extent_order;
    if raw.nr_exchanged > given.nr_extents
        || given.domid != taken.domid
        || !fits(given)
        || !fits(taken)
        || pages(given) != pages(taken)
    {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// Why the exchange ends before its end.
pub(crate) enum Stop {
    /// It goes on in the next entry.
    Later,
    Refused(Errno),
}

impl From<Preempted> for Stop {
    fn from(Preempted: Preempted) -> Self {
        Self::Later
    }
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

/// Exchanges one chunk.
fn chunk<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    request: &Exchange,
    index: u64,
) -> Result<(), Stop> {
    if request.order() > MAX_ASSIGN_ORDER {
        return large_extents::exchange(call, request, index);
    }
    let (mut given, mut taken) = ([0u64; MOST], [0u64; MOST]);
    let (given, taken) = (&mut given[..request.given_count()], &mut taken[..request.taken_count()]);
    read_list(call, request.given, index, given)?;
    let taken_at = read_list(call, request.taken, index, taken)?;
    let size = 1u64 << request.given_order;
    let frames_of = |first: &u64| {
        let first = *first;
        (0..size).map(move |offset| Mfn(first.wrapping_add(offset)))
    };
    for mfn in given.iter().flat_map(frames_of) {
        if !retired(call, mfn) {
            return Err(Stop::Later);
        }
    }
    make_room(call, request.order(), request.bits)?;
    let (frames, memory, owner) = (call.state.frames, call.memory, Owner::domain(request.slot));
    let mut numbers = [0u64; MOST];
    let numbers = &mut numbers[..taken.len()];
    allocating(call, |tx| {
        for mfn in given.iter().flat_map(frames_of) {
            frames.release_sole(tx, mfn, owner).map_err(|_| Errno::EINVAL)?;
        }
        let first = frames
            .allocate_in_place(tx, request.slot, request.order(), request.bits)
            .map_err(|_| Errno::ENOMEM)?;
        clear(memory, first, 1 << request.order());
        for (extent, (gpfn, slot)) in (0u64..).zip(taken.iter().zip(numbers.iter_mut())) {
            let mfn = Mfn(first.0 + (extent << request.taken_order));
            number(tx, mfn, *gpfn, 1 << request.taken_order);
            *slot = mfn.0;
        }
        copy_bytes(tx, taken_at, numbers.as_bytes());
        tx.advance(1);
        Ok(())
    })
}

/// Reads chunk `index` of a list; returns where it is.
fn read_list<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    list: u64,
    index: u64,
    out: &mut [u64],
) -> Result<u64, Errno> {
    let bytes = size_of_val(out) as u64;
    let at = index.checked_mul(bytes).and_then(|o| list.checked_add(o)).ok_or(Errno::EFAULT)?;
    call.memory.copy_in(Gva(at), out.as_mut_bytes()).map_err(fault)?;
    Ok(at)
}
