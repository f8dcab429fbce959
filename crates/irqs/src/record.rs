//! The durable records and their locks.

use crate::Error;
use crate::route::{Polarity, Trigger};
use crate::tables::Tables;
use alloc::boxed::Box;
use ids::DomainSlot;
use vault::{Arena, Durable, LockWord, record};

/// PIRQs a domain can have.
pub const MAX_PIRQS: u32 = 512;

/// What an irq is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not in use.
    None,
    /// A pin of an I/O APIC, set up.
    Gsi,
    /// A message-signalled interrupt.
    Msi,
    /// The hypervisor's own (serial line, timer).
    Hypervisor,
}

record! {
    /// An interrupt. Lock: `Derived::irq` (and the mapping lock for all but `masked` and `awaiting`).
    /// Rebuild: nothing; recovery programs the hardware from it.
    pub struct IrqRecord {
        /// Table of the device's MSI-X vectors; 0 for MSI.
        pub(crate) table_base: Durable<u64>,
        /// APIC identifier of the CPU that gets it.
        pub(crate) dest: Durable<u32>,
        /// The domain's name for it.
        pub(crate) pirq: Durable<u32>,
        /// The event port bound to it; 0 none.
        pub(crate) port: Durable<u32>,
        /// Slot of the domain it is mapped to, plus one; 0 none.
        pub(crate) domain: Durable<u32>,
        /// MSI: PCI segment.
        pub(crate) segment: Durable<u16>,
        /// MSI: bus and device function.
        pub(crate) bdf: Durable<u16>,
        /// MSI: entry in the MSI-X table.
        pub(crate) entry: Durable<u16>,
        /// A `Kind`.
        pub(crate) kind: Durable<u8>,
        /// Its vector; 0 none.
        pub(crate) vector: Durable<u8>,
        /// Level triggered.
        pub(crate) level: Durable<bool>,
        /// Active low.
        pub(crate) low: Durable<bool>,
        /// The guest said it may share the line: it must make the end-of-interrupt hypercall.
        pub(crate) needs_eoi: Durable<bool>,
        /// Not delivered now.
        pub(crate) masked: Durable<bool>,
        /// Masked until the guest ends it.
        pub(crate) awaiting: Durable<bool>,
    }
}

record! {
    /// A domain's interrupts. Lock: the mapping lock. Rebuild: nothing.
    pub struct DomainIrqs {
        /// PIRQ numbers it may use; 0: none.
        pub(crate) nr_pirqs: Durable<u32>,
        /// Its table, plus one; 0 none.
        pub(crate) table: Durable<u32>,
        /// Machine address of its end-of-interrupt bitmap; 0 none. Held by a typed and a general reference.
        pub(crate) eoi_page: Durable<u64>,
        /// An end of interrupt also unmasks the event channel (`pirq_eoi_gmfn_v1`).
        pub(crate) auto_unmask: Durable<bool>,
    }
}

record! {
    /// A domain's PIRQs. Lock: the mapping lock. Rebuild: nothing.
    pub struct PirqTable {
        /// Slot of the owner plus one; 0 free.
        pub(crate) owner: Durable<u32>,
        /// The irq of each PIRQ, plus one; 0 none.
        pub(crate) irq: [Durable<u32>; MAX_PIRQS as usize],
    }
}

record! {
    /// Which irq a vector is. Lock: the mapping lock. Rebuild: nothing.
    pub struct Vectors {
        /// Per vector: irq plus one; 0 free.
        pub(crate) irq: [Durable<u32>; 256],
    }
}

/// Sizes of the region, fixed for the life of the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Domain slots.
    pub domains: usize,
    /// Domains that can have PIRQs at the same time (Dom0 and those with devices passed through).
    pub tables: usize,
    /// Pins of all I/O APICs.
    pub gsis: u32,
    /// MSI slots.
    pub msis: u32,
}

/// The durable state of all interrupts.
#[derive(Clone, Copy)]
pub struct Region {
    pub(crate) irqs: &'static [IrqRecord],
    pub(crate) domains: &'static [DomainIrqs],
    pub(crate) tables: &'static [PirqTable],
    pub(crate) vectors: &'static Vectors,
    /// Guarded MSI-X tables.
    pub msix_tables: Tables,
    pub(crate) gsis: u32,
}

impl core::fmt::Debug for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Region({} irqs)", self.irqs.len())
    }
}

impl Region {
    /// Carves the region out; `None` when the arena is too small.
    pub fn carve(arena: &mut Arena, counts: Counts) -> Option<Self> {
        let irqs = usize::try_from(counts.gsis.checked_add(counts.msis)?).ok()?;
        Some(Self {
            vectors: arena.carve::<Vectors>(1)?.first()?,
            irqs: arena.carve(irqs)?,
            domains: arena.carve(counts.domains)?,
            tables: arena.carve(counts.tables)?,
            msix_tables: Tables::carve(arena, counts.msis as usize)?,
            gsis: counts.gsis,
        })
    }

    /// Number of irqs.
    pub fn len(&self) -> u32 {
        self.irqs.len() as u32
    }

    /// Whether there are no interrupts at all.
    pub fn is_empty(&self) -> bool {
        self.irqs.is_empty()
    }

    /// An irq's record.
    pub(crate) fn irq(&self, irq: u32) -> Result<&'static IrqRecord, Error> {
        self.irqs.get(irq as usize).ok_or(Error::Invalid)
    }

    pub(crate) fn domain(&self, slot: DomainSlot) -> Result<&'static DomainIrqs, Error> {
        let domain = self.domains.get(usize::from(slot.0)).ok_or(Error::NoSuchDomain)?;
        if domain.nr_pirqs.get() == 0 { Err(Error::NoSuchDomain) } else { Ok(domain) }
    }

    /// A domain's table, if it has one.
    pub(crate) fn table(&self, domain: &DomainIrqs) -> Option<&'static PirqTable> {
        self.tables.get((domain.table.get() as usize).checked_sub(1)?)
    }

    /// The irq a domain's PIRQ is mapped to.
    pub(crate) fn mapped(&self, domain: &DomainIrqs, pirq: u32) -> Option<u32> {
        if pirq >= domain.nr_pirqs.get() {
            return None;
        }
        self.table(domain)?.irq.get(pirq as usize)?.get().checked_sub(1)
    }
}

impl IrqRecord {
    pub(crate) fn kind(&self) -> Kind {
        match self.kind.get() {
            1 => Kind::Gsi,
            2 => Kind::Msi,
            3 => Kind::Hypervisor,
            _ => Kind::None,
        }
    }

    pub(crate) fn trigger(&self) -> Trigger {
        if self.level.get() { Trigger::Level } else { Trigger::Edge }
    }

    pub(crate) fn polarity(&self) -> Polarity {
        if self.low.get() { Polarity::Low } else { Polarity::High }
    }

    /// The domain it is mapped to.
    pub(crate) fn owner(&self) -> Option<DomainSlot> {
        u16::try_from(self.domain.get().checked_sub(1)?).ok().map(DomainSlot)
    }
}

/// The derived state: locks.
#[derive(Debug)]
pub struct Derived {
    /// Covers mappings, bindings and vectors.
    pub(crate) mapping: LockWord,
    /// Per irq: covers its record.
    pub(crate) irqs: Box<[LockWord]>,
}

/// Makes the derived state for a region: at first boot and at every recovery.
pub fn rebuild(region: &Region) -> Derived {
    Derived { mapping: LockWord::new(), irqs: region.irqs.iter().map(|_| LockWord::new()).collect() }
}
