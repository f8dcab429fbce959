//! `GNTTABOP_map_grant_ref`.

use super::elements::{Element, Next, next};
use super::group::{Group, Refused, Stop};
use super::places::Places;
use crate::call::{Call, CallResult, Outcome};
use domain::State;
use frames::Owner;
use grants::{Filling, Parties, Use, Want};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Gva, Maddr, Mfn};
use pv_mmu::{Leaf, Pte, restore_pte};
use vault::{Apply, Mark, Noted, Tx};
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTMAP_APPLICATION_MAP, GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP, GNTMAP_READONLY,
    GNTST_BAD_DOMAIN, GNTST_BAD_GNTREF, GNTST_GENERAL_ERROR, GNTST_OKAY, GnttabMapGrantRef,
};
use xen_abi::trace::TRC_MEM_PAGE_GRANT_MAP;

const BYTES: usize = size_of::<GnttabMapGrantRef>();
/// Elements of one transaction: each has up to five undo entries and two effects.
const BATCH: u64 = 32;

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
        let carried = group.carry_out(memory, first, room, |request| {
            if request.dom != dom {
                return Err(Refused::Later);
            }
            maps.one(tx, &mut filling, request)?;
            traces.event(TRC_MEM_PAGE_GRANT_MAP, &[dom.into()]);
            Ok(())
        })?;
        state.grants.filled(tx, &filling);
        group.tell(tx, &carried);
        Ok(first.finish_several(tx, carried.done))
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
        entered.inspect_err(|_| self.undo(tx, before, held))
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
    ) -> Result<(), Refused> {
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
            None if usage.has(Use::HOST) => return Err(Refused::Status(GNTST_GENERAL_ERROR)),
            None => {}
        }
        request.handle = grants.enter(tx, filling, parties, gref, frame, usage);
        (request.status, request.dev_bus_addr) = (GNTST_OKAY, frame.maddr().0);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn undo(&self, tx: &mut Tx<'static>, before: Mark, held: Option<Mfn>) {
        give_up(self.state, self.memory, tx, before, held.as_slice());
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
