//! Pins are set up, messages allocated, and both get names in a domain.

use crate::record::{DomainIrqs, IrqRecord, MAX_PIRQS, PirqTable};
use crate::{Error, Irqs, Kind, Polarity, Trigger};
use ids::DomainSlot;
use vault::{Effect, Tx, kind};

/// A device's message-signalled interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiSource {
    /// PCI segment.
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
    /// Entry in the MSI-X table.
    pub entry: u16,
    /// Address of the MSI-X table; 0 for MSI.
    pub table_base: u64,
}

/// What `PHYSDEVOP_map_pirq` maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A pin, by its GSI (`MAP_PIRQ_TYPE_GSI`).
    Gsi(u32),
    /// A message (`MAP_PIRQ_TYPE_MSI`, `_MSI_SEG`): a fresh irq.
    Msi(MsiSource),
    /// Several messages of one device (`MAP_PIRQ_TYPE_MULTI_MSI`).
    MultiMsi(MsiSource, u32),
}

/// The answer to `PHYSDEVOP_map_pirq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    /// The domain's name.
    pub pirq: u32,
    /// The irq (`index` of the answer).
    pub irq: u32,
}

pub(crate) fn source_of(record: &IrqRecord) -> MsiSource {
    let bdf = record.bdf.get();
    MsiSource {
        segment: record.segment.get(),
        bus: (bdf >> 8) as u8,
        devfn: bdf as u8,
        entry: record.entry.get(),
        table_base: record.table_base.get(),
    }
}

/// The effect that programs an irq's route.
pub(crate) const fn routed(irq: u32) -> Effect {
    Effect { kind: kind::IRQ_ROUTE, x: irq, a: 0, b: 0 }
}

impl<'l> Irqs<'l> {
    /// Takes the mapping lock.
    pub(crate) fn lock_mapping(&self, tx: &mut Tx<'l>) {
        tx.lock(&self.derived.mapping);
    }

