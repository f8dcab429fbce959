//! `GNTTABOP_unmap_grant_ref` and `GNTTABOP_unmap_and_replace`.
//!
//! Entries leave the page tables, as many in a transaction as go together; then all processors flush; then the mappings are
//! given up: frames and flags of their granters. What waits for the flush stands in durable lists, so that a repetition
//! need not read the guest's list again.

use super::elements::{Element, Next, next};
use super::group::{Group, Refused, Stop};
use super::places::Places;
use crate::call::{Call, CallResult, Outcome};
use crate::told::Told;
use core::mem::offset_of;
use domain::State;
use frames::Owner;
use grants::{Leaving, Mapping, NoMapping, Use};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Maddr};
use vault::{Apply, Tx, flush};
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTST_BAD_DEV_ADDR, GNTST_BAD_HANDLE, GNTST_GENERAL_ERROR, GNTST_OKAY, GnttabUnmapAndReplace,
    GnttabUnmapGrantRef,
};
use xen_abi::trace::TRC_MEM_PAGE_GRANT_UNMAP;

/// Elements between two flushes, as in Xen.
const BATCH: u64 = 32;

const BYTES: usize = size_of::<GnttabUnmapGrantRef>();

// Elements of both operations are read alike: where one has the device's address, the other has the address whose entry
// takes the place.
const _: () = {
    assert!(size_of::<GnttabUnmapAndReplace>() == BYTES);
    assert!(offset_of!(GnttabUnmapAndReplace, status) == offset_of!(GnttabUnmapGrantRef, status));
    assert!(offset_of!(GnttabUnmapAndReplace, handle) == offset_of!(GnttabUnmapGrantRef, handle));
    assert!(offset_of!(GnttabUnmapAndReplace, new_addr) == offset_of!(GnttabUnmapGrantRef, dev_bus_addr));
};

/// The hypercall.
pub(super) fn unmap<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    count: u64,
    replaces: bool,
) -> CallResult {
    let result = run(call, at, count, replaces);
    // Cut by a fault, or by a failure of the hypervisor before the flush.
    if call.state.grants.is_waiting(call.vcpu) {
        call.j.change(|tx| tx.publish(flush::EVERYWHERE));
        complete(call, None);
    }
    result
}

fn run<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    count: u64,
    replaces: bool,
) -> CallResult {
    let most = if replaces { 1 } else { BATCH };
    let mut now = most;
    loop {
        let first = match next(call, at, count, BYTES)? {
            Next::End(outcome) => return Ok(outcome),
            Next::One(element) => element,
        };
        let run = match several(call, &first, replaces, now) {
            Ok(run) => run,
            Err(Stop::Untold) => {
                now = 1;
                continue;
            }
            Err(_) => return Err(Errno::EFAULT),
        };
        now = most;
        if !run.replied && call.j.apply.take_fault() {
            return Err(Errno::EFAULT);
        }
        if run.flushed {
            complete(call, run.ended.then_some(&first));
        }
        if run.ended {
            return Ok(Outcome::Replied);
        }
    }
}

/// Gives up what waited for the flush, and replies if the list `ended`.
fn complete<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, ended: Option<&Element>) {
    let (grants, domain, vcpu) = (&call.state.grants, call.domain, call.vcpu);
    while grants.is_waiting(vcpu) {
        call.j.change(|tx| {
            grants.complete(tx, domain, vcpu);
            if let Some(element) = ended.filter(|_| !grants.is_waiting(vcpu)) {
                element.reply(tx);
            }
        });
    }
}

/// What a transaction has come to.
struct Run {
    /// The list has ended.
    ended: bool,
    /// That is replied to.
    replied: bool,
    /// All processors have flushed, and something waited for it.
    flushed: bool,
}

/// Takes mappings out of the page tables and tells the status: at least the first, and those behind it that go with it,
/// of the same granter and in the same page table, `most` at most. If 32 elements end with it, or the list, and something
/// waits for a flush, all processors flush; a list that ends with it is replied to behind that.
fn several<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    first: &Element,
    replaces: bool,
    most: u64,
) -> Result<Run, Stop> {
    let (state, memory, domain, vcpu) = (call.state, call.memory, call.domain, call.vcpu);
    let room = first.room(most.min(BATCH - first.index % BATCH));
    let mut group = Group::<GnttabUnmapGrantRef>::new();
    if !group.read(memory, first.at, room) {
        return Err(Stop::Fault);
    }
    let granter = state.grants.granter(group.first().handle);
    let places = Places::new(call.context.root_kernel.get(), Owner::domain(domain));
    let mut unmaps = Unmaps { state, traces: call.told(), memory, domain, granter, places, replaces };
    call.j.transaction(|tx| {
        if let Some(granter) = granter {
            state.grants.lock(tx, granter);
        }
        let mut leaving = state.grants.leaving(vcpu);
        let carried = group.carry_out(memory, first, room, |request| {
            unmaps.one(tx, &mut leaving, request)?;
            request.status = GNTST_OKAY;
            Ok(())
        })?;
        state.grants.left(tx, &leaving);
        group.tell(tx, &carried);
        Ok(finish(tx, first, carried.done, leaving.waits()))
    })
}

