//! `GNTTABOP_map_grant_ref`.

use super::elements::{Element, Next, next, tell_now};
use super::places::{Changed, Tables};
use crate::call::{Call, CallResult, Outcome};
use core::mem::offset_of;
use domain::State;
use frames::Owner;
use grants::{Filling, Use, Want};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Gva, Maddr, Mfn};
use pv_mmu::{Blocked, Pte, Subject, restore_pte};
use vault::{Apply, Mark, Noted, Tx};
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTMAP_APPLICATION_MAP, GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP, GNTMAP_READONLY,
    GNTST_BAD_DOMAIN, GNTST_BAD_GNTREF, GNTST_BAD_PAGE, GNTST_GENERAL_ERROR, GnttabMapGrantRef,
};
use xen_abi::trace::TRC_MEM_PAGE_GRANT_MAP;

const BYTES: usize = size_of::<GnttabMapGrantRef>();
const STATUS: u64 = offset_of!(GnttabMapGrantRef, status) as u64;
/// Domain, status, handle and address, 16 bytes.
const ANSWER: u64 = offset_of!(GnttabMapGrantRef, dom) as u64;
/// Elements of one transaction: each has up to seven undo entries and two effects.
const BATCH: u64 = 16;

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

/// Carries out at least the first element, and those behind it that go with it: of the same granter, to the same page
/// table. Says whether the list has ended.
fn several<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    first: &Element,
) -> Result<bool, Stop> {
    let (state, memory, privileged) = (call.state, call.memory, call.is_privileged());
    let mut request: GnttabMapGrantRef = memory.read(Gva(first.at)).map_err(|_| Stop::Fault)?;
    let domains = &state.domains;
    let granter = domains.by_id(DomId(request.dom)).ok_or(GNTST_BAD_DOMAIN);
    let dom = request.dom;
    let mapper_id = domains.domain(call.domain).id.get();
    let tables = Tables::new(call.context.root_kernel.get());
    let traces = call.told();
    let mut maps =
        Maps { state, memory, mapper: call.domain, mapper_id, granter, tables, changed: Changed::default() };
    call.j.transaction(|tx| {
        let mut filling = state.grants.fill(tx, maps.mapper, privileged);
        if let Ok(granter) = maps.granter {
            state.grants.lock(tx, granter);
        }
        let (mut done, mut at) = (0, first.at);
        loop {
            let told = match maps.one(tx, &mut filling, &request) {
                Ok(answer) => {
                    traces.event(TRC_MEM_PAGE_GRANT_MAP, &[dom.into()]);
                    tell_now(memory, tx, at.wrapping_add(ANSWER), &answer)
                }
                Err(Refused::Status(status)) => {
                    tell_now(memory, tx, at.wrapping_add(STATUS), &status.to_le_bytes())
                }
                Err(Refused::InTheWay(mfn)) if done == 0 => return Err(Stop::InTheWay(mfn)),
                Err(Refused::InTheWay(_) | Refused::Later) => break,
            };
            done += 1;
            if !told || done == first.room(BATCH) {
                break;
            }
            at = at.wrapping_add(BYTES as u64);
            match memory.read::<GnttabMapGrantRef>(Gva(at)) {
                Ok(next) if next.dom == dom => request = next,
                _ => break,
            }
        }
        state.grants.filled(tx, &filling);
        Ok(first.finish_several(tx, done))
    })
}

/// The mappings of one transaction.
struct Maps<'a, M> {
    state: &'static State,
    memory: &'a M,
    mapper: DomainSlot,
    mapper_id: DomId,
    /// Whose grants, or the status that says that there is no such domain.
    granter: Result<DomainSlot, i16>,
    tables: Tables,
    changed: Changed,
}

