//! Interrupts of the machine.

use crate::System;
use crate::platform::Platform;

/// Vectors the hypervisor uses itself; devices have 0x30 to 0xdf.
pub mod own_vector {
    /// This CPU's timer.
    pub const TIMER: u8 = 0xf0;
    /// Another CPU wants this one to look around.
    pub const KICK: u8 = 0xf1;
    /// Spurious interrupts of the local APIC.
    pub const SPURIOUS: u8 = 0xff;
}

impl<P: Platform> System<P> {
    /// Handles an interrupt, from a guest or from the idle loop. What follows from a timer or a kick is
    /// done by `leave`.
    pub fn interrupt(&'static self, vector: u8) {
        match vector {
            own_vector::SPURIOUS => {}
            own_vector::TIMER | own_vector::KICK => self.platform.end_of_interrupt(),
            device => self.platform.device_interrupt(device),
        }
    }
}
