//! What goes into trace buffers of what this crate does, and who is told of it.
//!
//! While events are noted, system calls and page faults do not take the way that leaves no trace
//! (`Platform::set_swift`).

use crate::System;
use crate::platform::Platform;
use crate::schedule::look;
use hypercalls::Told;
use ids::{CpuId, Gva, Maddr, VcpuSlot};
use irqs::Action;
use pv_cpu::{Context, Reg, vector};
use timers::State as Runstate;
use trace_buffers::{NOBODY, Record, Written, packed};
use xen_abi::trace::{
    TRC_64_FLAG, TRC_HW_IRQ_HANDLED, TRC_HW_IRQ_UNMAPPED_VECTOR, TRC_PV_PAGE_FAULT, TRC_PV_PTWR_EMULATION,
    TRC_PV_TRAP, TRC_SCHED_RUNSTATE_CHANGE, TRC_SCHED_SWITCH, TRC_SCHED_SWITCH_INFNEXT,
    TRC_SCHED_SWITCH_INFPREV, TRC_SCHED_WAKE,
};
use xen_abi::xen::{DOMID_IDLE, VIRQ_TBUF};

/// For [`trace_buffers::Region::runs`]: the CPU waits. A vCPU is its slot and [`FIRST`].
const IDLE: u32 = NOBODY + 1;
const FIRST: u32 = IDLE + 1;

/// Exceptions that push an error code (AMD64 manual volume 2, 8.2).
const WITH_ERROR: u32 = 1 << 8 | 0x1f << 10 | 1 << 17;

