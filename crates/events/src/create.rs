//! Domains and vCPUs come into being.

use crate::layout::{INFO_SIZE, MAX_PORTS, SHARED_VCPUS};
use crate::{Error, Events};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot, Maddr, VcpuSlot};
use vault::Tx;

/// What a new domain's event channels need to know.
#[derive(Debug, Clone, Copy)]
pub struct NewDomain {
    /// Its identifier.
    pub domid: DomId,
    /// Slot of its vCPU 0.
    pub first_vcpu: VcpuSlot,
    /// vCPU numbers it may use; their slots follow `first_vcpu`.
    pub max_vcpus: u32,
    /// Highest port number (`max_evtchn_port` of createdomain); what exceeds [`MAX_PORTS`] is cut off.
    pub max_port: u32,
    /// Its shared_info page: the domain's for its life, so no reference is counted here.
    pub shared_info: Maddr,
}

impl<'l, M: GuestMemory> Events<'l, M> {
    /// Gives a domain event channels, all ports free and the two-level ABI.
    ///
    /// # Errors
    /// `NoSuchDomain`: no such slot. `Exists`: the slot is in use. `Invalid`: its vCPU slots do not exist,
    /// or the page is misaligned.
    pub fn create_domain(&self, tx: &mut Tx<'l>, slot: DomainSlot, new: &NewDomain) -> Result<(), Error> {
        let locks = self.derived.domain(slot)?;
        let domain = self.region.domains.get(usize::from(slot.0)).ok_or(Error::NoSuchDomain)?;
        tx.lock(&locks.records);
        if domain.max_ports.get() != 0 {
            return Err(Error::Exists);
        }
        let end = new.first_vcpu.0.checked_add(new.max_vcpus).ok_or(Error::Invalid)?;
        let slots_exist = end as usize <= self.region.vcpus.len() && new.max_vcpus <= u32::from(u16::MAX);
        if !slots_exist || new.shared_info.offset() != 0 {
            return Err(Error::Invalid);
        }
        locks.lower_lowest_free(0);
        tx.set(&domain.domid, new.domid.0);
        tx.set(&domain.first_vcpu, new.first_vcpu.0);
        tx.set(&domain.max_vcpus, new.max_vcpus);
        tx.set(&domain.shared_info, new.shared_info.0);
        tx.publish_set(&domain.max_ports, new.max_port.saturating_add(1).min(MAX_PORTS));
        Ok(())
    }

    /// Adds a vCPU. The first 32 have their vcpu_info in shared_info; the others none until it is set.
    ///
    /// # Errors
    /// `NoSuchDomain`; `NoSuchVcpu`: beyond the domain's maximum; `Exists`.
    pub fn create_vcpu(&self, tx: &mut Tx<'l>, slot: DomainSlot, id: u32) -> Result<(), Error> {
        let domain = self.region.domain(slot)?;
        tx.lock(&self.derived.domain(slot)?.records);
        if id >= domain.max_vcpus.get() {
            return Err(Error::NoSuchVcpu);
        }
        let vcpu = &self.region.vcpus[(domain.first_vcpu.get() + id) as usize];
        if vcpu.live.get() {
            return Err(Error::Exists);
        }
        let shared = domain.shared_info.get();
        let info = if id < SHARED_VCPUS && shared != 0 { shared + u64::from(id) * INFO_SIZE } else { 0 };
        tx.set(&vcpu.domain, slot.0);
        tx.set(&vcpu.info, info);
        tx.publish_set(&vcpu.live, true);
        Ok(())
    }
}
