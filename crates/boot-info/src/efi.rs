//! Facts of a 64-bit UEFI (UEFI specification 2.10, 4.2 to 4.5 and 7.2): what its system table says once boot services
//! have ended, and its memory map as the boot loader passed it on.

use arrayvec::ArrayVec;
use ids::{FRAME_SIZE, Maddr};

use crate::acpi::{u32_at, u64_at};
use crate::{Firmware, Overflow};

/// Ranges of the memory map there is room for.
const MAX_REGIONS: usize = 256;
/// UTF-16 units kept of the vendor's name, its end included.
const MAX_VENDOR: usize = 101;
/// Bytes of a memory descriptor's fields.
const DESCRIPTOR: usize = 40;
const SYSTEM_TABLE: usize = 120;
/// Bytes of a table header, with the signature first and the revision behind it.
const HEADER: usize = 24;

/// A range of the firmware's memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EfiRegion {
    /// What it is for (`EFI_MEMORY_TYPE`).
    pub kind: u32,
    /// First byte; page aligned.
    pub start: Maddr,
    /// Bytes.
    pub len: u64,
    /// What it may be mapped as, and whether the services need it.
    pub attributes: u64,
}

impl EfiRegion {
    /// `EfiRuntimeServicesCode`.
    pub const RUNTIME_CODE: u32 = 5;
    /// In [`Self::attributes`]: uncached.
    pub const UNCACHED: u64 = 1;
    /// In [`Self::attributes`]: write-back.
    pub const WRITE_BACK: u64 = 8;
    /// In [`Self::attributes`]: the services need it.
    pub const RUNTIME: u64 = 1 << 63;

    /// Whether the services need it.
    pub const fn is_runtime(&self) -> bool {
        self.attributes & Self::RUNTIME != 0
    }

    /// First byte behind it.
    pub const fn end(&self) -> u64 {
        self.start.0.saturating_add(self.len)
    }
}

/// What a 64-bit UEFI says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EfiFacts {
    /// The system table's revision; 0 on other machines.
    pub version: u32,
    /// The vendor's name, UTF-16 with a zero at its end.
    pub vendor: ArrayVec<u16, MAX_VENDOR>,
    /// The firmware's own revision.
    pub firmware_revision: u32,
    /// The configuration table.
    pub tables: Maddr,
    /// Its entries.
    pub table_count: u32,
    /// The runtime services' table, if it is one.
    pub runtime_services: Option<Maddr>,
    /// That table's revision.
    pub runtime_version: u32,
    /// The memory map, by address; adjacent ranges that are alike are one.
    pub memory: ArrayVec<EfiRegion, MAX_REGIONS>,
}

impl EfiFacts {
    /// Nothing known.
    pub const EMPTY: Self = Self {
        version: 0,
        vendor: ArrayVec::new_const(),
        firmware_revision: 0,
        tables: Maddr(0),
        table_count: 0,
        runtime_services: None,
        runtime_version: 0,
        memory: ArrayVec::new_const(),
    };