impl<P: Platform> System<P> {
    /// Notes events.
    #[inline(always)]
    pub(crate) fn told(&self) -> Told<'_> {
        Told { state: self.state, cpus: self }
    }

    /// Notes events, or does not, as the durable record says.
    pub(crate) fn follow_traces(&self) {
        let on = self.state.traces.follow();
        self.platform.set_swift(!on);
    }

    /// The same for a new life: by its leader, when open logs have been rolled back.
    pub fn resume_traces(&self) {
        let on = self.state.traces.resume(self.platform.tsc());
        self.platform.set_swift(!on);
    }

    /// Puts an event into this CPU's buffer.
    #[cold]
    #[inline(never)]
    pub(crate) fn note(&self, event: u32, timed: bool, words: &[u32]) {
        let (cpu, now) = (self.platform.cpu(), self.platform.tsc());
        let current = match self.schedule.loaded(cpu) {
            Some(vcpu) => self.told().names(vcpu).map(|name| name as u16),
            None => [DOMID_IDLE, cpu.0 as u16],
        };
        let record = Record::new(event, timed.then_some(now), words);
        match self.state.traces.write(self.platform, cpu, current, now, &record) {
            Written::Quietly => {}
            // Said when it looks around, for this may be in the middle of a transaction.
            Written::HalfFull => self.schedule.disturb(cpu, look::TRACE),
            Written::Nonsense => {
                self.platform
                    .log(format_args!("trace buffer of CPU {} is nonsense: no more is noted", cpu.0));
            }
        }
    }

    /// Tells Dom0 that a buffer is half full.
    #[cold]
    #[inline(never)]
    pub(crate) fn tell_half_full(&'static self) {
        self.beside(|tx| {
            if let Some(event) = self.state.events(self.platform).global_virq_event(VIRQ_TBUF) {
                tx.publish(event);
            }
        });
    }

    /// An address: of an instruction that was carried out.
    #[inline(always)]
    pub(crate) fn note_address(&self, event: u32, address: u64) {
        if self.state.traces.is_on() {
            self.note_words(event | TRC_64_FLAG, [address], &[]);
        }
    }

    #[cold]
    #[inline(never)]
    fn note_words<const N: usize>(&self, event: u32, long: [u64; N], more: &[u32]) {
        let mut words = [0; 7];
        let mut length = 0;
        for word in packed(long).chain(more.iter().copied()).take(words.len()) {
            words[length] = word;
            length += 1;
        }
        self.note(event, true, &words[..length]);
    }

    /// An exception that goes to a kernel.
    #[cold]
    #[inline(never)]
    pub(crate) fn note_trap(&self, context: &Context, number: u8, error: u32) {
        let rip = context.registers.get(Reg::Rip);
        if u32::from(number) == vector::PAGE_FAULT {
            let address = context.fault_address.get();
            return self.note_words(TRC_PV_PAGE_FAULT | TRC_64_FLAG, [rip, address], &[error]);
        }
        let has_error = WITH_ERROR.checked_shr(number.into()).unwrap_or(0) & 1;
        let what = u32::from(number) | has_error << 15 | (error & 0xffff) << 16;
        self.note_words(TRC_PV_TRAP | TRC_64_FLAG, [rip], &[what]);
    }

    /// A write to a page table that was carried out: where the entry is, and where the instruction wrote.
    #[cold]
    #[inline(never)]
    pub(crate) fn note_table_write(&self, at: Maddr, address: Gva, rip: u64) {
        let entry = self.platform.load64(at);
        self.note_words(TRC_PV_PTWR_EMULATION | TRC_64_FLAG, [entry, address.0, rip], &[]);
    }

    /// An interrupt of a device.
    #[cold]
    #[inline(never)]
    pub(crate) fn note_interrupt(&self, action: Action, number: u8, began: u64) {
        match action {
            Action::Spurious => self.note(TRC_HW_IRQ_UNMAPPED_VECTOR, true, &[number.into()]),
            Action::Own(irq) | Action::Unbound(irq) | Action::Raised { irq, .. } => {
                let words = [irq, began as u32, self.platform.tsc() as u32];
                self.note(TRC_HW_IRQ_HANDLED, true, &words);
            }
        }
    }

    /// A vCPU enters a state: before it does. One that is to run ends its CPU's idleness.
    #[inline(always)]
    pub(crate) fn note_runstate(&self, vcpu: VcpuSlot, to: Runstate) {
        if self.state.traces.is_on() {
            self.note_change(vcpu, to);
        }
    }

    #[cold]
    #[inline(never)]
    fn note_change(&self, vcpu: VcpuSlot, to: Runstate) {
        let cpu = self.platform.cpu();
        let waits = |present: timers::Runstate| present.state == Runstate::Blocked as u32;
        let waits = self.state.timers().runstate(vcpu).is_ok_and(waits);
        if waits && to != Runstate::Offline {
            self.told().vcpu(TRC_SCHED_WAKE, vcpu, &[]);
        }
        if to != Runstate::Running {
            return self.told().runstate(vcpu, to);
        }
        let [domain, number] = self.told().names(vcpu);
        if waits {
            // Readers want both steps.
            self.note_step(domain, number, [Runstate::Blocked, Runstate::Runnable]);
        }
        if self.state.traces.running(cpu).0 == IDLE {
            self.note_step(DOMID_IDLE.into(), cpu.0, [Runstate::Running, Runstate::Runnable]);
        }
        if waits {
            return self.note_step(domain, number, [Runstate::Runnable, to]);
        }
        self.told().runstate(vcpu, to);
    }

    fn note_step(&self, domain: u32, vcpu: u32, [from, to]: [Runstate; 2]) {
        let event = TRC_SCHED_RUNSTATE_CHANGE | (from as u32) << 8 | (to as u32) << 4;
        self.note(event, true, &[vcpu & 0xffff | domain << 16]);
    }

    /// A CPU goes on with the vCPU that it holds.
    #[inline(always)]
    pub(crate) fn note_running(&self, cpu: CpuId) {
        if self.state.traces.is_on()
            && let Some(vcpu) = self.schedule.loaded(cpu)
        {
            self.note_switch(cpu, FIRST + vcpu.0);
        }
    }

    /// A CPU has nothing to do.
    #[inline(always)]
    pub(crate) fn note_idle(&self, cpu: CpuId) {
        if self.state.traces.is_on() {
            self.note_switch(cpu, IDLE);
        }
    }

    #[cold]
    #[inline(never)]
    fn note_switch(&self, cpu: CpuId, to: u32) {
        let now = self.platform.now();
        let (from, since) = self.state.traces.running(cpu);
        if from == to {
            return;
        }
        self.state.traces.runs(cpu, to, now);
        if to == IDLE {
            self.note_step(DOMID_IDLE.into(), cpu.0, [Runstate::Runnable, Runstate::Running]);
        }
        if from == NOBODY {
            return;
        }
        let name = |who: u32| match who.checked_sub(FIRST) {
            Some(slot) => self.told().names(VcpuSlot(slot)),
            None => [DOMID_IDLE.into(), cpu.0],
        };
        let ([old, old_vcpu], [new, new_vcpu]) = (name(from), name(to));
        let span = |from: u64, to: u64| to.saturating_sub(from).min(u32::MAX.into()) as u32;
        let turn = span(now, self.schedule.queues.turn_ends(cpu));
        self.note(TRC_SCHED_SWITCH_INFPREV, true, &[old, old_vcpu, span(since, now)]);
        self.note(TRC_SCHED_SWITCH_INFNEXT, true, &[new, new_vcpu, 0, turn]);
        self.note(TRC_SCHED_SWITCH, true, &[old, old_vcpu, new, new_vcpu]);
    }
}
