//! `GNTTABOP_unmap_grant_ref` and `GNTTABOP_unmap_and_replace`.
//!
//! Entries leave the page tables, as many in a transaction as go together; then all processors flush; then the mappings are
//! given up: frames and flags of their granters. What waits for the flush stands in durable lists, so that a repetition
//! need not read the guest's list again.

use super::elements::{Element, Next, next, tell_now};
use super::places::{Changed, Tables};
use crate::call::{Call, CallResult, Outcome, fault};
use crate::told::Told;
use crate::va_mapping::{DOMAIN, EVERYTHING};
use core::mem::offset_of;
use domain::State;
use frames::Owner;
use grants::{Leaving, Mapping, Use};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Maddr};
use pv_mmu::{Blocked, Subject};
use vault::{Apply, Effect, Tx, kind};
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTST_BAD_DEV_ADDR, GNTST_BAD_HANDLE, GNTST_GENERAL_ERROR, GNTST_OKAY, GnttabUnmapAndReplace,
    GnttabUnmapGrantRef,
};
use xen_abi::trace::TRC_MEM_PAGE_GRANT_UNMAP;

/// Elements between two flushes, as in Xen.
const BATCH: u64 = 32;

const FLUSH: Effect = Effect { kind: kind::FLUSH, x: DOMAIN, a: EVERYTHING, b: 0 };

/// An element of either operation.
struct Request {
    host: u64,
    device: u64,
    /// Whose entry takes the place; 0: none does.
    replacement: u64,
    handle: u32,
    /// Where the status is.
    status: usize,
}

impl Request {
    fn read<M: GuestMemory>(memory: &M, at: Gva, replaces: bool) -> Result<Self, Errno> {
        if replaces {
            let r: GnttabUnmapAndReplace = memory.read(at).map_err(fault)?;
            let status = offset_of!(GnttabUnmapAndReplace, status);
            return Ok(Self {
                host: r.host_addr,
                device: 0,
                replacement: r.new_addr,
                handle: r.handle,
                status,
            });
        }
        let r: GnttabUnmapGrantRef = memory.read(at).map_err(fault)?;
        let status = offset_of!(GnttabUnmapGrantRef, status);
        Ok(Self { host: r.host_addr, device: r.dev_bus_addr, replacement: 0, handle: r.handle, status })
    }

    const fn bytes(replaces: bool) -> usize {
        if replaces { size_of::<GnttabUnmapAndReplace>() } else { size_of::<GnttabUnmapGrantRef>() }
    }
}

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
        call.j.change(|tx| tx.publish(FLUSH));
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
    loop {
        let first = match next(call, at, count, Request::bytes(replaces))? {
            Next::End(outcome) => return Ok(outcome),
            Next::One(element) => element,
        };
        let run = several(call, &first, replaces)?;
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
/// of the same granter and in the same page table. If 32 elements end with it, or the list, and something waits for a
/// flush, all processors flush; a list that ends with it is replied to behind that.
fn several<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    first: &Element,
    replaces: bool,
) -> Result<Run, Errno> {
    let (state, memory, domain, vcpu) = (call.state, call.memory, call.domain, call.vcpu);
    let bytes = Request::bytes(replaces) as u64;
    let mut request = Request::read(memory, Gva(first.at), replaces)?;
    let granter = state.grants.granter(request.handle);
    let room = first.room(if replaces { 1 } else { BATCH - first.index % BATCH });
    let tables = Tables::new(call.context.root_kernel.get());
    let mut unmaps =
        Unmaps { state, traces: call.told(), memory, domain, granter, tables, changed: Changed::default() };
    Ok(call.j.change(|tx| {
        if let Some(granter) = granter {
            state.grants.lock(tx, granter);
        }
        let mut leaving = state.grants.leaving(vcpu);
        let (mut done, mut at) = (0, first.at);
        loop {
            let status = match unmaps.one(tx, &mut leaving, &request) {
                Ok(()) => GNTST_OKAY,
                Err(Some(status)) => status,
                Err(None) => break,
            };
            let told = tell_now(memory, tx, at.wrapping_add(request.status as u64), &status.to_le_bytes());
            done += 1;
            if !told || done == room {
                break;
            }
            at = at.wrapping_add(bytes);
            match Request::read(memory, Gva(at), replaces) {
                Ok(next) if state.grants.granter(next.handle) == granter => request = next,
                _ => break,
            }
        }
        state.grants.left(tx, &leaving);
        finish(tx, first, done, leaving.waits())
    }))
}

fn finish(tx: &mut Tx<'static>, first: &Element, done: u64, waits: bool) -> Run {
    let ended = first.ends_behind(done);
    let flushed = waits && (ended || (first.index + done).is_multiple_of(BATCH));
    if flushed {
        tx.publish(FLUSH);
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
    tables: Tables,
    changed: Changed,
}

impl<M: GuestMemory> Unmaps<'_, M> {
    /// Unmaps one, or says why not: its status, or nothing if it goes into another transaction.
    #[inline(always)]
    fn one(
        &mut self,
        tx: &mut Tx<'static>,
        leaving: &mut Leaving,
        request: &Request,
    ) -> Result<(), Option<i16>> {
        let grants = &self.state.grants;
        let granter = self.granter.ok_or(Some(GNTST_BAD_HANDLE))?;
        let mapping = grants.mapping(granter, self.domain, request.handle).map_err(Some)?;
        let usage = mapping.usage;
        let is_device = request.device != 0 && usage.has(Use::DEVICE);
        if is_device && request.device != mapping.frame.maddr().0 {
            return Err(Some(GNTST_BAD_DEV_ADDR));
        }
        let mut gone = if is_device { Use::DEVICE } else { 0 };
        if request.host != 0 && usage.has(Use::HOST) {
            self.leave(tx, &mapping, request)?;
            gone |= Use::HOST;
        }
        if gone != 0 {
            self.traces.domain(TRC_MEM_PAGE_GRANT_UNMAP, granter);
            grants.leave(tx, leaving, &mapping, gone);
        }
        Ok(())
    }

    /// Takes the page-table entry away; a refusal has written nothing.
    #[inline(always)]
    fn leave(
        &mut self,
        tx: &mut Tx<'static>,
        mapping: &Mapping,
        request: &Request,
    ) -> Result<(), Option<i16>> {
        const REFUSED: Option<i16> = Some(GNTST_GENERAL_ERROR);
        let by_entry = mapping.usage.has(Use::BY_ENTRY);
        let at = if by_entry { Some(Maddr(request.host)) } else { self.entry(request.host) };
        let at = at.ok_or(REFUSED)?;
        if !self.changed.note(at) {
            return Err(None);
        }
        let subject =
            Subject { tables: Owner::domain(self.domain), leaves: Owner::domain(mapping.granter), io: false };
        let (frame, write) = (mapping.frame, mapping.usage.writes());
        let mmu = self.state.mmu(self.memory);
        let left = match request.replacement {
            0 => mmu.leave(tx, at, frame, write, subject),
            _ if by_entry => Err(Blocked::Refused),
            address => {
                let from = self.entry(address).ok_or(REFUSED)?;
                mmu.leave_to(tx, [at, from], frame, write, subject)
            }
        };
        left.map_err(|_| REFUSED)
    }

    #[inline(always)]
    fn entry(&mut self, address: u64) -> Option<Maddr> {
        self.tables.entry(self.memory, Gva(address))
    }
}
