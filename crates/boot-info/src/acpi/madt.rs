//! The multiple APIC description table (ACPI specification 6.5, 5.2.12).

use arrayvec::ArrayVec;
use ids::Maddr;

use super::{AcpiError, malformed, u16_at, u32_at, u64_at};
use crate::Overflow;

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cpu {
    /// Its local APIC's identifier.
    pub apic_id: u32,
    /// Its identifier in AML.
    pub acpi_id: u32,
    /// Usable now.
    pub enabled: bool,
    /// Not enabled, but may be plugged in.
    pub online_capable: bool,
}

/// An I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IoApic {
    /// Its identifier.
    pub id: u8,
    /// Its registers.
    pub address: Maddr,
    /// The global system interrupt of its first pin.
    pub gsi_base: u32,
    /// Its pins, read from the device; 0 until then.
    pub pins: u32,
}

/// Which level means "interrupt".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Polarity {
    /// As the bus has it: for ISA, high.
    Bus,
    /// Active high.
    High,
    /// Active low.
    Low,
}

/// When an interrupt is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// As the bus has it: for ISA, edge.
    Bus,
    /// On the change.
    Edge,
    /// While it lasts.
    Level,
}

/// The MPS INTI flags (table 5.26).
fn flags(raw: u16) -> (Polarity, Trigger) {
    let polarity = match raw & 3 {
        1 => Polarity::High,
        3 => Polarity::Low,
        _ => Polarity::Bus,
    };
    let trigger = match (raw >> 2) & 3 {
        1 => Trigger::Edge,
        3 => Trigger::Level,
        _ => Trigger::Bus,
    };
    (polarity, trigger)
}

/// An ISA interrupt that is not its own global system interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterruptOverride {
    /// The ISA interrupt, 0 to 15.
    pub source: u8,
    /// Its global system interrupt.
    pub gsi: u32,
    /// Its polarity.
    pub polarity: Polarity,
    /// Its trigger mode.
    pub trigger: Trigger,
}

/// An I/O APIC pin wired to NMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NmiSource {
    /// The pin.
    pub gsi: u32,
    /// Its polarity.
    pub polarity: Polarity,
    /// Its trigger mode.
    pub trigger: Trigger,
}

/// A local APIC pin wired to NMI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalNmi {
    /// The processor's AML identifier; `None`: every processor.
    pub acpi_id: Option<u32>,
    /// LINT0 or LINT1.
    pub lint: u8,
    /// Its polarity.
    pub polarity: Polarity,
    /// Its trigger mode.
    pub trigger: Trigger,
}

/// Processors and interrupt controllers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Madt {
    /// The local APICs' registers in xAPIC mode.
    pub local_apic: Maddr,
    /// There is a pair of 8259 interrupt controllers, to be masked.
    pub has_pic: bool,
    /// Processors, in the table's order.
    pub cpus: ArrayVec<Cpu, 256>,
    /// I/O APICs.
    pub io_apics: ArrayVec<IoApic, 16>,
    /// ISA interrupts that are not their own global system interrupt.
    pub overrides: ArrayVec<InterruptOverride, 24>,
    /// I/O APIC pins wired to NMI.
    pub nmi_sources: ArrayVec<NmiSource, 16>,
    /// Local APIC pins wired to NMI.
    pub local_nmis: ArrayVec<LocalNmi, 64>,
}

const FIRST_ENTRY: usize = 44;

impl Madt {
    /// No processor.
    pub const EMPTY: Self = Self {
        local_apic: Maddr(0),
        has_pic: false,
        cpus: ArrayVec::new_const(),
        io_apics: ArrayVec::new_const(),
        overrides: ArrayVec::new_const(),
        nmi_sources: ArrayVec::new_const(),
        local_nmis: ArrayVec::new_const(),
    };

    /// Fills in what `table` says.
    pub(super) fn read(&mut self, table: &[u8]) -> Result<(), AcpiError> {
        let bad = || malformed(table);
        self.local_apic = Maddr(u64::from(u32_at(table, 36).ok_or_else(bad)?));
        self.has_pic = u32_at(table, 40).ok_or_else(bad)? & 1 != 0;
        let mut rest = table.get(FIRST_ENTRY..).ok_or_else(bad)?;
        while let [kind, len, ..] = *rest {
            let len = usize::from(len);
            if len < 2 || len > rest.len() {
                return Err(bad());
            }
            let (entry, next) = rest.split_at(len);
            // An entry shorter than its kind is `None`.
            self.entry(kind, entry).ok_or_else(bad)??;
            rest = next;
        }
        Ok(())
    }

    fn entry(&mut self, kind: u8, entry: &[u8]) -> Option<Result<(), AcpiError>> {
        let byte = |at: usize| entry.get(at).copied();
        Some(match kind {
            0 => {
                let (acpi_id, apic_id) = (byte(2)?, byte(3)?);
                self.cpu(u32::from(apic_id), u32::from(acpi_id), u32_at(entry, 4)?)
            }
            1 => {
                let (address, gsi_base) = (Maddr(u64::from(u32_at(entry, 4)?)), u32_at(entry, 8)?);
                push(&mut self.io_apics, IoApic { id: byte(2)?, address, gsi_base, pins: 0 }, "I/O APICs")
            }
            2 => {
                let (polarity, trigger) = flags(u16_at(entry, 8)?);
                let (source, gsi) = (byte(3)?, u32_at(entry, 4)?);
                push(
                    &mut self.overrides,
                    InterruptOverride { source, gsi, polarity, trigger },
                    "interrupt overrides",
                )
            }
            3 => {
                let (polarity, trigger) = flags(u16_at(entry, 2)?);
                push(
                    &mut self.nmi_sources,
                    NmiSource { gsi: u32_at(entry, 4)?, polarity, trigger },
                    "NMI sources",
                )
            }
            4 => self.local_nmi(u32::from(byte(2)?), 0xff, u16_at(entry, 3)?, byte(5)?),
            5 => {
                self.local_apic = Maddr(u64_at(entry, 4)?);
                Ok(())
            }
            9 => self.cpu(u32_at(entry, 4)?, u32_at(entry, 12)?, u32_at(entry, 8)?),
            10 => self.local_nmi(u32_at(entry, 4)?, u32::MAX, u16_at(entry, 2)?, byte(8)?),
            _ => Ok(()),
        })
    }

    /// Adds a processor; one that can never be used, or is listed in both forms, is skipped.
    fn cpu(&mut self, apic_id: u32, acpi_id: u32, flags: u32) -> Result<(), AcpiError> {
        let (enabled, online_capable) = (flags & 1 != 0, flags & 2 != 0);
        if (!enabled && !online_capable) || self.cpus.iter().any(|cpu| cpu.apic_id == apic_id) {
            return Ok(());
        }
        push(&mut self.cpus, Cpu { apic_id, acpi_id, enabled, online_capable }, "CPUs")
    }

    fn local_nmi(&mut self, acpi_id: u32, all: u32, raw: u16, lint: u8) -> Result<(), AcpiError> {
        let (polarity, trigger) = flags(raw);
        let acpi_id = (acpi_id != all).then_some(acpi_id);
        push(&mut self.local_nmis, LocalNmi { acpi_id, lint, polarity, trigger }, "local NMI pins")
    }
}

fn push<T, const N: usize>(list: &mut ArrayVec<T, N>, item: T, what: &'static str) -> Result<(), AcpiError> {
    list.try_push(item).map_err(|_| Overflow(what).into())
}
