//! What happens to a domain from outside (`xl trigger`).

use crate::call::{Call, CallResult};
use guest_memory::GuestMemory;
use ids::{DomainSlot, VcpuId};
use toolstack_compat::state::Trigger;
use vault::{Apply, Effect, kind};
use xen_abi::Errno;

/// Gives a vCPU an NMI.
///
/// # Errors
/// `ESRCH`: there is no such vCPU; `EINVAL`: PV domains have no buttons; `ENOSYS`: nobody knows it.
pub(super) fn send<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    domain: DomainSlot,
    trigger: Trigger,
    vcpu: u32,
) -> CallResult {
    let vcpu = call.state.domains.vcpu_of(domain, VcpuId(vcpu)).ok_or(Errno::ESRCH)?;
    match trigger {
        Trigger::Nmi => {}
        Trigger::Button => return Err(Errno::EINVAL),
        Trigger::Unknown => return Err(Errno::ENOSYS),
    }
    let (record, lock) = (call.state.domains.vcpu(vcpu), call.state.domain_locks.of(domain));
    call.reply_after(|tx| {
        tx.lock(lock);
        tx.set(&record.nmi_pending, true);
        tx.publish(Effect { kind: kind::KICK, x: vcpu.0, a: 0, b: 0 });
        Ok(())
    })
}
