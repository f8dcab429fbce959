//! How long CPUs were idle, one word each. While the CPU is busy it holds the ns; while it is idle, bit 63 and the time at
//! which the CPU would have had to become idle if it had never been before. Each change is one store by the CPU itself, so
//! no failure leaves it wrong; a CPU that was idle is so while the hypervisor starts anew.

use crate::Region;
use ids::CpuId;

const IDLE: u64 = 1 << 63;

impl Region {
    /// A CPU becomes idle, or is no longer; nothing if it was so already.
    pub(crate) fn note_idle(&self, cpu: CpuId, idle: bool, now: u64) {
        let Some(record) = self.cpus.get(cpu.0 as usize) else { return };
        let word = record.idle.get();
        if (word & IDLE != 0) != idle {
            let other = now.saturating_sub(word & !IDLE) & !IDLE;
            record.idle.set(if idle { other | IDLE } else { other });
        }
    }

    /// How long a CPU was idle until `now`, ns.
    pub fn idle_time(&self, cpu: CpuId, now: u64) -> u64 {
        match self.cpus.get(cpu.0 as usize).map_or(0, |record| record.idle.get()) {
            busy if busy & IDLE == 0 => busy,
            idle => now.saturating_sub(idle & !IDLE),
        }
    }
}
