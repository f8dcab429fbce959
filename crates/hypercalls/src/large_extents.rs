//! Extents larger than what one transaction hands out: a block is staged (`frames::Staged`), then handed to the domain
//! in pieces, a transaction each, within one entry.
//!
//! A failure leaves the pieces that were committed, and the record of what is left; the call, run again, goes on there.
//! If the guest meanwhile changed what it asks for, what is left goes back to the heap: frames that were handed out
//! are the domain's, though nobody told it which.

use crate::allocation::{allocating, clear};
use crate::call::{Call, fault};
use crate::memory_exchange::{Exchange, Stop};
use crate::memory_reservation::{make_room, number, retired};
use crate::reply::{copy_bytes, copy_word};
use alloc::vec::Vec;
use frames::{NoMemory, Owner, PIECE, Staged};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Mfn};
use vault::{Apply, Tx};
use xen_abi::Errno;
use zerocopy::IntoBytes;

/// Largest chunk of an exchange: its lists are copied to the heap. Xen's limit for a hardware domain (`memop-max-order`).
const MAX_ORDER: u32 = 12;

/// A large extent wanted.
pub(crate) struct Extent {
    pub(crate) slot: DomainSlot,
    pub(crate) order: u32,
    pub(crate) bits: u32,
    /// The number of its first frame, if the caller gives them numbers.
    pub(crate) gpfn: Option<u64>,
    /// Guest address for its machine frame, if the caller wants to know it.
    pub(crate) told_at: Option<u64>,
}

/// What a call that failed, and that its guest changed since, left behind. By every call that may leave something.
pub(crate) fn settle<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    wanted: Option<(DomainSlot, u32, bool)>,
) -> &'static Staged {
    let (frames, staged) = (call.state.frames, call.state.staging.of(call.vcpu));
    let goes_on = wanted.is_some_and(|(slot, order, exchange)| staged.is_for(slot, order, exchange));
    if staged.is_active() && !goes_on {
        call.j.change(|tx| frames.unstage(tx, staged));
    }
    staged
}

/// Hands out one extent; counts it done.
///
/// # Errors
/// `ENOMEM`; then nothing has changed.
pub(crate) fn hand_out<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    extent: &Extent,
) -> Result<(), Stop> {
    let &Extent { slot, order, bits, gpfn, told_at } = extent;
    let staged = settle(call, Some((slot, order, false)));
    if !staged.is_active() {
        stage(call, staged, (slot, order, false), bits)?;
    }
    let first = staged.first().0;
    while staged.is_active() {
        let done = piece(call, staged, |tx, mfn, at, last| {
            if let Some(gpfn) = gpfn {
                number(tx, mfn, gpfn.wrapping_add(at), PIECE.into());
            }
            if last {
                told_at.into_iter().for_each(|at| copy_word(tx, at, first));
                tx.advance(1);
            }
        });
        done.map_err(|NoMemory| Errno::ENOMEM)?;
    }
    Ok(())
}

/// Takes a block out of the heap, when no processor knows its frames any more.
fn stage<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    staged: &'static Staged,
    what: (DomainSlot, u32, bool),
    bits: u32,
) -> Result<(), Stop> {
    make_room(call, what.1, bits)?;
    let frames = call.state.frames;
    allocating(call, |tx| frames.stage(tx, staged, what, bits)).map_err(|NoMemory| Errno::ENOMEM.into())
}

/// Hands out the next piece, cleared; `also` gets its first frame, its place in the block, and whether it is the last.
fn piece<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    staged: &'static Staged,
    also: impl FnOnce(&mut Tx<'static>, Mfn, u64, bool),
) -> Result<(), NoMemory> {
    let (frames, memory) = (call.state.frames, call.memory);
    let (at, last) = (staged.handed(), staged.handed() + PIECE == staged.len());
    call.j.transaction(|tx| {
        let mfn = frames.hand_piece(tx, staged)?;
        clear(memory, mfn, PIECE.into());
        also(tx, mfn, at.into(), last);
        Ok(())
    })
}

