//! `GNTTABOP_map_grant_ref`.

use super::elements::{Element, Next, next};
use super::group::{Group, Untold};
use super::places::{Later, Places};
use crate::call::{Call, CallResult, Outcome};
use core::mem::offset_of;
use domain::State;
use frames::Owner;
use grants::{Filling, Parties, Use, Want};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Gva, Maddr, Mfn};
use pv_mmu::{Blocked, Leaf, Pte, restore_pte};
use vault::{Apply, Mark, Noted, Tx};
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTMAP_APPLICATION_MAP, GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP, GNTMAP_READONLY,
    GNTST_BAD_DOMAIN, GNTST_BAD_GNTREF, GNTST_BAD_PAGE, GNTST_GENERAL_ERROR, GNTST_OKAY, GnttabMapGrantRef,
};
use xen_abi::trace::TRC_MEM_PAGE_GRANT_MAP;

const BYTES: usize = size_of::<GnttabMapGrantRef>();
/// Where status, handle and address are.
const ANSWER: usize = offset_of!(GnttabMapGrantRef, status);
/// Elements of one transaction: each has up to five undo entries and two effects.
const BATCH: u64 = 32;

/// Why an element is not carried out.
pub(super) enum Refusal {
    /// This is its status.
    Status(i16),
    /// A frame has to be freed of what it was; then again.
    InTheWay(Mfn),
}

impl From<i16> for Refusal {
    fn from(status: i16) -> Self {
        Self::Status(status)
    }
}

impl From<Blocked> for Refusal {
    fn from(blocked: Blocked) -> Self {
        match blocked {
            Blocked::InTheWay(mfn) => Self::InTheWay(mfn),
            Blocked::Refused => Self::Status(GNTST_GENERAL_ERROR),
            Blocked::NotOwned => Self::Status(GNTST_BAD_PAGE),
        }
    }
}

/// Why a transaction on elements goes no further.
pub(super) enum Stop {
    /// The list cannot be read.
    Fault,
    /// Answers cannot be written: then one by one.
    Untold,
    /// A frame has to be freed of what it was; then again.
    InTheWay(Mfn),
}

/// Why an element is not carried out in a transaction of several.
pub(super) enum Refused {
    /// This is its status.
    Status(i16),
    /// A frame has to be freed of what it was; then again.
    InTheWay(Mfn),
    /// It goes into another.
    Later,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Status(status) => Self::Status(status),
            Refusal::InTheWay(mfn) => Self::InTheWay(mfn),
        }
    }
}

impl From<Untold> for Stop {
    fn from(_: Untold) -> Self {
        Self::Untold
    }
}

impl From<Later> for Refused {
    fn from(_: Later) -> Self {
        Self::Later
    }
}

impl From<i16> for Refused {
    fn from(status: i16) -> Self {
        Self::Status(status)
    }
}

/// The hypercall.
pub(super) fn map<M: GuestMemory + 'static, A: Apply>(
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

/// Carries out at least the first element, and those behind it that go with it: of the same granter, to the same page
/// table, `most` at most. Says whether the list has ended.
fn several<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    first: &Element,
    most: u64,
) -> Result<bool, Stop> {
    let (state, memory, privileged) = (call.state, call.memory, call.is_privileged());
    let room = first.room(most);
    let mut group = Group::<GnttabMapGrantRef>::new();
    if !group.read(memory, first.at, room) {
        return Err(Stop::Fault);
    }
    let domains = &state.domains;
    let (dom, meant) = (group.first().dom, Meant::of(group.first().flags));
    let granter = domains.by_id(DomId(dom));
    let mapper_id = domains.domain(call.domain).id.get();
    let mapper = call.domain;
    let traces = call.told();
    let mut maps = Maps {
        state,
        memory,
        parties: Err(GNTST_BAD_DOMAIN),
        places: Places::new(call.context.root_kernel.get(), Owner::domain(mapper)),
        meant,
    };
    call.j.transaction(|tx| {
        let mut filling = state.grants.fill(tx, mapper, privileged);
        if let Some(granter) = granter {
            state.grants.lock(tx, granter);
            maps.parties = Ok(state.grants.parties(granter, mapper, mapper_id));
        }
        let (mut done, mut at, mut untold) = (0, first.at, None);
        loop {
            let (mut count, mut goes_on) = (0, true);
            for request in group.elements() {
                let one = if request.dom == dom {
                    maps.one(tx, &mut filling, request)
                } else {
                    Err(Refused::Later)
                };
                match one {
                    Ok(()) => traces.event(TRC_MEM_PAGE_GRANT_MAP, &[dom.into()]),
                    Err(Refused::Status(status)) => request.status = status,
                    Err(Refused::InTheWay(mfn)) if done == 0 && count == 0 => {
                        return Err(Stop::InTheWay(mfn));
                    }
                    Err(Refused::InTheWay(_) | Refused::Later) => {
                        goes_on = false;
                        break;
                    }
                }
                count += 1;
            }
            let told = group.answer(memory, at, count, ANSWER)?;
            done += count as u64;
            if !told {
                untold = Some(at);
                break;
            }
            at = at.wrapping_add((count * BYTES) as u64);
            if !(goes_on && done < room && group.read(memory, at, room - done)) {
                break;
            }
        }
        state.grants.filled(tx, &filling);
        if let Some(at) = untold {
            group.tell(tx, at, ANSWER);
        }
        Ok(first.finish_several(tx, done))
    })
}

