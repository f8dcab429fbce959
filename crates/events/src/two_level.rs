//! Delivery by the two-level ABI: bitmaps in shared_info, a selector and an upcall byte per vCPU.

use crate::Events;
use crate::deliver::Target;
use crate::layout::{INFO_SELECTOR, MAX_PORTS, SHARED_MASK, SHARED_PENDING};
use crate::region::DomainEvents;
use guest_memory::GuestMemory;
use ids::{Maddr, VcpuSlot};

/// A port's place in a bitmap.
struct Bit {
    at: Maddr,
    bit: u64,
}

/// Where a port's bit is in the bitmap at `base` of shared_info; `None` when there is no such page or port.
fn bit(domain: &DomainEvents, base: u64, port: u32) -> Option<Bit> {
    let shared = domain.shared_info.get();
    if shared == 0 || port >= MAX_PORTS.min(4096) {
        return None;
    }
    Some(Bit { at: Maddr(shared + base + u64::from(port / 64) * 8), bit: 1 << (port % 64) })
}

impl<M: GuestMemory> Events<'_, M> {
    pub(crate) fn raise_two_level(&self, target: &Target) -> Option<VcpuSlot> {
        let pending = bit(target.domain, SHARED_PENDING, target.port)?;
        self.mem.or64(pending.at, pending.bit);
        let mask = bit(target.domain, SHARED_MASK, target.port)?;
        if self.mem.load64(mask.at) & mask.bit != 0 {
            return None;
        }
        self.select(target)
    }

    /// Tells the vCPU where to look. Again after a crash: both words are set whatever they were.
    fn select(&self, target: &Target) -> Option<VcpuSlot> {
        let info = target.vcpu.info.get();
        if info == 0 {
            return None;
        }
        self.mem.or64(Maddr(info + INFO_SELECTOR), 1 << (target.port / 64));
        self.upcall(target.slot, target.vcpu)
    }

    pub(crate) fn unmask_two_level(&self, target: &Target) -> Option<VcpuSlot> {
        let mask = bit(target.domain, SHARED_MASK, target.port)?;
        self.mem.and_not64(mask.at, mask.bit);
        let pending = bit(target.domain, SHARED_PENDING, target.port)?;
        if self.mem.load64(pending.at) & pending.bit == 0 { None } else { self.select(target) }
    }

    pub(crate) fn clear_two_level(&self, domain: &DomainEvents, port: u32) {
        if let Some(pending) = bit(domain, SHARED_PENDING, port) {
            self.mem.and_not64(pending.at, pending.bit);
        }
    }

    pub(crate) fn is_pending_two_level(&self, domain: &DomainEvents, port: u32) -> bool {
        bit(domain, SHARED_PENDING, port).is_some_and(|b| self.mem.load64(b.at) & b.bit != 0)
    }
}
