//! `GNTTABOP_copy`: bytes from frame to frame, each the caller's own or granted to it.
//!
//! References and flags are held from before the first byte until after the last, and taken back before the commit by
//! what would undo them. The bytes are written before the commit: a repetition copies them again, and to who may see them it makes
//! no difference when, unless the two ranges overlap, of which nothing is promised. One transaction carries out several
//! elements, as long as none writes to a frame that one before it has read: a repetition would read something else.

use super::elements::{Element, Next, next};
use super::group::{Group, Refused, Stop};
use super::map::{by_any_id, give_up};
use crate::call::{Call, CallResult, Outcome};
use domain::State;
use frames::Owner;
use grants::Want;
use guest_memory::GuestMemory;
use ids::{DomainSlot, FRAME_SIZE, Maddr, Mfn};
use vault::{Apply, Mark, Tx};
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTST_BAD_COPY_ARG, GNTST_GENERAL_ERROR, GNTST_OKAY,
    GNTST_PERMISSION_DENIED, GnttabCopy,
};
use xen_abi::xen::DOMID_SELF;

const BYTES: usize = size_of::<GnttabCopy>();
const WHOLE: u32 = FRAME_SIZE as u32;
/// Elements of one transaction: its locks are held while they are copied.
const BATCH: u64 = 16;
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
    let mut most = BATCH;
    loop {
        let first = match next(call, at, count, BYTES)? {
            Next::End(outcome) => return Ok(outcome),
            Next::One(element) => element,
        };
        match several(call, &first, most) {
            Ok(true) => return Ok(Outcome::Replied),
            Ok(false) => most = BATCH,
            Err(Stop::Fault) => return Err(Errno::EFAULT),
            Err(Stop::Untold) => most = 1,
            Err(Stop::InTheWay(mfn)) => {
                let mmu = call.state.mmu(call.memory);
                mmu.clear_the_way(call.j, mfn).map_err(|_| Errno::ERESTART)?;
            }
        }
    }
}

/// Carries out at least the first element, and those behind it that go with it, `most` at most. Says whether the list has
/// ended.
fn several<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    first: &Element,
    most: u64,
) -> Result<bool, Stop> {
    let (state, memory, domain) = (call.state, call.memory, call.domain);
    let room = first.room(most);
    let mut group = Group::<GnttabCopy>::new();
    if !group.read(memory, first.at, room) {
        return Err(Stop::Fault);
    }
    let parties = Parties::of(group.first());
    let sides = parties.sides(state, domain);
    let id = state.domains.domain(domain).id.get();
    call.j.transaction(|tx| {
        let sides = sides.map(|sides| {
            lock(state, tx, &sides);
            sides.map(|side| Locked {
                grants: side.is_grant.then(|| state.grants.parties(side.slot, domain, id)),
                owner: Owner::domain(side.slot),
                write: side.write,
            })
        });
        let before = tx.mark();
        let (last, held) = ([Part::NONE; 2], [Mfn(0); HELD]);
        let mut copies = Copies { state, memory, before, read: 0, last, held, count: 0 };
        let carried = group.carry_out(memory, first, room, |request| {
            if Parties::of(request) != parties {
                return Err(Refused::Later);
            }
            copies.one(tx, request, sides.as_ref().map_err(|status| *status)?)?;
            request.status = GNTST_OKAY;
            Ok(())
        })?;
        copies.let_go(tx);
        group.tell(tx, &carried);
        Ok(first.finish_several(tx, carried.done))
    })
}

fn lock(state: &'static State, tx: &mut Tx<'static>, [source, dest]: &[Side; 2]) {
    match (source.is_grant, dest.is_grant) {
        (true, true) => state.grants.lock_both(tx, source.slot, dest.slot),
        (true, false) => state.grants.lock(tx, source.slot),
        (false, true) => state.grants.lock(tx, dest.slot),
        (false, false) => {}
    }
}

/// A side whose grants are locked.
struct Locked {
    /// If they are grants.
    grants: Option<grants::Parties>,
    owner: Owner,
    write: bool,
}

