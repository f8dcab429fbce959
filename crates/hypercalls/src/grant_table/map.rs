//! `GNTTABOP_map_grant_ref`.

use super::elements::{Element, each, refuse};
use crate::call::{Call, CallResult, fault};
use crate::reply::copy_word;
use core::mem::offset_of;
use frames::Owner;
use grants::{Use, Want};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Gva, Maddr};
use pv_mmu::{Blocked, Pte, Subject, walk};
use vault::{Apply, Tx};
use xen_abi::Errno;
use xen_abi::grant_table::{
    GNTMAP_APPLICATION_MAP, GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP, GNTMAP_READONLY,
    GNTST_BAD_DOMAIN, GNTST_BAD_GNTREF, GNTST_BAD_PAGE, GNTST_GENERAL_ERROR, GnttabMapGrantRef,
};
use xen_abi::trace::TRC_MEM_PAGE_GRANT_MAP;

const BYTES: usize = size_of::<GnttabMapGrantRef>();
const STATUS: usize = offset_of!(GnttabMapGrantRef, status);
/// Domain, status and handle are one word.
const ANSWER: u64 = offset_of!(GnttabMapGrantRef, dom) as u64;
const ADDRESS: u64 = offset_of!(GnttabMapGrantRef, dev_bus_addr) as u64;

/// Why an element is not carried out.
pub(super) enum Refusal {
    /// This is its status.
    Status(i16),
    /// A frame has to be freed of what it was; then again.
    InTheWay(ids::Mfn),
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

/// The hypercall.
pub(super) fn map<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: u64,
    count: u64,
) -> CallResult {
    let privileged = call.is_privileged();
    let result = each(call, at, count, BYTES, |call, element| one(call, element, privileged));
    call.restartable(result)
}

fn one<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    element: &Element,
    privileged: bool,
) -> Result<(), Errno> {
    let request: GnttabMapGrantRef = call.memory.read(Gva(element.at)).map_err(fault)?;
    let asked = match asked(call, &request) {
        Ok(asked) => asked,
        Err(status) => {
            refuse(call, element, STATUS, status);
            return Ok(());
        }
    };
    let (state, memory) = (call.state, call.memory);
    let mmu = state.mmu(memory);
    loop {
        let done = call.j.transaction(|tx| -> Result<(), Refusal> {
            let number = state.grants.reserve(tx, &asked.want, privileged)?;
            let claim = state.grants.claim(tx, memory, &asked.want)?;
            let owner = Owner::domain(asked.want.granter);
            mmu.hold(tx, claim.frame, owner, asked.want.write)?;
            if let Some(at) = asked.entry {
                let subject = Subject { tables: Owner::domain(asked.want.mapper), leaves: owner, io: false };
                let entry = Pte(claim.frame.maddr().0 | asked.flags);
                mmu.enter(tx, at, entry, subject).map_err(|blocked| match blocked {
                    Blocked::InTheWay(mfn) => Refusal::InTheWay(mfn),
                    _ => Refusal::Status(GNTST_GENERAL_ERROR),
                })?;
            }
            let handle = state.grants.enter(tx, number, &asked.want, claim.frame, asked.usage);
            answer(tx, element, &request, handle, claim.frame.maddr());
            Ok(())
        });
        match done {
            Ok(()) => {
                call.told().event(TRC_MEM_PAGE_GRANT_MAP, &[request.dom.into()]);
                return Ok(());
            }
            Err(Refusal::Status(status)) => {
                refuse(call, element, STATUS, status);
                return Ok(());
            }
            Err(Refusal::InTheWay(mfn)) => mmu.clear_the_way(call.j, mfn).map_err(|_| Errno::ERESTART)?,
        }
    }
}

fn answer(tx: &mut Tx<'_>, element: &Element, request: &GnttabMapGrantRef, handle: u32, at: Maddr) {
    copy_word(tx, element.at.wrapping_add(ANSWER), u64::from(request.dom) | u64::from(handle) << 32);
    copy_word(tx, element.at.wrapping_add(ADDRESS), at.0);
    element.finish(tx);
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

fn asked<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    request: &GnttabMapGrantRef,
) -> Result<Asked, i16> {
    let has = |flag: u32| request.flags & flag != 0;
    if !has(GNTMAP_DEVICE_MAP | GNTMAP_HOST_MAP) {
        return Err(GNTST_BAD_GNTREF);
    }
    let domains = &call.state.domains;
    let granter = domains.by_id(DomId(request.dom)).ok_or(GNTST_BAD_DOMAIN)?;
    let write = !has(GNTMAP_READONLY);
    let want = Want {
        granter,
        gref: request.ref_,
        mapper: call.domain,
        mapper_id: domains.domain(call.domain).id.get(),
        write,
        to_map: true,
    };
    let bit = |flag, bit| if has(flag) { bit } else { 0 };
    let usage = bit(GNTMAP_DEVICE_MAP, Use::DEVICE)
        | bit(GNTMAP_HOST_MAP, Use::HOST)
        | bit(GNTMAP_READONLY, Use::READ_ONLY)
        | bit(GNTMAP_CONTAINS_PTE, Use::BY_ENTRY);
    let entry = match has(GNTMAP_HOST_MAP) {
        // Whether the grant allows it comes first; then an entry that is none is refused.
        true => Some(entry_at(call, request.host_addr, has(GNTMAP_CONTAINS_PTE)).unwrap_or(Maddr(u64::MAX))),
        false => None,
    };
    let user = if has(GNTMAP_APPLICATION_MAP) { Pte::US } else { 0 };
    let rights = user | if write { Pte::RW } else { 0 };
    // The guest's own bits: 16 and up of the flags are 9 to 11 of the entry.
    let own = u64::from(request.flags >> 16 & 7) << 9;
    Ok(Asked { want, usage: Use(usage), entry, flags: Pte::P | Pte::A | Pte::D | rights | own })
}

/// The page-table entry that a host address means.
pub(super) fn entry_at<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    address: u64,
    by_entry: bool,
) -> Option<Maddr> {
    if by_entry {
        return Some(Maddr(address));
    }
    walk(call.memory, call.context.root_kernel.get(), Gva(address)).map(|mapping| mapping.at)
}

/// The slot of a domain that a copy may name: any that lives, or the caller as itself.
pub(super) fn by_any_id<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    id: u16,
) -> Result<DomainSlot, i16> {
    if id == xen_abi::xen::DOMID_SELF {
        return Ok(call.domain);
    }
    call.state.domains.by_id(DomId(id)).ok_or(GNTST_BAD_DOMAIN)
}
