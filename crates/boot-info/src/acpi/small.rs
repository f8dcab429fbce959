//! HPET (IA-PC HPET specification 1.0a, 3.2.4) and MCFG (PCI firmware specification 3.3, 4.1.2).

use arrayvec::ArrayVec;
use ids::Maddr;

use super::{AcpiError, malformed, u16_at, u32_at, u64_at};

/// The high precision event timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hpet {
    /// Its registers.
    pub address: Maddr,
    /// General capabilities, low half.
    pub capabilities: u32,
    /// Shortest period in periodic mode, in ticks.
    pub minimum_tick: u16,
}

impl Hpet {
    pub(super) fn read(table: &[u8]) -> Result<Self, AcpiError> {
        let parse = || {
            Some(Self {
                capabilities: u32_at(table, 36)?,
                address: Maddr(u64_at(table, 44)?),
                minimum_tick: u16_at(table, 53)?,
            })
        };
        parse().ok_or_else(|| malformed(table))
    }
}

/// Memory-mapped configuration space of some PCI buses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConfigSpace {
    /// Where bus 0 of the segment would be.
    pub address: Maddr,
    /// PCI segment.
    pub segment: u16,
    /// First bus.
    pub first_bus: u8,
    /// Last bus.
    pub last_bus: u8,
}

impl ConfigSpace {
    /// Its bytes; an end beyond all addresses counts as the last one.
    pub fn range(&self) -> core::ops::Range<u64> {
        let from = |bus: u64| self.address.0.saturating_add(bus << 20);
        from(self.first_bus.into())..from(u64::from(self.last_bus) + 1)
    }

    /// The bus, device function and register at an address.
    pub fn register(&self, at: Maddr) -> Option<(u8, u8, u16)> {
        let offset = at.0.checked_sub(self.address.0).filter(|_| self.range().contains(&at.0))?;
        Some(((offset >> 20) as u8, (offset >> 12) as u8, (offset & 0xfff) as u16))
    }

    /// The page of a device function's registers.
    pub fn page(&self, bus: u8, devfn: u8) -> Option<Maddr> {
        let page = self.address.0.checked_add(u64::from(bus) << 20 | u64::from(devfn) << 12)?;
        (self.first_bus..=self.last_bus).contains(&bus).then_some(Maddr(page))
    }
}

pub(super) fn read_mcfg(table: &[u8]) -> Result<ArrayVec<ConfigSpace, 16>, AcpiError> {
    let mut spaces = ArrayVec::new();
    let entries = table.get(44..).ok_or_else(|| malformed(table))?;
    for entry in entries.chunks_exact(16) {
        let parse = || {
            Some(ConfigSpace {
                address: Maddr(u64_at(entry, 0)?),
                segment: u16_at(entry, 8)?,
                first_bus: *entry.get(10)?,
                last_bus: *entry.get(11)?,
            })
        };
        let space = parse().ok_or_else(|| malformed(table))?;
        spaces.try_push(space).map_err(|_| AcpiError::Overflow("PCI segments"))?;
    }
    Ok(spaces)
}
