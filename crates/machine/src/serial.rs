//! A 16550 UART on port I/O: polled output and input (National Semiconductor PC16550D data sheet).
#![expect(unsafe_code, reason = "port I/O")]

use crate::port;

/// The first serial port of a PC.
pub const COM1: u16 = 0x3f8;
/// The second.
pub const COM2: u16 = 0x2f8;
/// Crystal frequency / 16: the rate at divisor 1.
const BASE_BAUD: u32 = 115_200;
/// A port that does not drain within this many polls is given up for that character.
const MAX_POLLS: u32 = 200_000;

const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

const DIVISOR_LATCH: u8 = 0x80;
const RECEIVED: u8 = 0x01;
const TRANSMIT_EMPTY: u8 = 0x20;
/// What a floating bus reads as.
const NO_DEVICE: u8 = 0xff;

/// Bits a character and parity, as the line control register takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format(pub u8);

impl Format {
    /// Eight bits, no parity, one stop bit.
    pub const EIGHT_N_1: Self = Self(0x03);

    /// The format of `data` bits (5 to 8), `parity` (`n`, `o`, `e`, `m`, `s`) and `stop` bits (1 or 2), as in Xen's
    /// `com1=115200,8n1`.
    pub const fn new(data: u8, parity: u8, stop: u8) -> Option<Self> {
        if data < 5 || data > 8 || stop < 1 || stop > 2 {
            return None;
        }
        let parity = match parity {
            b'n' => 0,
            b'o' => 1,
            b'e' => 3,
            b'm' => 5,
            b's' => 7,
            _ => return None,
        };
        Some(Self((data - 5) | ((stop - 1) << 2) | (parity << 3)))
    }
}

/// The divisor for `baud`; 1 (the fastest) at least.
pub fn divisor(baud: u32) -> u16 {
    let wanted = BASE_BAUD.checked_div(baud).unwrap_or(1).max(1);
    u16::try_from(wanted).unwrap_or(u16::MAX)
}

/// One UART.
#[derive(Clone, Copy, Debug)]
pub struct Uart {
    base: u16,
}

impl Uart {
    /// The UART at `base`, not touched yet.
    ///
    /// # Safety
    /// The eight ports from `base` on are a UART's or nobody's, and the hypervisor owns them.
    pub const unsafe fn at(base: u16) -> Self {
        Self { base }
    }

    /// Programs speed (`None` keeps the firmware's) and format, FIFO on, interrupts off. False if nobody answers.
    pub fn init(self, baud: Option<u32>, format: Format) -> bool {
        self.write(SCRATCH, 0x5a);
        if self.read(SCRATCH) != 0x5a || self.read(LINE_STATUS) == NO_DEVICE {
            return false;
        }
        self.write(INTERRUPT_ENABLE, 0);
        if let Some(baud) = baud {
            let [low, high] = divisor(baud).to_le_bytes();
            self.write(LINE_CONTROL, DIVISOR_LATCH);
            self.write(DATA, low);
            self.write(INTERRUPT_ENABLE, high);
        }
        self.write(LINE_CONTROL, format.0);
        self.write(FIFO_CONTROL, 0x07);
        self.write(MODEM_CONTROL, 0x0b);
        true
    }

    /// Sends one byte, waiting for room a bounded time.
    pub fn send(self, byte: u8) {
        let mut polls = 0;
        while self.read(LINE_STATUS) & TRANSMIT_EMPTY == 0 && polls < MAX_POLLS {
            polls += 1;
            core::hint::spin_loop();
        }
        self.write(DATA, byte);
    }

    /// True if [`Self::send`] would not wait.
    pub fn can_send(self) -> bool {
        self.read(LINE_STATUS) & TRANSMIT_EMPTY != 0
    }

    /// The next received byte, if any.
    pub fn receive(self) -> Option<u8> {
        let status = self.read(LINE_STATUS);
        (status != NO_DEVICE && status & RECEIVED != 0).then(|| self.read(DATA))
    }

    /// Received-data interrupts on or off.
    pub fn set_receive_interrupt(self, on: bool) {
        self.write(INTERRUPT_ENABLE, u8::from(on));
    }

    fn read(self, register: u16) -> u8 {
        // SAFETY: `at` promised that the port is the UART's and ours.
        unsafe { port::read_u8(self.base + register) }
    }

    fn write(self, register: u16, value: u8) {
        // SAFETY: `at` promised that the port is the UART's and ours; a UART does no DMA.
        unsafe { port::write_u8(self.base + register, value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_divisors_are_the_data_sheets() {
        assert_eq!(Format::new(8, b'n', 1), Some(Format::EIGHT_N_1));
        assert_eq!(Format::new(7, b'e', 2), Some(Format(0x1e)));
        assert_eq!(Format::new(9, b'n', 1), None);
        assert_eq!(Format::new(8, b'x', 1), None);
        assert_eq!((divisor(115_200), divisor(9600), divisor(1), divisor(0)), (1, 12, 0xffff, 1));
        assert_eq!(divisor(1_000_000), 1);
    }
}