/// Exchanges chunk `index`: stages a block, takes the frames given back, hands the block out.
///
/// # Errors
/// `EINVAL`: a frame is not the domain's alone, `ENOMEM`: then nothing has changed. A domain that changes its mappings
/// or its list while this goes on loses frames.
pub(crate) fn exchange<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    request: &Exchange,
    index: u64,
) -> Result<(), Stop> {
    let what = (request.slot, request.order(), true);
    if what.1 > MAX_ORDER {
        return Err(Errno::ENOMEM.into());
    }
    let (given, _) = list(call, request.given, index, request.given_count())?;
    let (taken, taken_at) = list(call, request.taken, index, request.taken_count())?;
    let staged = settle(call, Some(what));
    if !staged.is_active() {
        check(call, request, &given)?;
        stage(call, staged, what, request.bits)?;
    }
    while staged.taken() < staged.len() {
        if let Err(errno) = take_back(call, request, &given, staged) {
            settle(call, None);
            return Err(errno.into());
        }
    }
    while staged.is_active() {
        let done = piece(call, staged, |tx, mfn, at, last| {
            tell(tx, request.taken_order, (&taken, taken_at), mfn, at);
            if last {
                tx.advance(1);
            }
        });
        done.map_err(|NoMemory| Errno::ENOMEM)?;
    }
    Ok(())
}

/// Numbers the frames of a piece, whose first is `mfn` and which begins at frame `at` of the chunk, as the list says,
/// and writes there the frames of the extents that end in it: the numbers of others are still to be read.
fn tell(tx: &mut Tx<'_>, order: u32, (list, list_at): (&[u64], u64), mfn: Mfn, at: u64) {
    let (size, run) = (1_u64 << order, u64::from(PIECE).min(1 << order));
    let (mut firsts, mut count) = ([0_u64; PIECE as usize], 0);
    for from in (0..PIECE.into()).step_by(run as usize) {
        let (extent, offset) = ((at + from) >> order, (at + from) & (size - 1));
        let gpfn = list.get(extent as usize).copied().unwrap_or(u64::MAX);
        number(tx, Mfn(mfn.0 + from), gpfn.wrapping_add(offset), run);
        if offset + run == size {
            firsts[count] = mfn.0 + from - offset;
            count += 1;
        }
    }
    if count > 0 {
        copy_bytes(tx, list_at.wrapping_add(8 * (at >> order)), firsts[..count].as_bytes());
    }
}

/// Refuses frames that are not the domain's alone, or named twice.
fn check<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    request: &Exchange,
    given: &[u64],
) -> Result<(), Stop> {
    let mut sorted = Vec::new();
    sorted.try_reserve_exact(given.len()).map_err(|_| Errno::ENOMEM)?;
    sorted.extend_from_slice(given);
    sorted.sort_unstable();
    let size = 1_u64 << request.given_order;
    if sorted.windows(2).any(|pair| pair[1] - pair[0] < size) {
        return Err(Errno::EINVAL.into());
    }
    let frames = call.state.frames;
    for mfn in sorted.iter().flat_map(|first| (0..size).map(move |at| Mfn(first.wrapping_add(at)))) {
        if !retired(call, mfn) {
            return Err(Stop::Later);
        }
        let usage = frames.frame(mfn).ok_or(Errno::EINVAL)?.usage();
        if usage.owner() != Owner::domain(request.slot) || !usage.is_sole() || usage.is_validated() {
            return Err(Errno::EINVAL.into());
        }
    }
    Ok(())
}

/// Takes the next piece of the frames given.
fn take_back<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    request: &Exchange,
    given: &[u64],
    staged: &'static Staged,
) -> Result<(), Errno> {
    let (frames, owner) = (call.state.frames, Owner::domain(request.slot));
    let (from, order) = (u64::from(staged.taken()), request.given_order);
    call.j.transaction(|tx| {
        for at in from..from + u64::from(PIECE) {
            let first = given.get((at >> order) as usize).ok_or(Errno::EINVAL)?;
            let mfn = Mfn(first.wrapping_add(at & ((1 << order) - 1)));
            frames.release_sole(tx, mfn, owner).map_err(|_| Errno::EINVAL)?;
        }
        staged.take(tx);
        Ok(())
    })
}

/// Chunk `index` of a list, and where it is.
fn list<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    list: u64,
    index: u64,
    count: usize,
) -> Result<(Vec<u64>, u64), Errno> {
    let bytes = 8 * count as u64;
    let at = index.checked_mul(bytes).and_then(|o| list.checked_add(o)).ok_or(Errno::EFAULT)?;
    let mut words = Vec::new();
    words.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    for word in 0..count as u64 {
        words.push(call.memory.read(Gva(at.wrapping_add(8 * word))).map_err(fault)?);
    }
    Ok((words, at))
}
