//! Recovery's part of the composition: what a CPU was doing is undone or finished.

use crate::System;
use crate::platform::Platform;
use ids::{CpuId, VcpuSlot};
use pv_cpu::vector;
use vault::Phase;

/// What a stopped CPU says.
#[derive(Debug, Clone, Copy)]
pub struct Stopped {
    /// The CPU.
    pub cpu: CpuId,
    /// Whose registers it holds.
    pub loaded: Option<VcpuSlot>,
    /// The log head to store because the CPU was stopped between a shared word and its log.
    pub unfinished_head: Option<u64>,
}

/// What recovery did for a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repaired {
    /// It had no entry in progress.
    Nothing,
    /// This many writes were undone; the entry is dispatched again.
    Undone(usize),
    /// This many effects were finished.
    Finished(usize),
}

impl<P: Platform> System<P> {
    /// Undoes or finishes what `stopped` was in the middle of. Run by the leader with every CPU stopped;
    /// safe to run again.
    pub fn repair(&'static self, stopped: &Stopped) -> Repaired {
        let log = &self.state.logs[stopped.cpu.0 as usize];
        if let Some(head) = stopped.unfinished_head {
            log.complete(head);
        }
        let head = log.head();
        match head.phase() {
            Phase::Idle => Repaired::Nothing,
            Phase::Undo => {
                log.roll_back();
                Repaired::Undone(head.undo())
            }
            Phase::Outbox => {
                let vcpu = stopped.loaded.unwrap_or(VcpuSlot(0));
                let mut journal = self.journal_of(stopped.cpu, vcpu, true);
                log.drain(&mut journal.apply);
                Repaired::Finished(head.effects() - head.applied())
            }
        }
    }

    /// Runs the rest of an entry that was cut: its log is open, its registers are those of the entry.
    /// Called on the CPU itself, after every CPU is repaired.
    pub fn resume(&'static self, vcpu: VcpuSlot) {
        let mut journal = self.journal(vcpu);
        if journal.log().head().phase() == Phase::Idle {
            return;
        }
        self.dispatch(&mut journal, vcpu);
        journal.log().end();
        journal.apply.context.registers.vector.set(vector::NONE);
    }
}