    /// Takes a memory map of descriptors `size` bytes apart.
    ///
    /// # Errors
    /// More ranges that the services need than there is room for; of others, what does not fit is left out.
    pub(crate) fn read_memory(&mut self, size: usize, map: &[u8]) -> Result<(), Overflow> {
        for bytes in map.chunks_exact(size.max(DESCRIPTOR)) {
            let word = |at| u64_at(bytes, at).unwrap_or(0);
            let len = word(24).saturating_mul(FRAME_SIZE);
            let kind = u32_at(bytes, 0).unwrap_or(0);
            let region = EfiRegion { kind, start: Maddr(word(8)), len, attributes: word(32) };
            if len > 0 && region.start.0.is_multiple_of(FRAME_SIZE) {
                self.add(region)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, region: EfiRegion) -> Result<(), Overflow> {
        let at = self.memory.partition_point(|other| other.start <= region.start);
        if let Some(before) = at.checked_sub(1).and_then(|before| self.memory.get_mut(before))
            && (before.kind, before.attributes) == (region.kind, region.attributes)
            && before.end() == region.start.0
        {
            before.len = before.len.saturating_add(region.len);
            return Ok(());
        }
        match self.memory.try_insert(at, region) {
            Err(_) if region.is_runtime() => Err(Overflow("EFI runtime memory ranges")),
            _ => Ok(()),
        }
    }

    /// Reads the system table and the header of the runtime services; nothing changes if they are not what they
    /// should be.
    pub fn read(&mut self, firmware: &impl Firmware, system_table: Maddr) {
        let Some(table) = firmware.bytes(system_table, SYSTEM_TABLE) else { return };
        if !table.starts_with(b"IBI SYST") {
            return;
        }
        let word = |at| u64_at(table, at).unwrap_or(0);
        self.version = u32_at(table, 8).unwrap_or(0);
        self.read_vendor(firmware, word(24));
        self.firmware_revision = u32_at(table, 32).unwrap_or(0);
        self.tables = Maddr(word(112));
        self.table_count = u32::try_from(word(104)).unwrap_or(0);
        let services = Maddr(word(88));
        let header = firmware.bytes(services, HEADER).filter(|header| header.starts_with(b"RUNTSERV"));
        self.runtime_services = header.map(|_| services);
        self.runtime_version = header.and_then(|header| u32_at(header, 8)).unwrap_or(0);
    }

    fn read_vendor(&mut self, firmware: &impl Firmware, mut at: u64) {
        self.vendor.clear();
        while self.vendor.len() + 1 < MAX_VENDOR {
            let unit =
                firmware.bytes(Maddr(at), 2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
            if unit == 0 {
                break;
            }
            self.vendor.push(unit);
            at = at.saturating_add(2);
        }
        self.vendor.push(0);
    }

    /// The ranges that the services need, lowest first.
    pub fn runtime_memory(&self) -> impl Iterator<Item = &EfiRegion> {
        self.memory.iter().filter(|region| region.is_runtime())
    }

    /// The range that `at` lies in.
    pub fn region(&self, at: u64) -> Option<&EfiRegion> {
        self.memory.iter().find(|region| (region.start.0..region.end()).contains(&at))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    struct Memory(Vec<u8>);

    impl Firmware for Memory {
        fn bytes(&self, maddr: Maddr, len: usize) -> Option<&[u8]> {
            let at = usize::try_from(maddr.0).ok()?;
            self.0.get(at..at.checked_add(len)?)
        }
    }

    fn descriptor(kind: u32, start: u64, pages: u64, attributes: u64) -> Vec<u8> {
        let mut bytes = Vec::from(u64::from(kind).to_le_bytes());
        for word in [start, 0, pages, attributes, 0xdead] {
            bytes.extend(word.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn alike_neighbours_are_one_and_order_is_by_address() {
        let map = [
            descriptor(7, 0x10_0000, 2, 0xf),
            descriptor(6, 0x1000, 1, 1 << 63 | 0xf),
            descriptor(7, 0x10_2000, 1, 0xf),
            descriptor(7, 0x10_4000, 0, 0xf),
        ];
        let mut efi = EfiFacts::EMPTY;
        efi.read_memory(48, &map.concat()).unwrap();
        let found: Vec<_> = efi.memory.iter().map(|r| (r.start.0, r.len, r.kind)).collect();
        assert_eq!(found, [(0x1000, 0x1000, 6), (0x10_0000, 0x3000, 7)]);
        assert_eq!(efi.runtime_memory().count(), 1);
        assert_eq!(efi.region(0x10_2fff).map(|r| r.kind), Some(7));
        assert_eq!(efi.region(0x10_3000), None);
        // A size that cannot be is no reason to read forever.
        efi.read_memory(0, &[0; 80]).unwrap();
    }

    #[test]
    fn too_many_ranges_are_a_problem_only_if_services_need_them() {
        let mut efi = EfiFacts::EMPTY;
        for page in 0..300_u64 {
            efi.read_memory(48, &descriptor((page % 2) as u32, page << 12, 1, 0xf)).unwrap();
        }
        assert_eq!(efi.memory.len(), 256);
        assert!(efi.read_memory(48, &descriptor(5, 1 << 40, 1, 1 << 63)).is_err());
    }

    #[test]
    fn the_system_table_is_read() {
        let mut bytes = std::vec![0_u8; 0x400];
        let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
        put(0x100, b"IBI SYST");
        for (at, word) in
            [(8, 0x2_0046), (24, 0x200), (32, 0x1_0000), (88, 0x240), (104, 7), (112, 0x300_u64)]
        {
            put(0x100 + at, &word.to_le_bytes());
        }
        put(0x200, &[b'E', 0, b'D', 0]);
        put(0x240, b"RUNTSERV");
        put(0x248, &0x2_0046_u32.to_le_bytes());
        let mut efi = EfiFacts::EMPTY;
        efi.read(&Memory(bytes.clone()), Maddr(0x100));
        assert_eq!((efi.version, efi.firmware_revision, efi.runtime_version), (0x2_0046, 0x1_0000, 0x2_0046));
        assert_eq!(efi.vendor[..], [0x45, 0x44, 0]);
        assert_eq!(
            (efi.tables, efi.table_count, efi.runtime_services),
            (Maddr(0x300), 7, Some(Maddr(0x240)))
        );
        let mut none = EfiFacts::EMPTY;
        none.read(&Memory(bytes), Maddr(0x108));
        none.read(&Memory(Vec::new()), Maddr(0x100));
        assert_eq!(none, EfiFacts::EMPTY);
    }
}
