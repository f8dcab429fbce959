//! An interrupt is bound to an event port, arrives, and is ended by the guest.

use crate::map::routed;
use crate::record::{DomainIrqs, IrqRecord};
use crate::{Error, Irqs, Kind, Trigger};
use ids::{DomainSlot, FRAME_SIZE, Mfn};
use vault::{Effect, Tx, kind};

/// Pins that stand for the ISA bus.
const ISA_PINS: u32 = 16;
/// `XENIRQSTAT_needs_eoi`: the guest must end the interrupt by a hypercall unless its bitmap says else.
pub const STATUS_NEEDS_EOI: u32 = 1;
/// `XENIRQSTAT_shared`: several guests handle it. Never set: one domain handles an irq.
pub const STATUS_SHARED: u32 = 2;

/// What an interrupt led to. The event and the route are in the outbox; the local APIC's end of interrupt is
/// the caller's, after the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nobody's vector.
    Spurious,
    /// The hypervisor's own irq.
    Own(u32),
    /// No guest is bound: it was masked.
    Unbound(u32),
    /// Raised in a domain.
    Raised {
        /// The irq.
        irq: u32,
        /// The domain.
        domain: DomainSlot,
        /// Its port.
        port: u32,
        /// Masked until the guest ends it.
        masked: bool,
    },
}

/// What an end of interrupt led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eoi {
    /// The event port to unmask (only with a page registered by `pirq_eoi_gmfn_v1`).
    pub unmask: Option<u32>,
    /// The interrupt can come again.
    pub reopened: bool,
}

/// To whom an irq is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The domain.
    pub domain: DomainSlot,
    /// Its name for the irq.
    pub pirq: u32,
    /// Its port; 0: mapped only.
    pub port: u32,
    /// The guest owes an end of interrupt.
    pub awaiting: bool,
}

impl<'l> Irqs<'l> {
    /// To whom an irq is mapped, if to anybody.
    pub fn binding(&self, irq: u32) -> Option<Binding> {
        let record = self.region.irq(irq).ok()?;
        let (pirq, port) = (record.pirq.get(), record.port.get());
        Some(Binding { domain: record.owner()?, pirq, port, awaiting: record.awaiting.get() })
    }

    /// The interrupt side of `EVTCHNOP_bind_pirq`: `port` gets the irq's events from now on, and the irq is
    /// unmasked. Returns the irq. `share` is `BIND_PIRQ__WILL_SHARE`.
    ///
    /// # Errors
    /// `NoSuchDomain`; `Invalid`: not mapped, or a pin (no ISA one) that is not set up; `Exists`: bound already;
    /// `Busy`: the hypervisor's own; `NoSpace`: no vector.
    pub fn bind(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        pirq: u32,
        port: u32,
        share: bool,
    ) -> Result<u32, Error> {
        let domain = self.region.domain(slot)?;
        self.lock_mapping(tx);
        let irq = self.region.mapped(domain, pirq).ok_or(Error::Invalid)?;
        let record = self.lock_irq(tx, irq)?;
        if record.kind() == Kind::None {
            self.set_up_isa(tx, irq, record)?;
        }
        if port == 0 {
            return Err(Error::Invalid);
        }
        if record.kind() == Kind::Hypervisor {
            return Err(Error::Busy);
        }
        if record.port.get() != 0 {
            return Err(Error::Exists);
        }
        tx.set(&record.port, port);
        tx.set(&record.needs_eoi, share);
        tx.set(&record.masked, false);
        tx.publish(routed(irq));
        self.publish_eoi_word(tx, domain, pirq / 64);
        Ok(irq)
    }

    /// The port that a domain's name for an interrupt is bound to.
    pub fn port_of(&self, slot: DomainSlot, pirq: u32) -> Option<u32> {
        let irq = self.region.mapped(self.region.domain(slot).ok()?, pirq)?;
        Some(self.binding(irq)?.port).filter(|port| *port != 0)
    }

    /// Pins of the ISA bus need no set-up by the guest: they are edge triggered and active high.
    fn set_up_isa(&self, tx: &mut Tx<'l>, irq: u32, record: &'static IrqRecord) -> Result<(), Error> {
        if irq >= ISA_PINS.min(self.region.gsis) {
            return Err(Error::Invalid);
        }
        let vector = self.take_vector(tx, irq)?;
        tx.set(&record.kind, Kind::Gsi as u8);
        tx.set(&record.vector, vector);
        tx.set(&record.level, false);
        tx.set(&record.low, false);
        Ok(())
    }

    /// The interrupt side of closing a PIRQ's port: the irq is masked, an end of interrupt owed is forgotten.
    ///
    /// # Errors
    /// `NoSuchDomain`; `Invalid`: not mapped.
    pub fn unbind(&self, tx: &mut Tx<'l>, slot: DomainSlot, pirq: u32) -> Result<(), Error> {
        let domain = self.region.domain(slot)?;
        self.lock_mapping(tx);
        let irq = self.region.mapped(domain, pirq).ok_or(Error::Invalid)?;
        let record = self.lock_irq(tx, irq)?;
        self.unbind_locked(tx, domain, irq, record);
        Ok(())
    }

