//! `com1=` and `com2=`: `<baud>[/<base-baud>][,[DPS][,[<io-base>][,<irq>]]]`, then `name=value` pairs.

use crate::value::{Expected, integer};

const EXPECTED: Expected =
    "<baud>|auto[/<base-baud>][,<5-8><n|o|e|m|s><1|2>[,<io-base>|pci|amt[,<irq>|msi]]][,name=value...]";
/// The clock of a PC's UART is 16 times this.
const DEFAULT_BASE_BAUD: u32 = 115_200;

/// The line's speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baud {
    /// As the firmware or boot loader left it.
    Auto,
    /// Bits a second.
    Rate(u32),
}

/// The line's parity bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// `n`
    None,
    /// `o`
    Odd,
    /// `e`
    Even,
    /// `m`
    Mark,
    /// `s`
    Space,
}

/// The UART's interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Irq {
    /// An interrupt line; 0 polls the UART.
    Line(u32),
    /// `msi`
    Msi,
}

/// One serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial {
    /// The speed. `None` if not given, which means `Auto` for a port that `console=` names.
    pub baud: Option<Baud>,
    /// Highest speed of the UART; its clock is 16 times as fast.
    pub base_baud: u32,
    /// 5 to 8.
    pub data_bits: u8,
    /// The parity bit.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// First I/O port; `None` if the UART is to be found on the PCI bus.
    pub io_base: Option<u64>,
    /// Its interrupt.
    pub irq: Irq,
    /// log2 of the distance of two registers.
    pub reg_shift: u8,
    /// Bytes that an access to a register has.
    pub reg_width: u8,
}

impl Serial {
    /// COM1 of a PC.
    pub const COM1: Self = Self::at(0x3f8, 4);
    /// COM2 of a PC.
    pub const COM2: Self = Self::at(0x2f8, 3);

    const fn at(io_base: u64, irq: u32) -> Self {
        Self {
            baud: None,
            base_baud: DEFAULT_BASE_BAUD,
            data_bits: 8,
            parity: Parity::None,
            stop_bits: 1,
            io_base: Some(io_base),
            irq: Irq::Line(irq),
            reg_shift: 0,
            reg_width: 1,
        }
    }

    /// Returns this port changed by `text`.
    pub(crate) fn changed_by(mut self, text: &[u8]) -> Result<Self, Expected> {
        let mut position = 0u32;
        for item in text.split(|&byte| byte == b',') {
            if let Some(at) = item.iter().position(|&byte| byte == b'=') {
                let (name, value) = item.split_at_checked(at).ok_or(EXPECTED)?;
                self.set_named(name, value.get(1..).unwrap_or(&[])).ok_or(EXPECTED)?;
                continue;
            }
            if !item.is_empty() {
                self.set_positional(position, item).ok_or(EXPECTED)?;
            }
            position = position.saturating_add(1);
        }
        Ok(self)
    }

    fn set_positional(&mut self, position: u32, item: &[u8]) -> Option<()> {
        match position {
            0 => {
                let mut parts = item.splitn(2, |&byte| byte == b'/');
                self.set_named(b"baud", parts.next()?)?;
                if let Some(base) = parts.next() {
                    self.base_baud = integer(base).filter(|&base| base > 0)?;
                }
            }
            1 => {
                let [data, parity, stop] = *item.first_chunk::<3>().filter(|_| item.len() == 3)?;
                self.set_named(b"data-bits", &[data])?;
                self.set_named(b"parity", &[parity])?;
                self.set_named(b"stop-bits", &[stop])?;
            }
            2 if matches!(item, b"pci" | b"amt") => self.io_base = None,
            2 => self.set_named(b"io-base", item)?,
            3 if item == b"msi" => self.irq = Irq::Msi,
            3 => self.set_named(b"irq", item)?,
            4 | 5 => {} // places on the PCI bus
            _ => return None,
        }
        Some(())
    }

    fn set_named(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        match name {
            b"baud" if value == b"auto" => self.baud = Some(Baud::Auto),
            b"baud" => self.baud = Some(Baud::Rate(integer(value).filter(|&rate| rate > 0)?)),
            b"clock-hz" => {
                self.base_baud = integer::<u32>(value).map(|hz| hz / 16).filter(|&base| base > 0)?
            }
            b"data-bits" => self.data_bits = integer(value).filter(|bits| (5..=8).contains(bits))?,
            b"stop-bits" => self.stop_bits = integer(value).filter(|bits| (1..=2).contains(bits))?,
            b"parity" => {
                self.parity = match value {
                    b"n" => Parity::None,
                    b"o" => Parity::Odd,
                    b"e" => Parity::Even,
                    b"m" => Parity::Mark,
                    b"s" => Parity::Space,
                    _ => return None,
                }
            }
            b"io-base" => self.io_base = Some(integer(value)?),
            b"dev" if matches!(value, b"pci" | b"amt") => self.io_base = None,
            b"irq" if value == b"msi" => self.irq = Irq::Msi,
            b"irq" => self.irq = Irq::Line(integer(value)?),
            b"reg-shift" => self.reg_shift = integer(value).filter(|&shift| shift <= 4)?,
            b"reg-width" => self.reg_width = integer(value).filter(|width| matches!(width, 1 | 4))?,
            b"port" | b"bridge" => {} // places on the PCI bus
            _ => return None,
        }
        Some(())
    }
}