impl<M: GuestMemory> Maps<'_, M> {
    /// Maps one; domain, status, handle and address as they are answered. What is refused leaves nothing.
    #[inline(always)]
    fn one(
        &mut self,
        tx: &mut Tx<'static>,
        filling: &mut Filling,
        request: &GnttabMapGrantRef,
    ) -> Result<[u8; 16], Refused> {
        let asked = self.asked(request)?;
        if asked.entry.is_some_and(|at| !self.changed.note(at)) {
            return Err(Refused::Later);
        }
        let before = tx.mark();
        let mut held = None;
        match self.enter(tx, filling, &asked, &mut held) {
            Ok((handle, at)) => {
                let word = u128::from(request.dom) | u128::from(handle) << 32 | u128::from(at.0) << 64;
                Ok(word.to_le_bytes())
            }
            Err(refused) => {
                give_up(self.state, self.memory, tx, before, &[held]);
                Err(refused.into())
            }
        }
    }

    #[inline(always)]
    fn enter(
        &self,
        tx: &mut Tx<'static>,
        filling: &mut Filling,
        asked: &Asked,
        held: &mut Option<Mfn>,
    ) -> Result<(u32, Maddr), Refusal> {
        let (grants, mmu, want) = (&self.state.grants, self.state.mmu(self.memory), &asked.want);
        grants.room(filling, want)?;
        let claim = grants.claim(tx, self.memory, want)?;
        let owner = Owner::domain(want.granter);
        mmu.hold(tx, claim.frame, owner, want.write)?;
        *held = Some(claim.frame);
        if let Some(at) = asked.entry {
            let subject = Subject { tables: Owner::domain(want.mapper), leaves: owner, io: false };
            let entry = Pte(claim.frame.maddr().0 | asked.flags);
            mmu.enter(tx, at, entry, subject).map_err(|blocked| match blocked {
                Blocked::InTheWay(mfn) => Refusal::InTheWay(mfn),
                _ => Refusal::Status(GNTST_GENERAL_ERROR),
            })?;
        }
        let handle = grants.enter(tx, filling, want, claim.frame, asked.usage);
        Ok((handle, claim.frame.maddr()))
    }

    #[inline(always)]
    fn asked(&mut self, request: &GnttabMapGrantRef) -> Result<Asked, i16> {
        let has = |flag: u32| request.flags & flag != 0;
        if !has(GNTMAP_DEVICE_MAP | GNTMAP_HOST_MAP) {
            return Err(GNTST_BAD_GNTREF);
        }
        let write = !has(GNTMAP_READONLY);
        let want = Want {
            granter: self.granter?,
            gref: request.ref_,
            mapper: self.mapper,
            mapper_id: self.mapper_id,
            write,
            to_map: true,
        };
        let bit = |flag, bit| if has(flag) { bit } else { 0 };
        let usage = bit(GNTMAP_DEVICE_MAP, Use::DEVICE)
            | bit(GNTMAP_HOST_MAP, Use::HOST)
            | bit(GNTMAP_READONLY, Use::READ_ONLY)
            | bit(GNTMAP_CONTAINS_PTE, Use::BY_ENTRY);
        let entry = has(GNTMAP_HOST_MAP).then(|| match has(GNTMAP_CONTAINS_PTE) {
            true => Maddr(request.host_addr),
            // Whether the grant allows it comes first; then an entry that is none is refused.
            false => self.tables.entry(self.memory, Gva(request.host_addr)).unwrap_or(Maddr(u64::MAX)),
        });
        let user = if has(GNTMAP_APPLICATION_MAP) { Pte::US } else { 0 };
        let rights = user | if write { Pte::RW } else { 0 };
        // The guest's own bits: 16 and up of the flags are 9 to 11 of the entry.
        let own = u64::from(request.flags >> 16 & 7) << 9;
        Ok(Asked { want, usage: Use(usage), entry, flags: Pte::P | Pte::A | Pte::D | rights | own })
    }
}

/// Takes back what an element wrote since `before`, with the references to the frames that it `held`.
#[inline(always)]
pub(super) fn give_up<M: GuestMemory>(
    state: &'static State,
    memory: &M,
    tx: &mut Tx<'static>,
    before: Mark,
    held: &[Option<Mfn>],
) {
    if !held.is_empty() {
        state.frames.note_undone();
    }
    tx.back_to(before, |noted| match noted {
        Noted::Marks { maddr, bits } => memory.and_not32(Maddr(maddr), bits),
        Noted::Entry { maddr, old } => restore_pte(memory, maddr, old),
    });
    // Their owners may have given them up meanwhile.
    for mfn in held.iter().flatten() {
        state.frames.collect(tx, *mfn);
    }
}

/// What an element asks for.
struct Asked {
    want: Want,
    usage: Use,
    /// The page-table entry to write, if any.
    entry: Option<Maddr>,
    /// Its flags.
    flags: u64,
}

/// The slot of a domain that a copy may name: any that lives, or the caller as itself.
pub(super) fn by_any_id(state: &State, caller: DomainSlot, id: u16) -> Result<DomainSlot, i16> {
    if id == xen_abi::xen::DOMID_SELF {
        return Ok(caller);
    }
    state.domains.by_id(DomId(id)).ok_or(GNTST_BAD_DOMAIN)
}
