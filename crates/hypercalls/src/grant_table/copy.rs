//! `GNTTABOP_copy`: bytes from frame to frame, each the caller's own or granted to it.
//!
//! References and flags are held from before the first byte until after the last, and taken back before the commit by
//! what would undo them. The bytes are written before the commit: a repetition copies them again, and to who may see them it makes
//! no difference when, unless the two ranges overlap, of which nothing is promised. One transaction carries out several
//! elements, as long as none writes to a frame that one before it has read: a repetition would read something else.

use super::elements::{Element, Next, next, tell_now};
use super::map::{Refusal, Refused, Stop, by_any_id, give_up};
use crate::call::{Call, CallResult, Outcome};
use core::mem::offset_of;
use domain::State;
use frames::Owner;
use grants::Want;
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, FRAME_SIZE, Gva, Maddr, Mfn};
use vault::{Apply, Mark, Tx};
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTST_BAD_COPY_ARG, GNTST_GENERAL_ERROR, GNTST_PERMISSION_DENIED,
    GnttabCopy,
};
use xen_abi::xen::DOMID_SELF;

const BYTES: usize = size_of::<GnttabCopy>();
const STATUS: u64 = offset_of!(GnttabCopy, status) as u64;
const WHOLE: u32 = FRAME_SIZE as u32;
/// Elements of one transaction: its locks are held while they are copied.
const BATCH: u64 = 8;
/// Frames that they hold at most.
const HELD: usize = 2 * BATCH as usize;

/// One side of a copy.
#[derive(Clone, Copy)]
struct Side {
    slot: DomainSlot,
    is_grant: bool,
    write: bool,
}

/// What elements that go together have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Parties {
    domains: [u16; 2],
    flags: u16,
}

impl Parties {
    fn of(request: &GnttabCopy) -> Self {
        Self { domains: [request.source.domid, request.dest.domid], flags: request.flags }
    }

    /// The two sides, or the status that says why there are none.
    fn sides(self, state: &State, caller: DomainSlot) -> Result<[Side; 2], i16> {
        let side = |id: u16, grant: u16, write: bool| {
            let is_grant = self.flags & grant != 0;
            // A frame by its number is the caller's own.
            if id != DOMID_SELF && !is_grant {
                return Err(GNTST_PERMISSION_DENIED);
            }
            Ok(Side { slot: by_any_id(state, caller, id)?, is_grant, write })
        };
        let [source, dest] = self.domains;
        Ok([side(source, GNTCOPY_SOURCE_GREF, false)?, side(dest, GNTCOPY_DEST_GREF, true)?])
    }
}

/// The hypercall.
pub(super) fn copy<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    count: u64,
) -> CallResult {
    let result = run(call, at, count);
    call.restartable(result)
}

fn run<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: u64, count: u64) -> CallResult {
    loop {
        let first = match next(call, at, count, BYTES)? {
            Next::End(outcome) => return Ok(outcome),
            Next::One(element) => element,
        };
        match several(call, &first) {
            Ok(true) => return Ok(Outcome::Replied),
            Ok(false) => {}
            Err(Stop::Fault) => return Err(Errno::EFAULT),
            Err(Stop::InTheWay(mfn)) => {
                let mmu = call.state.mmu(call.memory);
                mmu.clear_the_way(call.j, mfn).map_err(|_| Errno::ERESTART)?;
            }
        }
    }
}

/// Carries out at least the first element, and those behind it that go with it. Says whether the list has ended.
fn several<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    first: &Element,
) -> Result<bool, Stop> {
    let (state, memory, domain) = (call.state, call.memory, call.domain);
    let mut request: GnttabCopy = memory.read(Gva(first.at)).map_err(|_| Stop::Fault)?;
    let parties = Parties::of(&request);
    let sides = parties.sides(state, domain);
    let id = state.domains.domain(domain).id.get();
    call.j.transaction(|tx| {
        if let Ok([source, dest]) = &sides {
            lock(state, tx, source, dest);
        }
        let before = tx.mark();
        let mut copies = Copies {
            state,
            memory,
            mapper: domain,
            id,
            read: 0,
            last: [None; 2],
            held: [None; HELD],
            count: 0,
        };
        let (mut done, mut at) = (0, first.at);
        loop {
            let done_one = match &sides {
                Ok(sides) => copies.one(tx, &request, sides),
                Err(status) => Err(Refused::Status(*status)),
            };
            let status = match done_one {
                Ok(()) => 0,
                Err(Refused::Status(status)) => status,
                Err(Refused::InTheWay(mfn)) if done == 0 => return Err(Stop::InTheWay(mfn)),
                Err(Refused::InTheWay(_) | Refused::Later) => break,
            };
            let told = tell_now(memory, tx, at.wrapping_add(STATUS), &status.to_le_bytes());
            done += 1;
            if !told || done == first.room(BATCH) {
                break;
            }
            at = at.wrapping_add(BYTES as u64);
            match memory.read(Gva(at)) {
                Ok(next) if Parties::of(&next) == parties => request = next,
                _ => break,
            }
        }
        copies.back_to(tx, before, 0);
        Ok(first.finish_several(tx, done))
    })
}

