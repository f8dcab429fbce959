//! A vCPU's vcpu_info: where it is, and its upcall bytes.

use crate::layout::{INFO_SELECTOR, INFO_SIZE, INFO_UPCALL_MASK, INFO_UPCALL_PENDING};
use crate::region::VcpuEvents;
use crate::{Error, Events, deliver};
use guest_memory::GuestMemory;
use ids::{DomainSlot, FRAME_SIZE, Maddr, Mfn, VcpuSlot};
use vault::{Effect, Tx, kind};

/// The upcall bytes of a vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upcall {
    /// Events wait for the vCPU (`evtchn_upcall_pending`).
    pub pending: bool,
    /// It does not want to hear of them now (`evtchn_upcall_mask`).
    pub masked: bool,
}

impl<'l, M: GuestMemory> Events<'l, M> {
    /// The machine address of a vCPU's vcpu_info; `None` while it has none.
    pub fn vcpu_info(&self, slot: VcpuSlot) -> Option<Maddr> {
        let info = self.region.vcpu_at(slot).ok()?.info.get();
        (info != 0).then_some(Maddr(info))
    }

    /// Reads a vCPU's upcall bytes. One without a vcpu_info has nothing pending and is masked.
    pub fn upcall_state(&self, slot: VcpuSlot) -> Upcall {
        let Some(info) = self.vcpu_info(slot) else { return Upcall { pending: false, masked: true } };
        Upcall {
            pending: self.mem.load8(Maddr(info.0 + INFO_UPCALL_PENDING)) != 0,
            masked: self.mem.load8(Maddr(info.0 + INFO_UPCALL_MASK)) != 0,
        }
    }

    /// Masks or unmasks a vCPU's upcalls, at once. Inside a transaction publish
    /// [`upcall_mask`](Self::upcall_mask) instead.
    pub fn set_upcall_mask(&self, slot: VcpuSlot, masked: bool) {
        if let Some(info) = self.vcpu_info(slot) {
            self.mem.store8(Maddr(info.0 + INFO_UPCALL_MASK), masked.into());
        }
    }

    /// The effect that masks or unmasks a vCPU's upcalls.
    pub fn upcall_mask(&self, slot: VcpuSlot, masked: bool) -> Option<Effect> {
        let info = self.vcpu_info(slot)?;
        Some(Effect { kind: kind::GUEST_STORE, x: 1, a: info.0 + INFO_UPCALL_MASK, b: masked.into() })
    }

    /// Makes the upcall pending; the vCPU to kick if it was not.
    pub(crate) fn upcall(&self, slot: VcpuSlot, vcpu: &VcpuEvents) -> Option<VcpuSlot> {
        let info = vcpu.info.get();
        let at = Maddr(info + INFO_UPCALL_PENDING);
        if info == 0 || self.mem.load8(at) != 0 {
            return None;
        }
        self.mem.store8(at, 1);
        Some(slot)
    }

    /// `VCPUOP_register_vcpu_info`: the vcpu_info moves to `offset` in `frame`, which the caller has
    /// translated and taken a writable-typed and a general reference on (dropped by teardown, as effects).
    /// Its contents move with it, and everything is marked pending so that nothing is lost on the way.
    /// Whether the vCPU may be changed (itself, or down) is the caller's check.
    ///
    /// # Errors
    /// `NoSuchVcpu`; `Invalid`: done before; `BadOffset`: it would cross the frame or be misaligned.
    pub fn set_vcpu_info(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        id: u32,
        frame: Mfn,
        offset: u32,
    ) -> Result<(), Error> {
        let domain = self.lock(tx, slot)?;
        let (vcpu_slot, vcpu) = self.region.vcpu(domain, id)?;
        if u64::from(offset) > FRAME_SIZE - INFO_SIZE || !offset.is_multiple_of(8) {
            return Err(Error::BadOffset);
        }
        if vcpu.registered.get() {
            return Err(Error::Invalid);
        }
        let to = frame.maddr().0 + u64::from(offset);
        let old = vcpu.info.get();
        tx.publish_set(&vcpu.registered, true);
        tx.publish_set(&vcpu.info, to);
        // Nobody writes to the old place any more.
        tx.publish(deliver::settle(slot));
        for at in (0..INFO_SIZE).step_by(8) {
            let value = match at {
                INFO_SELECTOR => u64::MAX,
                0 if old == 0 => 0x0101,
                0 => self.mem.load64(Maddr(old)) & !0xff | 1,
                _ if old == 0 => 0,
                _ => self.mem.load64(Maddr(old + at)),
            };
            tx.publish(Effect { kind: kind::GUEST_STORE, x: 8, a: to + at, b: value });
        }
        tx.publish(Effect { kind: kind::KICK, x: vcpu_slot.0, a: 0, b: 0 });
        Ok(())
    }
}
