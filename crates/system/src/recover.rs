//! Recovery's part of the composition: what a CPU was doing is undone or finished.

use crate::System;
use crate::applier::Applier;
use crate::charge::MOST_FAILURES;
use crate::platform::Platform;
use core::convert::Infallible;
use ids::{CpuId, VcpuSlot};
use pv_cpu::vector;
use vault::{Journal, Log, MAX_UNDO, Phase};

/// What a stopped CPU says.
#[derive(Debug, Clone, Copy)]
pub struct Stopped {
    /// The CPU.
    pub cpu: CpuId,
    /// Whose registers it holds.
    pub loaded: Option<VcpuSlot>,
    /// It was taken over with its registers lost: where it was in its log's next step is not known.
    pub lost: bool,
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
    /// Undoes or finishes what every stopped CPU was in the middle of, on one CPU that stands for them all: for
    /// machines where this is so. `each` hears what became of each CPU. Safe to run again.
    pub fn repair(
        &'static self,
        stopped: impl Iterator<Item = Stopped> + Clone,
        mut each: impl FnMut(CpuId, Repaired),
    ) {
        self.undo(stopped.clone(), &mut each);
        for chained in [true, false] {
            for cpu in stopped.clone().filter(|cpu| self.must_finish(cpu, chained)) {
                each(cpu.cpu, self.finish(&cpu));
            }
        }
    }

    /// The leader's part of recovery: undoes every open transaction, repairs the event queues and brings the queues
    /// of deadlines up to date.
    ///
    /// The order matters: everything is undone before anything is finished, for an outbox may free what an
    /// open log still counts on. Then each CPU [finishes](Self::finish) its own outbox, one after the other:
    /// first the CPU that was applying consequences of an exchange, for the others' effects come after them.
    pub fn undo(
        &'static self,
        stopped: impl Iterator<Item = Stopped> + Clone,
        mut each: impl FnMut(CpuId, Repaired),
    ) {
        for cpu in stopped {
            let head = self.log(&cpu).head();
            match head.phase() {
                Phase::Idle => each(cpu.cpu, Repaired::Nothing),
                Phase::Undo => {
                    let mut journal = self.journal_again(&cpu);
                    self.log(&cpu).roll_back(&mut journal.apply);
                    self.close_beside(&cpu);
                    each(cpu.cpu, Repaired::Undone(head.undo()));
                }
                Phase::Outbox => {}
            }
        }
        let events = self.state.events(self.platform);
        for vcpu in 0..self.state.domains.vcpus.len() as u32 {
            events.repair_fifo(VcpuSlot(vcpu));
            // The queues were made of what has just been undone.
            self.state.timers().apply(VcpuSlot(vcpu));
        }
    }

    /// Whether a CPU has an outbox to finish, with (`chained`) or without consequences of an exchange pending.
    pub fn must_finish(&self, stopped: &Stopped, chained: bool) -> bool {
        let head = self.log(stopped).head();
        head.phase() == Phase::Outbox && (head.chained() > 0) == chained
    }

    /// Finishes a CPU's outbox; runs on that CPU, whose page tables and segment bases are those of its vCPU.
    pub fn finish(&'static self, stopped: &Stopped) -> Repaired {
        let head = self.log(stopped).head();
        let mut journal = self.journal_again(stopped);
        if stopped.lost || journal.apply.context.failures.get() >= MOST_FAILURES {
            // Of one that is lost the next effect may or may not be applied: rather never than twice.
            self.log(stopped).abandon(&mut journal.apply);
            return Repaired::Finished(0);
        }
        self.log(stopped).drain(&mut journal.apply);
        self.close_beside(stopped);
        Repaired::Finished(head.effects() - head.applied())
    }

    /// A CPU that holds no vCPU was about work beside any entry: there is nothing to be dispatched again.
    fn close_beside(&self, stopped: &Stopped) {
        if stopped.loaded.is_none() {
            self.log(stopped).end();
        }
    }

    /// The journal that a stopped CPU had.
    fn journal_again(&'static self, stopped: &Stopped) -> Journal<Applier<P>> {
        let context = self.state.contexts.context(stopped.loaded.unwrap_or(VcpuSlot(0)));
        self.journal_of(stopped.cpu, context, true)
    }

    fn log(&self, stopped: &Stopped) -> &'static Log {
        &self.state.logs[stopped.cpu.0 as usize]
    }

    /// Frees frames to which a reference that was undone here was the last, of the log's first `entries` undo entries.
    /// With a repair cut short by another failure too: the log keeps its entries until there are others, and what this
    /// writes is in the first, which is looked at before.
    pub(crate) fn collect(&'static self, log: &Log, entries: usize, apply: &mut Applier<P>) {
        let frames = &self.state.frames;
        for index in 0..entries {
            if let Some(mfn) = log.changed_word(index).and_then(|address| frames.lost_at(address)) {
                let collected: Result<bool, Infallible> =
                    log.transaction_between(apply, |tx| Ok(frames.collect(tx, mfn)));
                debug_assert!(collected.is_ok());
            }
        }
    }

    /// Runs the rest of an entry that was cut: its registers are those of the entry, its log is open or was
    /// about to be.
    /// Called on the CPU itself, after every CPU is repaired. An entry that has failed too often is not run
    /// again: its domain ends.
    pub fn resume(&'static self, vcpu: VcpuSlot) {
        let context = self.state.contexts.context(vcpu);
        let mut journal = self.journal(context);
        let registers = &context.registers;
        if context.failures.get() >= MOST_FAILURES {
            return self.end_failing(vcpu);
        }
        if registers.vector.get() == vector::UPCALL {
            // Tried again by `leave`, which says when it is complete.
            registers.vector.set(vector::NONE);
            return journal.log().end();
        }
        if journal.log().head().phase() != Phase::Idle {
            self.collect(journal.log(), MAX_UNDO, &mut journal.apply);
        }
        if journal.log().head().phase() != Phase::Idle || registers.vector.get() != vector::NONE {
            // The CPU failed between the entry stub and the opening of the log: if the log is open, then for work
            // beside the entry, for the address of its page fault is kept first.
            let not_begun = registers.vector.get() == vector::PAGE_FAULT;
            if journal.log().head().phase() == Phase::Idle || not_begun {
                self.begin(&journal);
            }
            self.dispatch(&mut journal, vcpu);
            registers.vector.set(vector::NONE);
            journal.log().end();
        }
        context.failures.set(0);
    }
}