    pub(crate) fn unbind_locked(
        &self,
        tx: &mut Tx<'l>,
        domain: &'static DomainIrqs,
        irq: u32,
        record: &'static IrqRecord,
    ) {
        if record.kind() == Kind::Hypervisor {
            return;
        }
        let pirq = record.pirq.get();
        tx.set(&record.port, 0);
        tx.set(&record.needs_eoi, false);
        tx.set(&record.awaiting, false);
        tx.set(&record.masked, true);
        tx.publish(routed(irq));
        self.publish_eoi_word(tx, domain, pirq / 64);
    }

    /// An interrupt arrived at `vector`. Taking one that recovery found in service again is harmless.
    pub fn on_interrupt(&self, tx: &mut Tx<'l>, vector: u8) -> Action {
        let Some(irq) = self.irq_of(vector) else { return Action::Spurious };
        let Ok(record) = self.lock_irq(tx, irq) else { return Action::Spurious };
        if record.vector.get() != vector {
            return Action::Spurious;
        }
        if record.kind() == Kind::Hypervisor {
            return Action::Own(irq);
        }
        let port = record.port.get();
        let level = record.trigger() == Trigger::Level;
        let (Some(domain), true) = (record.owner(), port != 0) else {
            self.mask(tx, irq, record);
            return Action::Unbound(irq);
        };
        if level {
            tx.set(&record.awaiting, true);
            self.mask(tx, irq, record);
        }
        tx.publish(Effect { kind: kind::EVENT, x: port, a: u64::from(domain.0), b: 0 });
        Action::Raised { irq, domain, port, masked: level }
    }

    fn mask(&self, tx: &mut Tx<'l>, irq: u32, record: &'static IrqRecord) {
        tx.set(&record.masked, true);
        tx.publish(routed(irq));
    }

    /// `PHYSDEVOP_eoi`: the guest has served the interrupt.
    ///
    /// # Errors
    /// `NoSuchDomain`; `Invalid`: not mapped.
    pub fn eoi(&self, tx: &mut Tx<'l>, slot: DomainSlot, pirq: u32) -> Result<Eoi, Error> {
        let domain = self.region.domain(slot)?;
        let irq = self.region.mapped(domain, pirq).ok_or(Error::Invalid)?;
        let record = self.lock_irq(tx, irq)?;
        // The table was read without its lock: the irq's own record decides.
        if record.owner() != Some(slot) || record.pirq.get() != pirq {
            return Err(Error::Invalid);
        }
        let port = record.port.get();
        let reopened = record.awaiting.get();
        if reopened {
            tx.set(&record.awaiting, false);
            tx.set(&record.masked, false);
            tx.publish(routed(irq));
        }
        Ok(Eoi { unmask: (domain.auto_unmask.get() && port != 0).then_some(port), reopened })
    }

    /// `PHYSDEVOP_irq_status_query`.
    ///
    /// # Errors
    /// `NoSuchDomain`; `Invalid`: no such name.
    pub fn status(&self, slot: DomainSlot, pirq: u32) -> Result<u32, Error> {
        if pirq >= self.region.domain(slot)?.nr_pirqs.get() {
            return Err(Error::Invalid);
        }
        Ok(STATUS_NEEDS_EOI)
    }

    /// `PHYSDEVOP_pirq_eoi_gmfn_v1` (`auto_unmask`) and `_v2`: the guest wants to see in `frame` which PIRQs
    /// need the end-of-interrupt hypercall. The caller has translated the frame and taken a writable-typed and
    /// a general reference on it; teardown drops both, as effects.
    ///
    /// # Errors
    /// `NoSuchDomain`; `Busy`: done before.
    pub fn set_eoi_page(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        frame: Mfn,
        auto_unmask: bool,
    ) -> Result<(), Error> {
        let domain = self.region.domain(slot)?;
        self.lock_mapping(tx);
        if domain.eoi_page.get() != 0 {
            return Err(Error::Busy);
        }
        tx.set(&domain.eoi_page, frame.maddr().0);
        tx.set(&domain.auto_unmask, auto_unmask);
        for word in 0..domain.nr_pirqs.get().div_ceil(64) {
            self.publish_eoi_word(tx, domain, word);
        }
        Ok(())
    }

    /// Publishes 64 bits of the end-of-interrupt bitmap, as the records say. The mapping lock keeps them.
    fn publish_eoi_word(&self, tx: &mut Tx<'l>, domain: &'static DomainIrqs, word: u32) {
        let page = domain.eoi_page.get();
        let offset = u64::from(word) * 8;
        if page == 0 || offset >= FRAME_SIZE {
            return;
        }
        let needs = |pirq: u32| {
            let irq = self.region.mapped(domain, pirq);
            irq.is_some_and(|irq| self.region.irqs[irq as usize].needs_eoi.get())
        };
        let bits = (0..64).filter(|bit| needs(word * 64 + bit)).fold(0u64, |bits, bit| bits | 1 << bit);
        tx.publish(Effect { kind: kind::GUEST_STORE, x: 8, a: page + offset, b: bits });
    }
}
