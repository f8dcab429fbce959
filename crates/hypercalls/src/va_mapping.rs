//! `update_va_mapping` and its sister for frames of others: one entry, named by the address it maps.

use crate::call::{Call, CallResult, Outcome, fault, mmu_errno};
use guest_memory::GuestMemory;
use ids::{DomId, Gva};
use pv_mmu::{AdBits, MmuError, Pte, walk};
use vault::Apply;
use vault::flush::{self, EVERYTHING};
use xen_abi::Errno;
use xen_abi::xen::DOMID_XEN;

/// What to flush, the low bits of the flags (`UVMF_*`).
const FLUSH_KIND: u64 = 3;
const FLUSH_TLB: u64 = 1;
const FLUSH_PAGE: u64 = 2;

/// `UVMF_ALL`: flush all vCPUs. Anything else in its place but 0 is the address of a mask of vCPUs.
const ALL: u64 = 1 << 2;

/// The hypercall: address, new entry, flags.
pub(crate) fn update_va_mapping<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    update(call, xen_abi::xen::DOMID_SELF)
}

/// `update_va_mapping_otherdomain`: the same, and whose frame the entry names.
pub(crate) fn of_other_domain<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let owner = call.args[3] as u16;
    // Its own number is not how a domain names itself.
    if call.state.domains.by_id(DomId(owner)) == Some(call.domain) {
        return Err(Errno::ESRCH);
    }
    // The hypervisor gives none of its frames away.
    if owner == DOMID_XEN {
        return Err(Errno::EINVAL);
    }
    update(call, owner)
}

fn update<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, owner: u16) -> CallResult {
    let [va, value, flags, ..] = call.args;
    let subject = call.subject(owner)?;
    let mapping = walk(call.memory, call.context.root_kernel.get(), Gva(va)).ok_or(Errno::EINVAL)?;
    let mask = flags & !FLUSH_KIND;
    if mask != 0 && mask != ALL && flags & FLUSH_KIND != 0 {
        // Whom it names does not matter: all are flushed.
        call.memory.read::<u64>(Gva(mask)).map_err(fault)?;
    }
    let flush = match flags & FLUSH_KIND {
        FLUSH_TLB => Some(EVERYTHING),
        FLUSH_PAGE => Some(va),
        0 => None,
        _ => return Err(Errno::EINVAL),
    };
    let mmu = call.state.mmu(call.memory);
    let (reply, domain) = (call.reply, call.domain);
    let ready = mmu.expect_writable(call.j, Pte(value), subject);
    let result = ready.and_then(|()| {
        mmu.update_leaf(
            call.j,
            mapping.at,
            AdBits::Replace,
            subject,
            |_| Some(value),
            |tx| {
                if let Some(what) = flush {
                    tx.publish(flush::of_domain(domain.0, mask != 0, what));
                }
                reply.publish(tx, 0);
            },
        )
    });
    match result {
        Ok(()) => Ok(Outcome::Replied),
        Err(MmuError::Preempted) => Ok(call.again(&[])),
        Err(e) => Err(mmu_errno(e)),
    }
}
