//! Virtual interrupts.

use crate::layout::VIRQS;
use crate::region::DomainEvents;
use crate::{Error, Events, deliver};
use guest_memory::GuestMemory;
use ids::{DomainSlot, VcpuSlot};
use vault::{Effect, Tx};

/// Whether a VIRQ belongs to the domain and not to a vCPU: all but TIMER, DEBUG, XENOPROF and XENPMU
/// (public/xen.h).
pub const fn is_global(virq: u32) -> bool {
    !matches!(virq, 0 | 1 | 7 | 13)
}

impl<'l, M: GuestMemory> Events<'l, M> {
    /// The effect that raises a per-vCPU VIRQ; `None` when it is not bound.
    pub fn virq_event(&self, slot: VcpuSlot, virq: u32) -> Option<Effect> {
        let vcpu = self.region.vcpu_at(slot).ok()?;
        let port = vcpu.virq.get(virq as usize)?.get();
        (port != 0).then(|| deliver::raised(DomainSlot(vcpu.domain.get()), port))
    }

    /// Raises a per-vCPU VIRQ at once; the vCPU to kick.
    pub fn raise_virq(&self, slot: VcpuSlot, virq: u32) -> Option<VcpuSlot> {
        let event = self.virq_event(slot, virq)?;
        self.raise(DomainSlot(event.a as u16), event.x)
    }

    /// The effect that raises a global VIRQ in the domain that handles it; `None` when it is not bound there.
    pub fn global_virq_event(&self, virq: u32) -> Option<Effect> {
        let slot = DomainSlot(self.region.shared.handler.get(virq as usize)?.get());
        self.domain_virq_event(slot, virq)
    }

    /// The effect that raises a global VIRQ in one domain; `None` when it is not bound there.
    pub fn domain_virq_event(&self, slot: DomainSlot, virq: u32) -> Option<Effect> {
        let domain: &DomainEvents = self.region.domain(slot).ok()?;
        let (_, vcpu) = self.region.vcpu(domain, 0).ok()?;
        let port = vcpu.virq.get(virq as usize)?.get();
        (is_global(virq) && port != 0).then(|| deliver::raised(slot, port))
    }

    /// Which domain handles a global VIRQ (`XEN_DOMCTL_set_virq_handler`). Teardown gives it back to Dom0.
    ///
    /// # Errors
    /// `Invalid`: no such VIRQ, or not a global one; `NoSuchDomain`.
    pub fn set_virq_handler(&self, tx: &mut Tx<'l>, virq: u32, slot: DomainSlot) -> Result<(), Error> {
        if virq as usize >= VIRQS || !is_global(virq) {
            return Err(Error::Invalid);
        }
        self.region.domain(slot)?;
        tx.lock(&self.derived.pool);
        tx.publish_set(&self.region.shared.handler[virq as usize], slot.0);
        Ok(())
    }
}
