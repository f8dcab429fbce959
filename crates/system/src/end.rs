//! Other domains' ends: whose CPUs still hold registers of theirs, and when their slots are given up.

use crate::System;
use crate::platform::Platform;
use hypercalls::Cpus;
use ids::VcpuSlot;

impl<P: Platform> Cpus for System<P> {
    fn hold(&self, vcpu: VcpuSlot) -> bool {
        self.schedule.is_held(vcpu)
    }
}

impl<P: Platform> System<P> {
    /// Gives up the slots of dead domains of which nobody holds a frame any more. An entry may have dropped the last:
    /// the log is closed.
    #[cold]
    pub(crate) fn remove_dead(&'static self) {
        while let Some(slot) = hypercalls::find_dead(self.state) {
            self.beside(|tx| hypercalls::remove_dead(self.state, self.platform, tx, slot));
        }
    }
}
