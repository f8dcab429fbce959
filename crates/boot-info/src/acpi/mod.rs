//! Facts from the ACPI tables (ACPI specification 6.5, chapter 5.2): where the tables are, and what the static ones say.
//! AML is Dom0's business.
//!
//! Parsed here rather than by a library: every length is firmware's word, and nothing in it may make the boot read
//! outside of a table, loop for ever or panic.

mod fadt;
mod madt;
mod small;

use core::fmt;

use arrayvec::ArrayVec;
use ids::Maddr;

pub use fadt::{Fadt, GenericAddress, IoBlock};
pub use madt::{Cpu, InterruptOverride, IoApic, LocalNmi, Madt, NmiSource, Polarity, Trigger};
pub use small::{ConfigSpace, Hpet};

use crate::Overflow;

/// Read access to the firmware's memory.
pub trait Firmware {
    /// `len` bytes from `maddr` on; `None` if that memory cannot be read.
    fn bytes(&self, maddr: Maddr, len: usize) -> Option<&[u8]>;
}

/// Why the tables cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcpiError {
    /// Neither boot loader nor BIOS area has a valid root pointer.
    NoRootPointer,
    /// A table lies where nothing can be read, or is shorter than its own header.
    Unreadable(Maddr),
    /// A table's bytes do not sum to 0.
    Checksum([u8; 4]),
    /// A table's contents contradict its length.
    Malformed([u8; 4]),
    /// A table that x86 machines must have is missing.
    Missing([u8; 4]),
    /// More than there is room for.
    Overflow(&'static str),
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |signature: &[u8; 4]| signature.map(char::from);
        match self {
            Self::NoRootPointer => f.write_str("no ACPI root pointer found"),
            Self::Unreadable(at) => write!(f, "ACPI table at {:#x} cannot be read", at.0),
            Self::Checksum(s) => write!(f, "ACPI table {:?} has a wrong checksum", name(s)),
            Self::Malformed(s) => write!(f, "ACPI table {:?} is malformed", name(s)),
            Self::Missing(s) => write!(f, "ACPI table {:?} is missing", name(s)),
            Self::Overflow(what) => write!(f, "ACPI describes too many {what}"),
        }
    }
}

impl From<Overflow> for AcpiError {
    fn from(overflow: Overflow) -> Self {
        Self::Overflow(overflow.0)
    }
}

/// The root system description pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RootPointer {
    /// Where the firmware has it, if it was found there.
    pub address: Option<Maddr>,
    /// Its bytes; zeroes after the first 20 in version 0.
    pub copy: [u8; 36],
}

/// What the ACPI tables say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AcpiFacts {
    /// The root pointer.
    pub root: Option<RootPointer>,
    /// CPUs and interrupt controllers.
    pub madt: Madt,
    /// Fixed hardware: ports and flags.
    pub fadt: Option<Fadt>,
    /// The high precision event timer.
    pub hpet: Option<Hpet>,
    /// PCI Express configuration space.
    pub config_spaces: ArrayVec<ConfigSpace, 16>,
}

const HEADER: usize = 36;

impl AcpiFacts {
    /// Nothing known.
    pub const EMPTY: Self =
        Self { root: None, madt: Madt::EMPTY, fadt: None, hpet: None, config_spaces: ArrayVec::new_const() };

    /// Reads all tables. `copy` is the root pointer's copy the boot loader passed, if it did; `efi_system_table` leads
    /// to it on UEFI machines.
    ///
    /// # Errors
    /// See [`AcpiError`]; the facts are then incomplete. A missing HPET, FADT or MCFG is none, a missing MADT is.
    pub fn read(
        &mut self,
        firmware: &impl Firmware,
        copy: Option<[u8; 36]>,
        efi_system_table: Option<Maddr>,
    ) -> Result<(), AcpiError> {
        let root = find_root(firmware, copy, efi_system_table).ok_or(AcpiError::NoRootPointer)?;
        self.root = Some(root);
        let mut has_madt = false;
        let (tables, width) = root_table(firmware, &root)?;
        for pointer in tables.chunks_exact(width) {
            let mut address = [0; 8];
            address[..width].copy_from_slice(pointer);
            let table = table_at(firmware, Maddr(u64::from_le_bytes(address)))?;
            match &table[..4] {
                b"APIC" if !has_madt => {
                    self.madt.read(checked(table)?)?;
                    has_madt = true;
                }
                b"FACP" if self.fadt.is_none() => self.fadt = Some(Fadt::read(checked(table)?)?),
                b"HPET" if self.hpet.is_none() => self.hpet = Some(Hpet::read(checked(table)?)?),
                b"MCFG" => self.config_spaces = small::read_mcfg(checked(table)?)?,
                _ => {}
            }
        }
        if has_madt { Ok(()) } else { Err(AcpiError::Missing(*b"APIC")) }
    }
}

