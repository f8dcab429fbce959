//! Driving the composition as the bare-metal image does: entries, and the life after a failure.

use crate::campaign::Mistake;
use crate::entry::Entry;
use crate::machine::{become_cpu, this_cpu};
use crate::steps::{Cut, Ran, run, run_watched};
use crate::world::World;
use ids::{CpuId, Mfn, VcpuSlot};
use pv_cpu::{Reg, vector};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use system::{Repaired, Stopped};
use vault::Phase;

/// Runs of one hypercall that is run again and again.
const MOST_RUNS: u32 = 10_000;

/// What the CPUs say of themselves that hold these vCPUs' registers.
fn stopped_with(loaded: &[Option<VcpuSlot>]) -> Vec<Stopped> {
    let stopped =
        |(cpu, loaded): (u32, &Option<VcpuSlot>)| Stopped { cpu: CpuId(cpu), loaded: *loaded, lost: false };
    (0..).zip(loaded).map(stopped).collect()
}

impl World {
    /// The vCPU whose registers a CPU holds.
    pub fn vcpu_on(&self, cpu: u32) -> Option<VcpuSlot> {
        self.system.schedule.loaded(CpuId(cpu))
    }

    /// Gives a CPU to guests for the first time.
    ///
    /// # Errors
    /// Why it was cut.
    pub fn start_cpu(&self, cpu: u32) -> Result<VcpuSlot, Cut> {
        become_cpu(cpu);
        run(0, || self.system.leave()).result
    }

    /// Puts an entry's registers into the context and guest memory, as guest, processor and stub do.
    pub fn present(&self, entry: &Entry) {
        self.arrive(entry);
        // Until here the guest ran, here and on other CPUs.
        self.learn();
    }

    /// Processors in guests remember all that they can.
    pub(crate) fn learn(&self) {
        (0..self.size.cpus)
            .filter(|cpu| self.vcpu_on(*cpu).is_some())
            .for_each(|cpu| self.machine.learn(cpu));
    }

    /// An entry that comes before its guest has done anything.
    pub(crate) fn arrive(&self, entry: &Entry) {
        become_cpu(entry.cpu);
        if let Some(vcpu) = self.vcpu_on(entry.cpu) {
            // Between two entries the word means nothing; whether the next one resets it depends on its way.
            self.system.state.contexts.context(vcpu).copy_fault.set(0);
        }
        entry.prepare(self);
    }

    /// Takes back that an entry was presented: the guest goes on as if it had not been.
    pub fn withdraw(&self, entry: &Entry) {
        become_cpu(entry.cpu);
        self.machine.here(|cpu| cpu.in_service.clear());
        if let Some(vcpu) = self.vcpu_on(entry.cpu) {
            self.system.state.contexts.context(vcpu).registers.vector.set(vector::NONE);
        }
    }

    /// Runs a presented entry: the handler, then the way back to a guest. Fails at step `at` (0: never).
    pub fn enter(&self, entry: &Entry, at: u64) -> Ran<VcpuSlot> {
        become_cpu(entry.cpu);
        run(at, || self.handle(entry))
    }

    /// The same without a failure; also how many transactions its CPU committed meanwhile.
    pub(crate) fn enter_counted(&self, entry: &Entry) -> (Ran<VcpuSlot>, u64) {
        become_cpu(entry.cpu);
        let log = &self.system.state.logs[entry.cpu as usize];
        let commits = Rc::new(Cell::new((Phase::Idle, 0)));
        let seen = commits.clone();
        let count = move || {
            let (before, count) = seen.get();
            let now = log.head().phase();
            seen.set((now, count + u64::from(now == Phase::Outbox && before != Phase::Outbox)));
        };
        let ran = run_watched(0, count, || self.handle(entry));
        (ran, commits.get().1)
    }

    /// The same without a failure, while what processors remember of page tables is watched.
    pub fn enter_watched(&self, entry: &Entry) -> Ran<VcpuSlot> {
        become_cpu(entry.cpu);
        run_watched(0, self.watcher(), || self.handle(entry))
    }