/// The mappings of one transaction.
struct Maps<'a, M> {
    state: &'static State,
    memory: &'a M,
    /// Whose grants and for whom, or the status that says that there is no such domain.
    parties: Result<Parties, i16>,
    places: Places,
    /// What the flags of the element before meant: those of all mostly do.
    meant: Meant,
}

impl<M: GuestMemory> Maps<'_, M> {
    /// Maps one, and answers it. What is refused leaves nothing.
    #[inline(always)]
    fn one(
        &mut self,
        tx: &mut Tx<'static>,
        filling: &mut Filling,
        request: &mut GnttabMapGrantRef,
    ) -> Result<(), Refused> {
        if request.flags != self.meant.flags {
            self.meant = Meant::of(request.flags);
        }
        let (usage, mmu) = (self.meant.usage, self.state.mmu(self.memory));
        if !usage.is_alive() {
            return Err(Refused::Status(GNTST_BAD_GNTREF));
        }
        let parties = self.parties.as_ref().map_err(|status| *status)?;
        let leaf = if !usage.has(Use::HOST) {
            None
        } else if usage.has(Use::BY_ENTRY) {
            self.places.leaf_at(tx, mmu, Maddr(request.host_addr))?
        } else {
            self.places.leaf(tx, mmu, Gva(request.host_addr))?
        };
        let (before, mut held) = (tx.mark(), None);
        let entered = self.enter(tx, filling, parties, leaf, request, &mut held);
        entered.map_err(|refusal| self.refuse(tx, before, held, refusal))
    }

    #[inline(always)]
    fn enter(
        &self,
        tx: &mut Tx<'static>,
        filling: &mut Filling,
        parties: &Parties,
        leaf: Option<Leaf>,
        request: &mut GnttabMapGrantRef,
        held: &mut Option<Mfn>,
    ) -> Result<(), Refusal> {
        let (grants, mmu, usage) = (&self.state.grants, self.state.mmu(self.memory), self.meant.usage);
        let (gref, write) = (request.ref_, usage.writes());
        grants.room(filling, parties, gref)?;
        let frame = grants.claim(tx, self.memory, parties, Want { gref, write, to_map: true })?.frame;
        // The mapping's reference, and the entry's.
        mmu.hold(tx, frame, parties.owner, write, leaf.is_some())?;
        *held = Some(frame);
        match leaf {
            Some(leaf) => mmu.enter(tx, leaf, Pte(frame.maddr().0 | self.meant.entry)),
            // Whether the grant allows it comes first; then an entry that is none is refused.
            None if usage.has(Use::HOST) => return Err(Refusal::Status(GNTST_GENERAL_ERROR)),
            None => {}
        }
        request.handle = grants.enter(tx, filling, parties, gref, frame, usage);
        (request.status, request.dev_bus_addr) = (GNTST_OKAY, frame.maddr().0);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn refuse(&self, tx: &mut Tx<'static>, before: Mark, held: Option<Mfn>, refusal: Refusal) -> Refused {
        give_up(self.state, self.memory, tx, before, held.as_slice());
        refusal.into()
    }
}

/// What the flags of an element mean.
#[derive(Clone, Copy)]
struct Meant {
    flags: u32,
    /// What the mapping is for; not alive: nothing.
    usage: Use,
    /// Flags of the page-table entry.
    entry: u64,
}

impl Meant {
    #[inline(never)]
    fn of(flags: u32) -> Self {
        let bit = |flag, bit| if flags & flag != 0 { bit } else { 0 };
        let usage = bit(GNTMAP_DEVICE_MAP, Use::DEVICE)
            | bit(GNTMAP_HOST_MAP, Use::HOST)
            | bit(GNTMAP_READONLY, Use::READ_ONLY)
            | bit(GNTMAP_CONTAINS_PTE, Use::BY_ENTRY);
        let usage = Use(usage);
        let user = if flags & GNTMAP_APPLICATION_MAP != 0 { Pte::US } else { 0 };
        let rights = user | if usage.writes() { Pte::RW } else { 0 };
        // The guest's own bits: 16 and up of the flags are 9 to 11 of the entry.
        let own = u64::from(flags >> 16 & 7) << 9;
        Self { flags, usage, entry: Pte::P | Pte::A | Pte::D | rights | own }
    }
}

/// Takes back what an element wrote since `before`, with the references to the frames that it `held`.
#[inline(always)]
pub(super) fn give_up<M: GuestMemory>(
    state: &'static State,
    memory: &M,
    tx: &mut Tx<'static>,
    before: Mark,
    held: &[Mfn],
) {
    if !held.is_empty() {
        state.frames.note_undone();
    }
    tx.back_to(before, |noted| match noted {
        Noted::Marks { maddr, bits } => memory.and_not32(Maddr(maddr), bits),
        Noted::Entry { maddr, old } => restore_pte(memory, maddr, old),
    });
    // Their owners may have given them up meanwhile.
    for mfn in held {
        state.frames.collect(tx, *mfn);
    }
}

/// The slot of a domain that a copy may name: any that lives, or the caller as itself.
pub(super) fn by_any_id(state: &State, caller: DomainSlot, id: u16) -> Result<DomainSlot, i16> {
    if id == xen_abi::xen::DOMID_SELF {
        return Ok(caller);
    }
    state.domains.by_id(DomId(id)).ok_or(GNTST_BAD_DOMAIN)
}
