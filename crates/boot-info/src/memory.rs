//! The firmware's memory map (BIOS INT 15h E820; ACPI specification 6.5, 15.3).

use arrayvec::ArrayVec;
use ids::Maddr;

use crate::{FreeRanges, Full, Range};

/// What a range of the map is for, with E820's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct E820Kind(pub u32);

impl E820Kind {
    /// Usable.
    pub const RAM: Self = Self(1);
    /// Never to be used.
    pub const RESERVED: Self = Self(2);
    /// GRUB's own word for code of EFI's runtime services.
    const LOADERS_CODE: Self = Self(20);

    /// This kind without what a boot loader adds to E820: kernels take kinds that they do not know for devices'.
    pub(crate) const fn without_loaders(self) -> Self {
        if self.0 == Self::LOADERS_CODE.0 { Self::RESERVED } else { self }
    }
    /// ACPI tables; usable once they have been read.
    pub const ACPI: Self = Self(3);
    /// ACPI's, to be saved over sleep.
    pub const NVS: Self = Self(4);
    /// Defective.
    pub const UNUSABLE: Self = Self(5);

    /// The kind as the boot log shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RAM => "usable",
            Self::ACPI => "ACPI data",
            Self::NVS => "ACPI NVS",
            Self::UNUSABLE => "unusable",
            _ => "reserved",
        }
    }
}

/// One range of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct E820Entry {
    /// First byte.
    pub start: Maddr,
    /// Bytes.
    pub len: u64,
    /// Use.
    pub kind: E820Kind,
}

impl E820Entry {
    const fn range(&self) -> Range {
        Range::new(self.start, self.len)
    }
}

/// Ranges a map may have.
pub(crate) const MAX_ENTRIES: usize = 128;

/// The map as the firmware gave it, sorted by start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemoryMap {
    entries: ArrayVec<E820Entry, MAX_ENTRIES>,
}

impl MemoryMap {
    /// No range.
    pub const EMPTY: Self = Self { entries: ArrayVec::new_const() };

    /// Adds a range; empty ones are dropped.
    pub fn insert(&mut self, entry: E820Entry) -> Result<(), Full> {
        if entry.len == 0 {
            return Ok(());
        }
        let at = self.entries.partition_point(|e| e.start <= entry.start);
        self.entries.try_insert(at, entry).map_err(|_| Full)
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = &E820Entry> {
        self.entries.iter()
    }

    /// Forgets RAM from `end` on.
    pub fn limit_ram(&mut self, end: u64) {
        for entry in self.entries.iter_mut().filter(|entry| entry.kind == E820Kind::RAM) {
            entry.len = entry.len.min(end.saturating_sub(entry.start.0));
        }
        self.entries.retain(|entry| entry.len > 0);
    }

    /// All whole frames of RAM; where ranges overlap, RAM loses. `limit` cuts off what the direct map cannot show.
    pub fn ram(&self, limit: u64) -> Result<FreeRanges, Full> {
        let mut ram = FreeRanges::new();
        for entry in self.iter().filter(|e| e.kind == E820Kind::RAM) {
            ram.insert(entry.range())?;
        }
        for entry in self.iter().filter(|e| e.kind != E820Kind::RAM) {
            ram.remove(entry.range())?;
        }
        ram.remove(Range { start: limit, end: u64::MAX })?;
        Ok(ram.whole_frames())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_limit_cuts_ram_alone() {
        let mut map = MemoryMap::EMPTY;
        for (start, kind) in [
            (0, E820Kind::RAM),
            (0x1000, E820Kind::RAM),
            (0x2000, E820Kind::RESERVED),
            (0x3000, E820Kind::RAM),
        ] {
            map.insert(E820Entry { start: Maddr(start), len: 0x1000, kind }).unwrap();
        }
        map.limit_ram(0x1800);
        let left: Vec<_> = map.iter().map(|e| (e.start.0, e.len)).collect();
        assert_eq!(left, [(0, 0x1000), (0x1000, 0x800), (0x2000, 0x1000)]);
    }

    #[test]
    fn overlaps_are_not_ram_and_frames_are_whole() {
        let mut map = MemoryMap::EMPTY;
        for (start, len, kind) in [
            (0x10_0000, 0x10_0000, E820Kind::RAM),
            (0, 0x9fc00, E820Kind::RAM),
            (0x9f000, 0x1000, E820Kind::RESERVED),
            (0x18_0800, 0x800, E820Kind::NVS),
            (u64::MAX - 0xfff, 0x2000, E820Kind::RAM),
        ] {
            map.insert(E820Entry { start: Maddr(start), len, kind }).unwrap();
        }
        let ram: Vec<_> = map.ram(5 << 40).unwrap().iter().map(|r| (r.start, r.end)).collect();
        assert_eq!(ram, [(0, 0x9f000), (0x10_0000, 0x18_0000), (0x18_1000, 0x20_0000)]);
    }
}
