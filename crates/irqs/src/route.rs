//! What the hardware is told about an interrupt.

use crate::{Irqs, Kind};

/// How a line signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// By a change.
    Edge,
    /// By its level, until the device is served.
    Level,
}

/// Which level of a line means "interrupt".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polarity {
    /// High.
    High,
    /// Low.
    Low,
}

/// An interrupt's route as the hardware must have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteWord {
    /// Which hardware: an I/O APIC pin (its number is the irq), or a device's message registers.
    pub kind: Kind,
    /// Vector; 0: none, keep it masked.
    pub vector: u8,
    /// APIC identifier of the CPU.
    pub dest: u32,
    /// Trigger mode.
    pub trigger: Trigger,
    /// Polarity.
    pub polarity: Polarity,
    /// Not to be delivered.
    pub masked: bool,
    /// MSI: the device.
    pub msi: Option<crate::MsiSource>,
}

impl RouteWord {
    /// The redirection table entry (82093AA datasheet, 3.2.4): fixed delivery, physical destination.
    pub const fn redirection_entry(&self) -> u64 {
        let low = matches!(self.polarity, Polarity::Low) as u64;
        let level = matches!(self.trigger, Trigger::Level) as u64;
        let masked = (self.masked || self.vector == 0) as u64;
        self.vector as u64 | low << 13 | level << 15 | masked << 16 | (self.dest as u64 & 0xff) << 56
    }

    /// The address a device writes its message to (Intel SDM volume 3, 11.11.1): physical destination.
    pub const fn message_address(&self) -> u64 {
        0xfee0_0000 | (self.dest as u64 & 0xff) << 12
    }

    /// The data of the message (11.11.2): fixed delivery, edge.
    pub const fn message_data(&self) -> u32 {
        self.vector as u32
    }
}

impl Irqs<'_> {
    /// The route of an irq; `None` when it is not in use. Pure: recovery programs every irq with it.
    pub fn route(&self, irq: u32) -> Option<RouteWord> {
        let record = self.region.irq(irq).ok()?;
        let kind = record.kind();
        if kind == Kind::None {
            return None;
        }
        Some(RouteWord {
            kind,
            vector: record.vector.get(),
            dest: record.dest.get(),
            trigger: record.trigger(),
            polarity: record.polarity(),
            masked: record.masked.get(),
            msi: (kind == Kind::Msi).then(|| crate::map::source_of(record)),
        })
    }

    /// The device whose message an irq above the pins is, or was until it was unmapped: in the transaction that
    /// frees the irq, and until its outbox is empty, this names what has to be switched off.
    pub fn device(&self, irq: u32) -> Option<crate::MsiSource> {
        let record = self.region.irq(irq).ok().filter(|_| irq >= self.region.gsis)?;
        Some(crate::map::source_of(record))
    }
}
