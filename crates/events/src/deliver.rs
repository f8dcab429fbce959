//! A raised port reaches its guest.

use crate::layout::MAX_PORTS;
use crate::region::{DomainEvents, FIFO, PortRecord, VcpuEvents};
use crate::{Error, Events};
use guest_memory::GuestMemory;
use ids::{DomainSlot, VcpuSlot};
use vault::{Effect, kind};

/// What an EVENT effect's `b` asks for.
const RAISE: u64 = 0;
/// The port is being closed: its pending bit goes.
const CLEAR: u64 = 1;
/// Ports that waited for an event word or a control block are raised.
const RESCAN: u64 = 2;
/// Whoever delivers to the domain with what he read before the commit has finished.
const SETTLE: u64 = 3;
/// The domain has left the two-level ABI: ports pending by it wait.
const SWITCHED: u64 = 4;

const fn event(slot: DomainSlot, x: u32, b: u64) -> Effect {
    Effect { kind: kind::EVENT, x, a: slot.0 as u64, b }
}

/// The effect that raises a port.
pub(crate) const fn raised(slot: DomainSlot, port: u32) -> Effect {
    event(slot, port, RAISE)
}

pub(crate) const fn cleared(slot: DomainSlot, port: u32) -> Effect {
    event(slot, port, CLEAR)
}

pub(crate) const fn rescan(slot: DomainSlot) -> Effect {
    event(slot, 0, RESCAN)
}

pub(crate) const fn settle(slot: DomainSlot) -> Effect {
    event(slot, 0, SETTLE)
}

pub(crate) const fn switched(slot: DomainSlot) -> Effect {
    event(slot, 0, SWITCHED)
}

/// Where a port's events go.
pub(crate) struct Target {
    pub(crate) domain: &'static DomainEvents,
    pub(crate) record: &'static PortRecord,
    pub(crate) port: u32,
    pub(crate) slot: VcpuSlot,
    pub(crate) vcpu: &'static VcpuEvents,
}

impl<M: GuestMemory> Events<'_, M> {
    /// Applies a `kind::EVENT` effect; `kick` is told every vCPU that must look at its events. Harmless when
    /// repeated.
    pub fn apply(&self, effect: &Effect, mut kick: impl FnMut(VcpuSlot)) {
        let Ok(slot) = u16::try_from(effect.a).map(DomainSlot) else { return };
        match effect.b {
            RAISE => self.raise(slot, effect.x).into_iter().for_each(kick),
            CLEAR => self.clear(slot, effect.x),
            RESCAN => (1..MAX_PORTS).filter_map(|port| self.raise_waiting(slot, port)).for_each(&mut kick),
            SWITCHED => self.keep(slot),
            SETTLE => drop(self.derived.domain(slot).map(|locks| locks.delivery.hold())),
            _ => {}
        }
    }

    /// Makes a port pending, at least once: a repetition sets again what a crash may have left out. Returns
    /// the vCPU to kick, unless its upcall was pending already. Unused ports are left alone.
    pub fn raise(&self, slot: DomainSlot, port: u32) -> Option<VcpuSlot> {
        let _delivery = self.derived.domain(slot).ok()?.delivery.hold();
        let target = self.target(slot, port).ok()?;
        if target.record.word.get().is_consumed_here() {
            return Some(target.slot);
        }
        match target.domain.abi.get() {
            FIFO => self.raise_fifo(&target),
            _ => self.raise_two_level(&target),
        }
    }

    fn keep(&self, slot: DomainSlot) {
        let Ok(locks) = self.derived.domain(slot) else { return };
        let _delivery = locks.delivery.hold();
        let _ = self.region.domain(slot).map(|domain| self.keep_pending(domain));
    }

    fn raise_waiting(&self, slot: DomainSlot, port: u32) -> Option<VcpuSlot> {
        let record = self.region.port(self.region.domain(slot).ok()?, port).ok()?;
        if crate::fifo::is_waiting(record) { self.raise(slot, port) } else { None }
    }

    fn clear(&self, slot: DomainSlot, port: u32) {
        let Ok(locks) = self.derived.domain(slot) else { return };
        let _delivery = locks.delivery.hold();
        let Ok(domain) = self.region.domain(slot) else { return };
        match domain.abi.get() {
            FIFO => self.clear_fifo(domain, port),
            _ => self.clear_two_level(domain, port),
        }
    }

    /// `EVTCHNOP_unmask`: unmasks the port and delivers it if it is pending. Changes shared words only, so it
    /// needs no transaction and may be repeated. Returns the vCPU to kick.
    ///
    /// # Errors
    /// `NoSuchDomain`; `Invalid`: no valid port, or not in use.
    pub fn unmask(&self, slot: DomainSlot, port: u32) -> Result<Option<VcpuSlot>, Error> {
        let _delivery = self.derived.domain(slot)?.delivery.hold();
        let target = self.target(slot, port)?;
        Ok(match target.domain.abi.get() {
            FIFO => self.unmask_fifo(&target),
            _ => self.unmask_two_level(&target),
        })
    }

    /// Whether a port is pending, masked or not (`SCHEDOP_poll`).
    ///
    /// # Errors
    /// `NoSuchDomain`; `Invalid`: no valid port.
    pub fn is_pending(&self, slot: DomainSlot, port: u32) -> Result<bool, Error> {
        let _delivery = self.derived.domain(slot)?.delivery.hold();
        let domain = self.region.domain(slot)?;
        self.region.port(domain, port)?;
        Ok(match domain.abi.get() {
            FIFO => self.is_pending_fifo(domain, port),
            _ => self.is_pending_two_level(domain, port),
        })
    }

    /// Whose event a port's is. The caller holds the delivery lock.
    fn target(&self, slot: DomainSlot, port: u32) -> Result<Target, Error> {
        let domain = self.region.domain(slot)?;
        let record = self.bound(domain, port)?;
        let (slot, vcpu) = self.region.vcpu(domain, u32::from(record.word.get().vcpu()))?;
        Ok(Target { domain, record, port, slot, vcpu })
    }
}
