//! The high precision event timer's counter (IA-PC HPET specification 1.0a).
#![expect(unsafe_code, reason = "device registers")]

use crate::layout;

const CAPABILITIES: usize = 0;
const PERIOD: usize = 4;
const CONFIGURATION: usize = 0x10;
const COUNTER: usize = 0xf0;
const ENABLE: u32 = 1;
/// Longest period the specification allows, in femtoseconds.
const MAX_PERIOD_FS: u32 = 100_000_000;

/// The timer.
#[derive(Clone, Copy, Debug)]
pub struct Hpet {
    period_fs: u32,
}

impl Hpet {
    /// Starts the counter. `None` if what answers is not an HPET.
    ///
    /// # Safety
    /// [`layout::HPET`] maps its registers, uncached.
    pub unsafe fn start() -> Option<Self> {
        // SAFETY: the caller's promise.
        let capabilities = unsafe { at(CAPABILITIES).read_volatile() };
        // SAFETY: the caller's promise.
        let period_fs = unsafe { at(PERIOD).read_volatile() };
        if capabilities & 0xff == 0 || period_fs == 0 || period_fs > MAX_PERIOD_FS {
            return None;
        }
        // SAFETY: as above.
        let configuration = unsafe { at(CONFIGURATION).read_volatile() };
        // SAFETY: as above; legacy routing stays as it is.
        unsafe { at(CONFIGURATION).write_volatile(configuration | ENABLE) };
        Some(Self { period_fs })
    }

    /// Femtoseconds a tick.
    pub const fn period_fs(self) -> u32 {
        self.period_fs
    }

    /// The counter's low 32 bits.
    pub fn counter(self) -> u32 {
        // SAFETY: `start` was told that the registers are mapped.
        unsafe { at(COUNTER).read_volatile() }
    }
}

fn at(offset: usize) -> *mut u32 {
    core::ptr::with_exposed_provenance_mut(layout::HPET as usize + offset)
}
