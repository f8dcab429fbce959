//! Interrupt vectors: one number space for all CPUs, spread over the priority classes.

use crate::{Error, Irqs};
use vault::Tx;

/// The first vector given to a device.
pub const FIRST_VECTOR: u8 = 0x30;
/// The last vector given to a device; those above are the hypervisor's.
pub const LAST_VECTOR: u8 = 0xdf;
/// A PV guest's legacy system call.
const SYSCALL_VECTOR: u8 = 0x80;

impl<'l> Irqs<'l> {
    /// Gives `irq` a free vector, the next one in the priority class that has most left: a local APIC holds
    /// two pending interrupts per class. The caller holds the mapping lock.
    pub(crate) fn take_vector(&self, tx: &mut Tx<'l>, irq: u32) -> Result<u8, Error> {
        let classes = || FIRST_VECTOR >> 4..=LAST_VECTOR >> 4;
        let order = (0..16).flat_map(|low| classes().map(move |class| class << 4 | low));
        let free = |vector: &u8| {
            *vector != SYSCALL_VECTOR && self.region.vectors.irq[usize::from(*vector)].get() == 0
        };
        let vector = order.into_iter().find(free).ok_or(Error::NoSpace)?;
        tx.set(&self.region.vectors.irq[usize::from(vector)], irq + 1);
        Ok(vector)
    }

    pub(crate) fn return_vector(&self, tx: &mut Tx<'l>, vector: u8) {
        if vector != 0 {
            tx.set(&self.region.vectors.irq[usize::from(vector)], 0);
        }
    }

    /// The irq of a vector.
    pub fn irq_of(&self, vector: u8) -> Option<u32> {
        self.region.vectors.irq[usize::from(vector)].get().checked_sub(1)
    }
}