fn finish(tx: &mut Tx<'static>, first: &Element, done: u64, waits: bool) -> Run {
    let ended = first.ends_behind(done);
    let flushed = waits && (ended || (first.index + done).is_multiple_of(BATCH));
    if flushed {
        tx.publish(flush::EVERYWHERE);
    }
    if ended && waits {
        tx.advance(done);
    } else {
        first.finish_several(tx, done);
    }
    Run { ended, replied: ended && !waits, flushed }
}

/// The mappings of one transaction.
struct Unmaps<'a, M> {
    state: &'static State,
    traces: Told<'a>,
    memory: &'a M,
    domain: DomainSlot,
    /// Whose grants, if the first handle is one.
    granter: Option<DomainSlot>,
    places: Places,
    /// Another entry takes the place.
    replaces: bool,
}

const REFUSED: Refused = Refused::Status(GNTST_GENERAL_ERROR);

impl<M: GuestMemory> Unmaps<'_, M> {
    /// Unmaps one, or says why not.
    #[inline(always)]
    fn one(
        &mut self,
        tx: &mut Tx<'static>,
        leaving: &mut Leaving,
        request: &GnttabUnmapGrantRef,
    ) -> Result<(), Refused> {
        let grants = &self.state.grants;
        let Some(granter) = self.granter else { return Err(not_found(grants.no_mapping(request.handle))) };
        let mapping = grants.mapping(granter, self.domain, request.handle).map_err(not_found)?;
        let usage = mapping.usage;
        let mut gone = 0;
        if request.dev_bus_addr != 0 && !self.replaces && usage.has(Use::DEVICE) {
            if request.dev_bus_addr != mapping.frame.maddr().0 {
                return Err(Refused::Status(GNTST_BAD_DEV_ADDR));
            }
            gone = Use::DEVICE;
        }
        if request.host_addr != 0 && usage.has(Use::HOST) {
            self.leave(tx, &mapping, request)?;
            gone |= Use::HOST;
        }
        if gone != 0 {
            self.traces.domain(TRC_MEM_PAGE_GRANT_UNMAP, granter);
            leaving.note(tx, &mapping, gone);
        }
        Ok(())
    }

    /// Takes the page-table entry away; a refusal has written nothing.
    #[inline(always)]
    fn leave(
        &mut self,
        tx: &mut Tx<'static>,
        mapping: &Mapping,
        request: &GnttabUnmapGrantRef,
    ) -> Result<(), Refused> {
        if self.replaces && request.dev_bus_addr != 0 {
            return self.replace(tx, mapping, request);
        }
        let (mmu, host) = (self.state.mmu(self.memory), request.host_addr);
        let leaf = if mapping.usage.has(Use::BY_ENTRY) {
            self.places.leaf_at(tx, mmu, Maddr(host))
        } else {
            self.places.leaf(tx, mmu, Gva(host))
        };
        let leaf = leaf?.ok_or(REFUSED)?;
        mmu.leave(tx, leaf, mapping.frame, mapping.usage.writes()).map_err(|_| REFUSED)
    }

    /// Puts another entry there.
    #[inline(never)]
    fn replace(
        &self,
        tx: &mut Tx<'static>,
        mapping: &Mapping,
        request: &GnttabUnmapGrantRef,
    ) -> Result<(), Refused> {
        if mapping.usage.has(Use::BY_ENTRY) {
            return Err(REFUSED);
        }
        let entry = |at: u64| self.places.entry(self.memory, Gva(at)).ok_or(REFUSED);
        let places = [entry(request.host_addr)?, entry(request.dev_bus_addr)?];
        let (mmu, owner) = (self.state.mmu(self.memory), Owner::domain(self.domain));
        let left = mmu.leave_to(tx, places, mapping.frame, mapping.usage.writes(), owner);
        left.map_err(|_| REFUSED)
    }
}

/// Why an element is not carried out whose handle finds no mapping.
#[cold]
fn not_found(why: NoMapping) -> Refused {
    match why {
        NoMapping::Bad => Refused::Status(GNTST_BAD_HANDLE),
        NoMapping::Other => Refused::Later,
    }
}
