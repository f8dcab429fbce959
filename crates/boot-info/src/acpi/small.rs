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
