//! The ACPI power management timer (ACPI specification 6.5, 4.8.2.1).
#![expect(unsafe_code, reason = "port I/O")]

use crate::port;

/// Ticks a second.
pub const HZ: u64 = 3_579_545;

/// The timer.
#[derive(Clone, Copy, Debug)]
pub struct PmTimer {
    port: u16,
}

impl PmTimer {
    /// The timer at `port`; `None` if it does not count.
    ///
    /// # Safety
    /// The FADT names the port.
    pub unsafe fn new(port: u16) -> Option<Self> {
        let timer = Self { port };
        let first = timer.counter();
        (0..1_000_000).any(|_| timer.counter() != first).then_some(timer)
    }

    /// The counter: 24 bits, the same on machines with 32.
    pub fn counter(self) -> u32 {
        // SAFETY: `new` was told that the port is the timer's; reading it changes nothing.
        (unsafe { port::read_u32(self.port) }) & MASK
    }
}

/// The bits that count on every machine.
pub const MASK: u32 = 0xff_ffff;