/// The copies of one transaction.
struct Copies<'a, M> {
    state: &'static State,
    memory: &'a M,
    /// Where the transaction held nothing yet.
    before: Mark,
    /// Frames that were read: a bit for each, by the lowest bits of its number.
    read: u64,
    /// What the element before used as source and as target: it is still held.
    last: [Part; 2],
    /// Frames that are held.
    held: [Mfn; HELD],
    count: usize,
}

/// The bit of a frame.
fn bit(mfn: Mfn) -> u64 {
    1 << (mfn.0 % 64)
}

impl<M: GuestMemory> Copies<'_, M> {
    /// One copy. What it took is held until the [end](Self::let_go), which comes at once if it is refused: those before it
    /// need nothing any more.
    #[inline(always)]
    fn one(
        &mut self,
        tx: &mut Tx<'static>,
        request: &GnttabCopy,
        sides: &[Locked; 2],
    ) -> Result<(), Refused> {
        let done = self.carry_out(tx, request, sides);
        if done.is_err() {
            self.let_go(tx);
        }
        done
    }

    /// Lets go of all that is held.
    #[inline(never)]
    fn let_go(&mut self, tx: &mut Tx<'static>) {
        give_up(self.state, self.memory, tx, self.before, self.held.get(..self.count).unwrap_or_default());
        (self.count, self.last) = (0, [Part::NONE; 2]);
    }

    #[inline(always)]
    fn carry_out(
        &mut self,
        tx: &mut Tx<'static>,
        request: &GnttabCopy,
        sides: &[Locked; 2],
    ) -> Result<(), Refused> {
        self.hold(tx, sides, request.source.u, 0)?;
        self.hold(tx, sides, request.dest.u, 1)?;
        let [from, to, len] = [request.source.offset, request.dest.offset, request.len].map(u32::from);
        if from + len > WHOLE || to + len > WHOLE {
            return Err(Refused::Status(GNTST_BAD_COPY_ARG));
        }
        let [source, dest] = &self.last;
        if !source.allows(from, len) || !dest.allows(to, len) {
            return Err(Refused::Status(GNTST_GENERAL_ERROR));
        }
        if self.read & bit(dest.frame) != 0 {
            return Err(Refused::Later);
        }
        self.read |= bit(source.frame);
        let place = |side: &Part, offset: u32| Maddr(side.frame.maddr().0 + u64::from(offset));
        self.memory.copy_machine(place(source, from), place(dest, to), len.into());
        Ok(())
    }

    /// Takes a frame into use, if it is not the one that is.
    #[inline(always)]
    fn hold(
        &mut self,
        tx: &mut Tx<'static>,
        sides: &[Locked; 2],
        what: u64,
        which: usize,
    ) -> Result<(), Refused> {
        if self.last[which].what == what && self.last[which].end != 0 {
            return Ok(());
        }
        self.take(tx, &sides[which], what, which)
    }

    #[inline(never)]
    fn take(&mut self, tx: &mut Tx<'static>, side: &Locked, what: u64, which: usize) -> Result<(), Refused> {
        let part = match &side.grants {
            Some(parties) => {
                let want = Want { gref: what as u32, write: side.write, to_map: false };
                let claim = self.state.grants.claim(tx, self.memory, parties, want)?;
                Part { what, frame: claim.frame, start: claim.start, end: claim.start + claim.len }
            }
            None => Part { what, frame: Mfn(what), start: 0, end: WHOLE },
        };
        self.state.mmu(self.memory).hold(tx, part.frame, side.owner, side.write, false)?;
        if let Some(held) = self.held.get_mut(self.count) {
            *held = part.frame;
            self.count += 1;
        }
        self.last[which] = part;
        Ok(())
    }
}

/// The part of a frame that may be used.
#[derive(Clone, Copy)]
struct Part {
    /// How elements name it: by frame or reference.
    what: u64,
    frame: Mfn,
    start: u32,
    /// 0: there is none.
    end: u32,
}

impl Part {
    const NONE: Self = Self { what: 0, frame: Mfn(0), start: 0, end: 0 };

    fn allows(&self, offset: u32, len: u32) -> bool {
        offset >= self.start && offset + len <= self.end
    }
}