/// The pointers of the XSDT, or of the RSDT where there is no other, and the bytes of each.
fn root_table<'f>(firmware: &'f impl Firmware, root: &RootPointer) -> Result<(&'f [u8], usize), AcpiError> {
    let xsdt = u64_at(&root.copy, 24).filter(|&address| address != 0 && root.copy[15] >= 2);
    let (address, width) = match xsdt {
        Some(address) => (address, 8),
        None => (u64::from(u32_at(&root.copy, 16).unwrap_or(0)), 4),
    };
    let table = checked(table_at(firmware, Maddr(address))?)?;
    Ok((&table[HEADER..], width))
}

fn find_root(firmware: &impl Firmware, copy: Option<[u8; 36]>, efi: Option<Maddr>) -> Option<RootPointer> {
    let found = match efi {
        Some(system_table) => efi_root(firmware, system_table),
        None => scan(firmware),
    };
    match copy.filter(is_root) {
        Some(copy) => {
            let address =
                found.filter(|found| found.copy[..20] == copy[..20]).and_then(|found| found.address);
            Some(RootPointer { address, copy })
        }
        None => found,
    }
}

/// Searches the configuration table of a 64-bit UEFI (UEFI specification 2.10, 4.3 and 4.6), the newer version first.
fn efi_root(firmware: &impl Firmware, system_table: Maddr) -> Option<RootPointer> {
    const ACPI_2: [u8; 16] = *b"\x71\xe8\x68\x88\xf1\xe4\xd3\x11\xbc\x22\x00\x80\xc7\x3c\x88\x81";
    const ACPI_1: [u8; 16] = *b"\x30\x2d\x9d\xeb\x88\x2d\xd3\x11\x9a\x16\x00\x90\x27\x3f\xc1\x4d";
    const ENTRY: usize = 24;
    let table = firmware.bytes(system_table, 120).filter(|table| table.starts_with(b"IBI SYST"))?;
    let count = u64_at(table, 104).and_then(|count| usize::try_from(count).ok())?;
    let entries = firmware.bytes(Maddr(u64_at(table, 112)?), count.checked_mul(ENTRY)?)?;
    [ACPI_2, ACPI_1].into_iter().find_map(|wanted| {
        let entry = entries.chunks_exact(ENTRY).find(|entry| entry.starts_with(&wanted))?;
        root_at(firmware, Maddr(u64_at(entry, 16)?))
    })
}

/// Searches the extended BIOS data area and the BIOS area (5.2.5.1).
fn scan(firmware: &impl Firmware) -> Option<RootPointer> {
    let ebda = firmware
        .bytes(Maddr(0x40e), 2)
        .and_then(|bytes| u16_at(bytes, 0))
        .map(|segment| u64::from(segment) << 4);
    let areas = [(ebda.unwrap_or(0), 0x400), (0xe_0000, 0x2_0000)];
    for (start, len) in areas.into_iter().filter(|(start, _)| *start >= 0x400) {
        for address in (start..start + len).step_by(16) {
            if let Some(root) = root_at(firmware, Maddr(address)) {
                return Some(root);
            }
        }
    }
    None
}

fn root_at(firmware: &impl Firmware, address: Maddr) -> Option<RootPointer> {
    let mut copy = *firmware.bytes(address, 36)?.first_chunk()?;
    if copy[15] < 2 {
        copy[20..].fill(0);
    }
    is_root(&copy).then_some(RootPointer { address: Some(address), copy })
}

fn is_root(copy: &[u8; 36]) -> bool {
    copy.starts_with(b"RSD PTR ") && sums_to_zero(&copy[..20]) && (copy[15] < 2 || sums_to_zero(copy))
}

/// The whole table at `at`, header included; its checksum is not looked at.
fn table_at(firmware: &impl Firmware, at: Maddr) -> Result<&[u8], AcpiError> {
    let header = firmware.bytes(at, HEADER).ok_or(AcpiError::Unreadable(at))?;
    let len = u32_at(header, 4).and_then(|len| usize::try_from(len).ok()).filter(|&len| len >= HEADER);
    len.and_then(|len| firmware.bytes(at, len)).ok_or(AcpiError::Unreadable(at))
}

fn checked(table: &[u8]) -> Result<&[u8], AcpiError> {
    if sums_to_zero(table) { Ok(table) } else { Err(AcpiError::Checksum(signature(table))) }
}

fn signature(table: &[u8]) -> [u8; 4] {
    table.first_chunk().copied().unwrap_or_default()
}

fn malformed(table: &[u8]) -> AcpiError {
    AcpiError::Malformed(signature(table))
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array_at(bytes, offset).map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    array_at(bytes, offset).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests;