    /// Takes an irq's lock.
    pub(crate) fn lock_irq(&self, tx: &mut Tx<'l>, irq: u32) -> Result<&'static IrqRecord, Error> {
        tx.lock(self.derived.irqs.get(irq as usize).ok_or(Error::Invalid)?);
        self.region.irq(irq)
    }

    /// Gives a domain PIRQ numbers 0..`nr_pirqs` (at most [`MAX_PIRQS`]).
    ///
    /// # Errors
    /// `NoSuchDomain`: no such slot; `Exists`; `NoMemory`: no table left; `Invalid`: a count of zero.
    pub fn create_domain(&self, tx: &mut Tx<'l>, slot: DomainSlot, nr_pirqs: u32) -> Result<(), Error> {
        let domain = self.region.domains.get(usize::from(slot.0)).ok_or(Error::NoSuchDomain)?;
        self.lock_mapping(tx);
        if domain.nr_pirqs.get() != 0 {
            return Err(Error::Exists);
        }
        if nr_pirqs == 0 {
            return Err(Error::Invalid);
        }
        let free = self.region.tables.iter().position(|table| table.owner.get() == 0);
        let table = free.ok_or(Error::NoMemory)?;
        tx.set(&self.region.tables[table].owner, u32::from(slot.0) + 1);
        tx.set(&domain.table, table as u32 + 1);
        tx.set(&domain.nr_pirqs, nr_pirqs.min(MAX_PIRQS));
        Ok(())
    }

    /// `PHYSDEVOP_setup_gsi`: sets a pin up, masked, with a vector. `dest` is the CPU it goes to.
    ///
    /// # Errors
    /// `Invalid`: no such pin; `Exists`: set up before (however), or the hypervisor's own; `NoSpace`.
    pub fn setup_gsi(
        &self,
        tx: &mut Tx<'l>,
        gsi: u32,
        trigger: Trigger,
        polarity: Polarity,
        dest: u32,
    ) -> Result<(), Error> {
        self.set_up(tx, gsi, Kind::Gsi, trigger, polarity, dest)
    }

    /// Keeps a pin for the hypervisor's own use (the serial line): no guest can set it up.
    ///
    /// # Errors
    /// As [`setup_gsi`](Self::setup_gsi).
    pub fn reserve_gsi(
        &self,
        tx: &mut Tx<'l>,
        gsi: u32,
        trigger: Trigger,
        polarity: Polarity,
        dest: u32,
    ) -> Result<(), Error> {
        self.set_up(tx, gsi, Kind::Hypervisor, trigger, polarity, dest)
    }

    fn set_up(
        &self,
        tx: &mut Tx<'l>,
        gsi: u32,
        kind: Kind,
        trigger: Trigger,
        polarity: Polarity,
        dest: u32,
    ) -> Result<(), Error> {
        if gsi >= self.region.gsis {
            return Err(Error::Invalid);
        }
        self.lock_mapping(tx);
        let record = self.lock_irq(tx, gsi)?;
        if record.kind() != Kind::None {
            return Err(Error::Exists);
        }
        let vector = self.take_vector(tx, gsi)?;
        tx.set(&record.kind, kind as u8);
        tx.set(&record.level, trigger == Trigger::Level);
        tx.set(&record.low, polarity == Polarity::Low);
        tx.set(&record.vector, vector);
        tx.set(&record.dest, dest);
        tx.set(&record.masked, kind == Kind::Gsi);
        tx.publish(routed(gsi));
        Ok(())
    }

    /// `PHYSDEVOP_map_pirq`: gives an irq a name in the domain; `None` chooses one. A message gets a fresh irq
    /// going to `dest`. As on Xen, naming what has another name already changes nothing and succeeds if the
    /// name was given. A pin of the hypervisor's own can be named, but not bound.
    ///
    /// # Errors
    /// `NoSuchDomain`; `Invalid`: no such pin or name, or no irq left for a message; `Exists`: the pin has
    /// another name here, or the device's message is mapped; `Busy`: another domain has it; `NoSpace`: no name
    /// or vector; `OutOfDomain`, `NotSupported`: several messages.
    pub fn map_pirq(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        source: Source,
        pirq: Option<u32>,
        dest: u32,
    ) -> Result<Mapped, Error> {
        let domain = self.region.domain(slot)?;
        self.lock_mapping(tx);
        if pirq.is_some_and(|pirq| pirq >= domain.nr_pirqs.get()) {
            return Err(Error::Invalid);
        }
        match source {
            Source::Gsi(gsi) => self.map_gsi(tx, slot, domain, gsi, pirq),
            Source::Msi(msi) => self.map_msi(tx, slot, domain, msi, pirq, dest),
            Source::MultiMsi(_, count) if count == 0 || count > 32 => Err(Error::OutOfDomain),
            Source::MultiMsi(msi, 1) => self.map_msi(tx, slot, domain, msi, pirq, dest),
            Source::MultiMsi(..) => Err(Error::NotSupported),
        }
    }

    fn map_gsi(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        domain: &'static DomainIrqs,
        gsi: u32,
        wanted: Option<u32>,
    ) -> Result<Mapped, Error> {
        if gsi >= self.region.gsis {
            return Err(Error::Invalid);
        }
        let record = self.lock_irq(tx, gsi)?;
        match record.owner() {
            Some(owner) if owner != slot => return Err(Error::Busy),
            Some(_) => {
                let pirq = record.pirq.get();
                let same = wanted.is_none_or(|wanted| wanted == pirq);
                return if same { Ok(Mapped { pirq, irq: gsi }) } else { Err(Error::Exists) };
            }
            None => {}
        }
        let pirq = match wanted {
            Some(pirq) if self.region.mapped(domain, pirq).is_some() => return Ok(Mapped { pirq, irq: gsi }),
            Some(pirq) => pirq,
            None => self.free_pirq(domain, false)?,
        };
        self.name(tx, slot, domain, record, Mapped { pirq, irq: gsi })
    }

    fn map_msi(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        domain: &'static DomainIrqs,
        msi: MsiSource,
        wanted: Option<u32>,
        dest: u32,
    ) -> Result<Mapped, Error> {
        let slots = self.region.gsis..self.region.len();
        let record_of = |irq: u32| &self.region.irqs[irq as usize];
        let used = |irq: &u32| record_of(*irq).kind() == Kind::Msi;
        if slots.clone().filter(used).any(|irq| source_of(record_of(irq)) == msi) {
            return Err(Error::Exists);
        }
        let irq = slots.clone().find(|irq| !used(irq)).ok_or(Error::Invalid)?;
        let pirq = match wanted {
            Some(pirq) if self.region.mapped(domain, pirq).is_some() => return Err(Error::Exists),
            Some(pirq) => pirq,
            None => self.free_pirq(domain, true)?,
        };
        let record = self.lock_irq(tx, irq)?;
        let vector = self.take_vector(tx, irq)?;
        tx.set(&record.kind, Kind::Msi as u8);
        tx.set(&record.vector, vector);
        tx.set(&record.dest, dest);
        tx.set(&record.masked, true);
        tx.set(&record.segment, msi.segment);
        tx.set(&record.bdf, u16::from(msi.bus) << 8 | u16::from(msi.devfn));
        tx.set(&record.entry, msi.entry);
        tx.set(&record.table_base, msi.table_base);
        tx.publish(routed(irq));
        self.name(tx, slot, domain, record, Mapped { pirq, irq })
    }

    fn name(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        domain: &'static DomainIrqs,
        record: &'static IrqRecord,
        mapped: Mapped,
    ) -> Result<Mapped, Error> {
        let table: &PirqTable = self.region.table(domain).ok_or(Error::NoMemory)?;
        let entry = table.irq.get(mapped.pirq as usize).ok_or(Error::Invalid)?;
        tx.set(entry, mapped.irq + 1);
        tx.set(&record.domain, u32::from(slot.0) + 1);
        tx.set(&record.pirq, mapped.pirq);
        Ok(mapped)
    }

    /// A free name: pins get low ones from 16, messages high ones, downwards.
    fn free_pirq(&self, domain: &DomainIrqs, message: bool) -> Result<u32, Error> {
        let is_free = |pirq: &u32| self.region.mapped(domain, *pirq).is_none();
        let (gsis, all) = (self.region.gsis.min(domain.nr_pirqs.get()), domain.nr_pirqs.get());
        let found = if message { (gsis..all).rev().find(is_free) } else { (16..gsis).find(is_free) };
        found.ok_or(Error::NoSpace)
    }

    /// `PHYSDEVOP_get_free_pirq`: a name free now; nothing is kept.
    ///
    /// # Errors
    /// `NoSuchDomain`, `NoSpace`.
    pub fn get_free_pirq(&self, slot: DomainSlot, message: bool) -> Result<u32, Error> {
        self.free_pirq(self.region.domain(slot)?, message)
    }

    /// `PHYSDEVOP_unmap_pirq`: takes the name away. A binding goes with it (its event port, if any, is
    /// returned and stays bound to the name, as on Xen); a message's irq is free again.
    ///
    /// # Errors
    /// `NoSuchDomain`; `Invalid`: not mapped.
    pub fn unmap_pirq(&self, tx: &mut Tx<'l>, slot: DomainSlot, pirq: u32) -> Result<Option<u32>, Error> {
        let domain = self.region.domain(slot)?;
        self.lock_mapping(tx);
        let irq = self.region.mapped(domain, pirq).ok_or(Error::Invalid)?;
        let record = self.lock_irq(tx, irq)?;
        let port = record.port.get();
        self.unbind_locked(tx, domain, irq, record);
        tx.set(&record.domain, 0);
        tx.set(&record.pirq, 0);
        let table = self.region.table(domain).ok_or(Error::Invalid)?;
        tx.set(&table.irq[pirq as usize], 0);
        if record.kind() == Kind::Msi {
            self.return_vector(tx, record.vector.get());
            tx.set(&record.kind, Kind::None as u8);
            tx.set(&record.vector, 0);
        }
        Ok((port != 0).then_some(port))
    }

    /// Sends an irq to another CPU.
    ///
    /// # Errors
    /// `Invalid`: not in use.
    pub fn set_affinity(&self, tx: &mut Tx<'l>, irq: u32, dest: u32) -> Result<(), Error> {
        let record = self.lock_irq(tx, irq)?;
        if record.kind() == Kind::None {
            return Err(Error::Invalid);
        }
        if record.dest.get() != dest {
            tx.set(&record.dest, dest);
            tx.publish(routed(irq));
        }
        Ok(())
    }
}
