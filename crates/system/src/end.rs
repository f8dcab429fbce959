//! Other domains' ends: whose CPUs still hold registers of theirs, and when their slots are given up.

use crate::System;
use crate::platform::Platform;
use core::sync::atomic::{Ordering, fence};
use hypercalls::Cpus;
use ids::VcpuSlot;
use vault::Phase;

impl<P: Platform> Cpus for System<P> {
    fn hold(&self, vcpu: VcpuSlot) -> bool {
        self.schedule.is_held(vcpu)
    }

    fn trace(&self, event: u32, timed: bool, words: &[u32]) {
        self.note(event, timed, words);
    }
}

impl<P: Platform> System<P> {
    /// Forgets dead domains of which nobody holds a frame any more, for an entry may have dropped the last, and gives up
    /// slots that no CPU can be at work with: the log is closed.
    #[cold]
    pub fn remove_dead(&'static self) {
        while let Some(slot) = hypercalls::find_dead(self.state) {
            self.beside(|tx| hypercalls::forget_dead(self.state, self.platform, tx, slot));
        }
        while self.beside(|tx| hypercalls::remove_gone(self.state, tx, || self.others_are_outside())) {}
    }

    /// Whether every other CPU is outside of entries, seen one after another.
    fn others_are_outside(&self) -> bool {
        let own = self.platform.cpu().0 as usize;
        let mut others = self.state.logs.iter().enumerate().filter(|(cpu, _)| *cpu != own);
        let outside = others.all(|(_, log)| log.head().phase() == Phase::Idle);
        // What they did comes before what follows here.
        fence(Ordering::Acquire);
        outside
    }
}