fn lock(state: &'static State, tx: &mut Tx<'static>, source: &Side, dest: &Side) {
    match (source.is_grant, dest.is_grant) {
        (true, true) => state.grants.lock_both(tx, source.slot, dest.slot),
        (true, false) => state.grants.lock(tx, source.slot),
        (false, true) => state.grants.lock(tx, dest.slot),
        (false, false) => {}
    }
}

/// The copies of one transaction.
struct Copies<'a, M> {
    state: &'static State,
    memory: &'a M,
    mapper: DomainSlot,
    id: DomId,
    /// Frames that were read: a bit for each, by the lowest bits of its number.
    read: u64,
    /// What the element before used as source and as target, by frame or reference: it is still held.
    last: [Option<(u64, Part)>; 2],
    /// Frames that are held.
    held: [Option<Mfn>; HELD],
    count: usize,
}

/// The bit of a frame.
fn bit(mfn: Mfn) -> u64 {
    1 << (mfn.0 % 64)
}

impl<M: GuestMemory> Copies<'_, M> {
    /// One copy; what it took is held until the [end](Self::end), or not at all if it is refused.
    #[inline(always)]
    fn one(&mut self, tx: &mut Tx<'static>, request: &GnttabCopy, sides: &[Side; 2]) -> Result<(), Refused> {
        let (before, count) = (tx.mark(), self.count);
        let done = self.carry_out(tx, request, sides);
        if done.is_err() {
            self.back_to(tx, before, count);
        }
        done
    }

    /// Lets go of what was taken since `before`, when `count` frames were held.
    #[inline(never)]
    fn back_to(&mut self, tx: &mut Tx<'static>, before: Mark, count: usize) {
        give_up(self.state, self.memory, tx, before, self.held.get(count..self.count).unwrap_or_default());
        (self.count, self.last) = (count, [None; 2]);
    }

    #[inline(always)]
    fn carry_out(
        &mut self,
        tx: &mut Tx<'static>,
        request: &GnttabCopy,
        [source, dest]: &[Side; 2],
    ) -> Result<(), Refused> {
        let [from, to, len] = [request.source.offset, request.dest.offset, request.len].map(u32::from);
        let source = self.hold(tx, source, request.source.u, 0)?;
        let dest = self.hold(tx, dest, request.dest.u, 1)?;
        if from + len > WHOLE || to + len > WHOLE {
            return Err(Refused::Status(GNTST_BAD_COPY_ARG));
        }
        if !source.allows(from, len) || !dest.allows(to, len) {
            return Err(Refused::Status(GNTST_GENERAL_ERROR));
        }
        if self.read & bit(dest.frame) != 0 {
            return Err(Refused::Later);
        }
        let place = |side: &Part, offset: u32| Maddr(side.frame.maddr().0 + u64::from(offset));
        self.memory.copy_machine(place(&source, from), place(&dest, to), len.into());
        self.read |= bit(source.frame);
        Ok(())
    }

    /// Takes a frame into use, if it is not the one that is.
    #[inline(always)]
    fn hold(&mut self, tx: &mut Tx<'static>, side: &Side, what: u64, which: usize) -> Result<Part, Refusal> {
        if let Some((last, part)) = self.last[which]
            && last == what
        {
            return Ok(part);
        }
        self.take(tx, side, what, which)
    }

    #[inline(never)]
    fn take(&mut self, tx: &mut Tx<'static>, side: &Side, what: u64, which: usize) -> Result<Part, Refusal> {
        let part = if side.is_grant { self.claim(tx, side, what as u32)? } else { Part::of(Mfn(what)) };
        self.state.mmu(self.memory).hold(tx, part.frame, Owner::domain(side.slot), side.write)?;
        if let Some(held) = self.held.get_mut(self.count) {
            *held = Some(part.frame);
            self.count += 1;
        }
        self.last[which] = Some((what, part));
        Ok(part)
    }

    #[inline(always)]
    fn claim(&self, tx: &mut Tx<'static>, side: &Side, gref: u32) -> Result<Part, i16> {
        let want = Want {
            granter: side.slot,
            gref,
            mapper: self.mapper,
            mapper_id: self.id,
            write: side.write,
            to_map: false,
        };
        let claim = self.state.grants.claim(tx, self.memory, &want)?;
        Ok(Part { frame: claim.frame, start: claim.start, len: claim.len })
    }
}

/// The part of a frame that may be used.
#[derive(Clone, Copy)]
struct Part {
    frame: Mfn,
    start: u32,
    len: u32,
}

impl Part {
    fn of(frame: Mfn) -> Self {
        Self { frame, start: 0, len: WHOLE }
    }

    fn allows(&self, offset: u32, len: u32) -> bool {
        offset >= self.start && offset + len <= self.start + self.len
    }
}
