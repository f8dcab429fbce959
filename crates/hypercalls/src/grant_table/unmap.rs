//! `GNTTABOP_unmap_grant_ref` and `GNTTABOP_unmap_and_replace`.
//!
//! Entries leave the page tables, each in a transaction of its own; then all processors flush; then the mappings are
//! given up: frames and flags of their granters. What waits for the flush stands in durable lists, so that a repetition
//! need not read the guest's list again.

use super::elements::{Element, Next, next};
use super::map::entry_at;
use crate::call::{Call, CallResult, Outcome, fault};
use crate::va_mapping::{DOMAIN, EVERYTHING};
use core::mem::offset_of;
use frames::Owner;
use grants::{Mapping, Use};
use guest_memory::GuestMemory;
use ids::{Gva, Maddr};
use pv_mmu::{Blocked, Subject};
use vault::{Apply, Effect, Tx, kind};
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTST_BAD_DEV_ADDR, GNTST_GENERAL_ERROR, GNTST_OKAY, GnttabUnmapAndReplace, GnttabUnmapGrantRef,
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
        let element = match next(call, at, count, Request::bytes(replaces))? {
            Next::End(outcome) => return Ok(outcome),
            Next::One(element) => element,
        };
        let request = Request::read(call.memory, Gva(element.at), replaces)?;
        let ends = element.is_last || (element.index + 1).is_multiple_of(BATCH);
        let replied = one(call, &element, &request, ends);
        if !replied && call.j.apply.take_fault() {
            return Err(Errno::EFAULT);
        }
        if ends && call.state.grants.is_waiting(call.vcpu) {
            complete(call, element.is_last.then_some(&element));
        }
        if element.is_last {
            return Ok(Outcome::Replied);
        }
    }
}

/// Gives up what waited for the flush, and replies with the `last` element.
fn complete<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, last: Option<&Element>) {
    let (grants, vcpu) = (&call.state.grants, call.vcpu);
    while grants.is_waiting(vcpu) {
        call.j.change(|tx| {
            grants.complete(tx, vcpu);
            if let Some(element) = last.filter(|_| !grants.is_waiting(vcpu)) {
                element.finish(tx);
            }
        });
    }
}

/// Takes a mapping out of the page tables and tells the status. If a batch `ends` with it and something waits for a
/// flush, all processors flush; a list that ends with it is replied to behind that. Says whether it is replied to.
fn one<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    element: &Element,
    request: &Request,
    ends: bool,
) -> bool {
    let (state, vcpu) = (call.state, call.vcpu);
    let finish = |tx: &mut Tx<'static>, status: i16| {
        element.tell(tx, request.status, status);
        let waits = state.grants.is_waiting(vcpu);
        if ends && waits {
            tx.publish(FLUSH);
        }
        if !(element.is_last && waits) {
            element.finish(tx);
        } else {
            tx.advance(1);
        }
        element.is_last && !waits
    };
    let places = Places::of(call, request);
    let memory = call.memory;
    let (domain, told) = (call.domain, call.told());
    let done = call.j.transaction(|tx| -> Result<bool, i16> {
        let mapping = state.grants.mapping(tx, domain, request.handle)?;
        let usage = mapping.usage;
        if request.device != 0 && usage.has(Use::DEVICE) && request.device != mapping.frame.maddr().0 {
            return Err(GNTST_BAD_DEV_ADDR);
        }
        let mut gone = 0;
        if request.host != 0 && usage.has(Use::HOST) {
            let subject =
                Subject { tables: Owner::domain(domain), leaves: Owner::domain(mapping.granter), io: false };
            places
                .leave(&state.mmu(memory), tx, &mapping, request, subject)
                .map_err(|_| GNTST_GENERAL_ERROR)?;
            gone |= Use::HOST;
        }
        if request.device != 0 && usage.has(Use::DEVICE) {
            gone |= Use::DEVICE;
        }
        if gone != 0 {
            told.domain(TRC_MEM_PAGE_GRANT_UNMAP, mapping.granter);
            state.grants.leave(tx, &mapping, gone, vcpu);
        }
        Ok(finish(tx, GNTST_OKAY))
    });
    done.unwrap_or_else(|status| call.j.change(|tx| finish(tx, status)))
}

/// The page-table entries that a request may mean, looked up before the transaction.
struct Places {
    by_address: Option<Maddr>,
    replacement: Option<Maddr>,
}

impl Places {
    fn of<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, request: &Request) -> Self {
        let find = |address: u64| if address == 0 { None } else { entry_at(call, address, false) };
        Self { by_address: find(request.host), replacement: find(request.replacement) }
    }

    fn leave<M: GuestMemory>(
        &self,
        mmu: &pv_mmu::Mmu<'_, M>,
        tx: &mut Tx<'static>,
        mapping: &Mapping,
        request: &Request,
        subject: Subject,
    ) -> Result<(), Blocked> {
        let by_entry = mapping.usage.has(Use::BY_ENTRY);
        let at = if by_entry { Some(Maddr(request.host)) } else { self.by_address };
        let at = at.ok_or(Blocked::Refused)?;
        let (frame, write) = (mapping.frame, mapping.usage.writes());
        match request.replacement {
            0 => mmu.leave(tx, at, frame, write, subject),
            _ if by_entry => Err(Blocked::Refused),
            _ => {
                let from = self.replacement.ok_or(Blocked::Refused)?;
                mmu.leave_to(tx, [at, from], frame, write, subject)
            }
        }
    }
}