    /// Looks at what processors remember of page tables.
    pub(crate) fn watcher(&self) -> impl Fn() + Clone + Send + Sync + 'static {
        let (machine, state) = (self.machine, self.system.state);
        move || machine.watch(state)
    }

    /// Handles a presented entry on the CPU that this thread is.
    pub(crate) fn handle(&self, entry: &Entry) -> VcpuSlot {
        let system = self.system;
        match (entry.idle, system.schedule.loaded(CpuId(entry.cpu))) {
            (None, Some(vcpu)) => {
                let contexts = &system.state.contexts;
                contexts.slot_of(system.serve(contexts.context(vcpu)))
            }
            (vector, _) => {
                vector.into_iter().for_each(|vector| system.interrupt(vector));
                system.leave()
            }
        }
    }

    /// Whether a hypercall's vCPU is about to run it again for its rest.
    pub(crate) fn has_rest(&self, entry: &Entry) -> bool {
        let rip = |vcpu| self.system.state.contexts.context(vcpu).registers.get(Reg::Rip);
        let next = entry.vcpu.map(|vcpu| rip(vcpu).wrapping_add(2));
        entry.vector == vector::SYSCALL && next.is_some() && entry.register(Reg::Rip) == next
    }

    /// Runs a hypercall that has to be run again for its rest until it has none;
    /// also whether it was run again at all.
    pub fn settle(&self, entry: &Entry, result: Result<VcpuSlot, Cut>) -> (Result<VcpuSlot, Cut>, bool) {
        let settled = self.run_rest(entry, result);
        // Between two entries it means nothing.
        let contexts = &self.system.state.contexts;
        (0..self.size.vcpus).for_each(|vcpu| contexts.context(VcpuSlot(vcpu)).copy_fault.set(0));
        settled
    }

    fn run_rest(&self, entry: &Entry, mut result: Result<VcpuSlot, Cut>) -> (Result<VcpuSlot, Cut>, bool) {
        for run in 0..MOST_RUNS {
            let Ok(vcpu) = result else { return (result, run > 0) };
            if entry.vcpu != Some(vcpu) || !self.has_rest(entry) {
                return (result, run > 0);
            }
            let registers = &self.system.state.contexts.context(vcpu).registers;
            registers.set(Reg::Rip, registers.get(Reg::Rip).wrapping_add(2));
            registers.vector.set(vector::SYSCALL);
            registers.error_code.set(entry.error);
            result = self.enter_watched(entry).result;
        }
        (Err(Cut::Endless), true)
    }

    /// Whether a page table is in work.
    pub fn has_work(&self) -> bool {
        let frames = self.system.state.frames;
        (0..frames.len()).any(|mfn| frames.frame(Mfn(mfn)).is_some_and(|frame| frame.usage().is_in_work()))
    }

    /// Makes a mistake in the log of a CPU that has failed.
    pub fn forget(&self, cpu: u32, mistake: Mistake) {
        let log = &self.system.state.logs[cpu as usize];
        let index = (std::ptr::from_ref(log) as usize - self.ground.words().as_ptr() as usize) / 8;
        let head = log.head();
        // The head is a log's first word: undo entries or consequences from bit 3, effects from bit 16, those that are
        // applied from bit 24, parts of the next one from bit 32.
        let word = &self.ground.words()[index];
        let in_parts = word.load(Ordering::Relaxed) >> 32 & 0xffff != 0;
        let settled = head.chained() == 0;
        let less = match (mistake, head.phase()) {
            (Mistake::Undo, Phase::Undo) if head.undo() > 0 => 1 << 3,
            (Mistake::Effect, Phase::Outbox) if head.effects() > head.applied() => 1 << 16,
            (Mistake::Consequence, Phase::Outbox) if head.chained() > 0 => 1 << 3,
            // Of what was dropped exactly once the head knows.
            (Mistake::Twice, Phase::Outbox) if head.applied() > 0 && settled && !in_parts => 1 << 24,
            (Mistake::Part, Phase::Outbox) if in_parts && settled => {
                // Entries that hold nothing are parts as well: the next that matters may be far.
                word.fetch_or(0x3ff << 32, Ordering::Relaxed);
                0
            }
            (Mistake::Again, Phase::Outbox) if in_parts && settled => 1 << 32,
            _ => 0,
        };
        word.fetch_sub(less, Ordering::Relaxed);
    }

    /// Finishes what is left to be finished lazily: page tables in work that nobody waits for, or that
    /// nobody uses any more, or that a vCPU still has to take apart; dead domains of which nobody holds a frame. Done
    /// before two states are compared a second time.
    pub fn sweep(&self) {
        let state = self.system.state;
        become_cpu(0);
        self.system.remove_dead();
        for vcpu in (0..self.size.vcpus).map(VcpuSlot) {
            let mut journal = self.system.journal_beside();
            journal.log().begin();
            let _ = state.mmu(self.machine).settle(&mut journal, &state.contexts.context(vcpu).debt);
            journal.log().end();
        }
        let in_work = |mfn: &Mfn| {
            let usage = state.frames.frame(*mfn).map(|frame| frame.usage());
            usage.is_some_and(|u| u.is_in_work() || u.is_validated() && u.typed() == 0)
        };
        loop {
            let tables: Vec<Mfn> = (0..state.frames.len()).map(Mfn).filter(in_work).collect();
            for mfn in &tables {
                let mut journal = self.system.journal_beside();
                journal.log().begin();
                // One that is in use stays as it is.
                let _ = state.mmu(self.machine).retire(&mut journal, *mfn);
                journal.log().end();
            }
            if (0..state.frames.len()).map(Mfn).filter(in_work).eq(tables.iter().copied()) {
                return;
            }
        }
    }

    /// A CPU has failed: charges it to the entry that was in progress there. Before [`recover`](Self::recover).
    pub fn charge(&self, cpu: u32) -> Option<u8> {
        self.system.charge(&stopped_with(&self.loaded())[cpu as usize])
    }

    /// The life after a failure: everything derived is new, all CPUs are repaired, the failed CPU goes on.
    /// Fails itself at step `at` (0: never).
    pub fn recover(&mut self, cpu: u32, at: u64) -> (Ran<VcpuSlot>, Vec<Repaired>) {
        let stopped = self.begin_life(cpu);
        let mut repaired = Vec::new();
        let ran = run(at, || {
            become_cpu(cpu);
            self.repair(&stopped, false, &mut repaired);
            self.resume(cpu)
        });
        (ran, repaired)
    }

    /// The same where all CPUs with an entry were in the middle of it: they go on one after the other. `None`: it
    /// failed itself. `backwards`: outboxes come before open transactions, which is wrong.
    pub(crate) fn recover_all(
        &mut self,
        running: &[bool],
        cpu: u32,
        at: u64,
        backwards: bool,
    ) -> Option<Vec<Option<Result<VcpuSlot, Cut>>>> {
        let stopped = self.begin_life(cpu);
        let ran = run(at, || {
            become_cpu(cpu);
            self.repair(&stopped, backwards, &mut Vec::new());
        });
        let mut taken = ran.steps;
        if ran.result == Err(Cut::Crash) {
            return None;
        }
        let mut ends = vec![None; running.len()];
        let others = (0..self.size.cpus).filter(|other| *other != cpu);
        for cpu in std::iter::once(cpu).chain(others).filter(|cpu| running[*cpu as usize]) {
            become_cpu(cpu);
            let ran = run(at.saturating_sub(taken), || self.resume(cpu));
            if ran.result == Err(Cut::Crash) {
                return None;
            }
            taken += ran.steps;
            ends[cpu as usize] = Some(ran.result);
        }
        Some(ends)
    }

    /// Everything derived is new; what each CPU says of itself.
    fn begin_life(&mut self, cpu: u32) -> Vec<Stopped> {
        let loaded = self.loaded();
        self.restart();
        self.keep(&loaded);
        // Every CPU is stopped and started again, so that none sleeps through what it was woken for.
        for (other, kicked) in (0..).zip(&mut self.machine.devices.borrow_mut().kicked) {
            *kicked |= other != cpu;
        }
        stopped_with(&loaded)
    }

    /// The leader's part, and what each CPU does before it goes on.
    fn repair(&self, stopped: &[Stopped], backwards: bool, repaired: &mut Vec<Repaired>) {
        let (system, machine, leader) = (self.system, self.machine, this_cpu());
        // Each CPU its own: what is copied to a guest or loaded means its page tables and registers.
        let finish = |chained: bool, repaired: &mut Vec<Repaired>| {
            for cpu in stopped.iter().filter(|cpu| system.must_finish(cpu, chained)) {
                become_cpu(cpu.cpu.0);
                repaired.push(system.finish(cpu));
            }
            become_cpu(leader);
        };
        if backwards {
            finish(false, repaired);
        }
        system.undo(stopped.iter().copied(), |_, what| repaired.push(what));
        finish(true, repaired);
        finish(false, repaired);
        system.restore_routes();
        for cpu in stopped {
            become_cpu(cpu.cpu.0);
            if let Some(vcpu) = cpu.loaded {
                system.load_context(system.state.contexts.context(vcpu));
            }
            let in_service: Vec<u8> = machine.here(|cpu| cpu.in_service.iter().rev().copied().collect());
            system.recover_interrupts(in_service.into_iter());
        }
        become_cpu(leader);
    }

    /// A repaired CPU goes on with what was cut.
    fn resume(&self, cpu: u32) -> VcpuSlot {
        if let Some(vcpu) = self.vcpu_on(cpu) {
            self.system.resume(vcpu);
        }
        self.system.leave()
    }
}
