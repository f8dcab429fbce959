//! Routes of device interrupts.

use crate::devices;
use crate::sealed::sealed;

/// Programs the route of `irq` from its durable record.
pub(crate) fn program(irq: u32) {
    let _ = irq;
}

/// A device's interrupt.
pub(crate) fn interrupt(vector: u8) {
    let _ = vector;
    devices::local_apic(&sealed().facts).end_of_interrupt();
}
