//! Which events go in.

use crate::Region;
use ids::CpuId;
use vault::Tx;
use xen_abi::trace::{TRC_ALL, TRC_CLS_SHIFT, TRC_SUBCLS_SHIFT};

/// Whether the mask has the event's bits, one of its classes and one of its classes within that.
const fn is_in(mask: u32, event: u32) -> bool {
    let both = mask & event;
    both != 0 && both >> TRC_CLS_SHIFT != 0 && both >> TRC_SUBCLS_SHIFT & 0xf != 0
}

impl Region {
    /// The mask of events.
    pub fn mask(&self) -> u32 {
        self.buffers.unusual.get() ^ TRC_ALL
    }

    /// Another one.
    pub fn set_mask(&self, tx: &mut Tx<'static>, mask: u32) {
        tx.lock(self.lock);
        tx.set(&self.buffers.unusual, mask ^ TRC_ALL);
    }

    /// Whether an event on a CPU is to be noted, if any is.
    pub(crate) fn is_wanted(&self, cpu: CpuId, event: u32) -> bool {
        let heard = self.cpus.get(cpu.0 as usize).is_some_and(|cpu| !cpu.left_out.get());
        heard && is_in(self.mask(), event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xen_abi::trace::{
        TRC_PV_HYPERCALL_SUBCALL, TRC_PV_TRAP, TRC_SCHED_DOM_ADD, TRC_SCHED_RUNSTATE_CHANGE,
    };

    #[test]
    fn masks_choose_classes() {
        for event in [TRC_PV_TRAP, TRC_PV_HYPERCALL_SUBCALL, TRC_SCHED_DOM_ADD, TRC_SCHED_RUNSTATE_CHANGE] {
            assert!(is_in(TRC_ALL, event), "{event:x}");
            assert!(!is_in(0, event), "{event:x}");
        }
        let least = 0x2_1000;
        assert!(is_in(least, TRC_SCHED_RUNSTATE_CHANGE));
        assert!(!is_in(least, TRC_SCHED_DOM_ADD), "another class within");
        assert!(!is_in(least, TRC_PV_TRAP), "another class");
        // Classes without a class within choose nothing.
        assert!(!is_in(0x2_0000, TRC_SCHED_RUNSTATE_CHANGE));
    }
}
