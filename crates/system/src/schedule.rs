//! Who runs where: each vCPU has a home CPU, which runs its runnable vCPUs in turn.
//!
//! State class: derived. After a start nobody is loaded and everybody is woken once.

use crate::System;
use crate::platform::Platform;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use domains::{Life, VcpuState};
use ids::{CpuId, DomainSlot, VcpuSlot};

/// vCPU slots the schedule has room for.
const MAX_VCPUS: usize = 256;
/// CPUs the schedule has room for.
const MAX_CPUS: usize = 256;
/// No vCPU.
const NOBODY: u32 = u32::MAX;

/// The schedule.
#[derive(Debug)]
pub struct Schedule {
    cpus: u32,
    /// Whose registers a CPU holds.
    loaded: [AtomicU32; MAX_CPUS],
    /// Whether a vCPU has something new to look at.
    woken: [AtomicBool; MAX_VCPUS],
    /// Whether a CPU has more to do before it runs a guest than to go on with the vCPU it holds: deadlines,
    /// vCPUs that were woken or wait now.
    attention: [AtomicBool; MAX_CPUS],
}

impl Schedule {
    /// Nobody loaded, everybody woken.
    pub const fn new(cpus: u32) -> Self {
        Self {
            cpus,
            loaded: [const { AtomicU32::new(NOBODY) }; MAX_CPUS],
            woken: [const { AtomicBool::new(true) }; MAX_VCPUS],
            attention: [const { AtomicBool::new(true) }; MAX_CPUS],
        }
    }

    /// Makes a CPU look at its deadlines and vCPUs before it next runs a guest.
    pub(crate) fn look_around(&self, cpu: CpuId) {
        // Release: pairs with the exchange in `attend`; what there is to see is in memory before.
        self.attention[cpu.0 as usize].store(true, Ordering::Release);
    }

    /// The vCPU that a CPU goes on with, if there is nothing to look at.
    #[inline(always)]
    pub(crate) fn undisturbed(&self, cpu: CpuId) -> Option<VcpuSlot> {
        let attention = self.attention[cpu.0 as usize].load(Ordering::Relaxed);
        if attention { None } else { self.loaded(cpu) }
    }

    /// A CPU begins to look around.
    pub(crate) fn attend(&self, cpu: CpuId) {
        self.attention[cpu.0 as usize].swap(false, Ordering::Acquire);
    }

    /// Recovery: the registers of `vcpu` are still in `cpu`.
    pub fn keep(&self, cpu: CpuId, vcpu: VcpuSlot) {
        self.loaded[cpu.0 as usize].store(vcpu.0, Ordering::Relaxed);
    }

    /// Whose registers a CPU holds.
    #[inline(always)]
    pub fn loaded(&self, cpu: CpuId) -> Option<VcpuSlot> {
        let slot = self.loaded[cpu.0 as usize].load(Ordering::Relaxed);
        (slot != NOBODY).then_some(VcpuSlot(slot))
    }

    pub(crate) fn home(&self, vcpu: VcpuSlot) -> CpuId {
        CpuId(vcpu.0 % self.cpus)
    }

    /// CPUs it schedules for.
    pub fn cpus(&self) -> u32 {
        self.cpus
    }
}

impl<P: Platform> System<P> {
    /// A vCPU has something to look at: an event, an end of waiting.
    pub(crate) fn wake(&self, vcpu: VcpuSlot) {
        if let Some(flag) = self.schedule.woken.get(vcpu.0 as usize) {
            // Release: pairs with the exchange in `pick`; the event is in guest memory before.
            flag.store(true, Ordering::Release);
        }
        let home = self.schedule.home(vcpu);
        self.schedule.look_around(home);
        if home != self.platform.cpu() {
            self.platform.kick(home);
        }
    }

    /// A port was raised: vCPUs that poll for it (`SCHEDOP_poll`) look again, for they want to know of masked
    /// ports too. Whoever raises an event other than by an effect calls this after it.
    pub fn wake_pollers(&self, domain: DomainSlot, port: u32) {
        let Some(record) = self.state.domains.domains.get(usize::from(domain.0)) else { return };
        let first = record.first_vcpu.get().0;
        for slot in first..first + record.vcpus.get() {
            let vcpu = self.state.domains.vcpu(VcpuSlot(slot));
            if vcpu.state() == VcpuState::Polling && [0, port].contains(&vcpu.poll_port.get()) {
                self.wake(VcpuSlot(slot));
            }
        }
    }

    /// The next vCPU of this CPU that can run, after the one it ran last.
    pub(crate) fn pick(&'static self, cpu: CpuId) -> Option<VcpuSlot> {
        let total = self.state.domains.vcpus.len().min(MAX_VCPUS) as u32;
        let own = total.saturating_sub(cpu.0).div_ceil(self.schedule.cpus);
        let last = self.schedule.loaded(cpu).map_or(0, |v| v.0 / self.schedule.cpus);
        let turn = u32::from(self.time_is_up(cpu));
        (0..own)
            .map(|step| VcpuSlot((last + turn + step) % own * self.schedule.cpus + cpu.0))
            .find(|v| self.can_run(*v))
    }

    fn can_run(&'static self, vcpu: VcpuSlot) -> bool {
        let record = self.state.domains.vcpu(vcpu);
        let state = record.state();
        if state == VcpuState::Down
            || self.state.domains.domain(record.domain.get()).life() != Life::Alive
            || !record.initialised.get()
        {
            return false;
        }
        // Acquire: pairs with the store in `wake`.
        let woken = self.schedule.woken[vcpu.0 as usize].swap(false, Ordering::Acquire);
        match state {
            VcpuState::Runnable => true,
            _ if woken => self.end_waiting(vcpu, state),
            _ => false,
        }
    }

    /// Whether a waiting vCPU has what it waits for; then it waits no more.
    fn end_waiting(&'static self, vcpu: VcpuSlot, state: VcpuState) -> bool {
        let upcall = self.state.events(self.platform).upcall_state(vcpu);
        let ready = match state {
            VcpuState::Blocked => upcall.pending && !upcall.masked,
            _ => upcall.pending && !upcall.masked || self.poll_is_over(vcpu),
        };
        if ready {
            let record = self.state.domains.vcpu(vcpu);
            let mut journal = self.journal(vcpu);
            journal.log().begin();
            journal.change(|tx| {
                tx.lock(self.state.domain_locks.of(record.domain.get()));
                // Another vCPU may have taken it down.
                if record.state() == state {
                    record.set_state(tx, VcpuState::Runnable);
                    tx.set(&record.poll_until, 0);
                }
                tx.last();
            });
            return record.state() == VcpuState::Runnable;
        }
        false
    }

    /// Makes this CPU hold `vcpu`'s registers. Whether they are in the CPU or in memory is durable, and changes
    /// only when they are completely there: a failure in between neither loses them nor mixes two vCPUs' up.
    pub(crate) fn load(&self, cpu: CpuId, vcpu: VcpuSlot) {
        let context = self.state.contexts.context(vcpu);
        if let Some(old) = self.schedule.loaded(cpu) {
            let old_context = self.state.contexts.context(old);
            if old_context.fpu_saved.get() == 0 {
                if old == vcpu {
                    return;
                }
                self.platform.save(old, old_context);
                old_context.fpu_saved.set(1);
            }
        }
        self.platform.restore(vcpu, context);
        self.load_context(context);
        self.schedule.keep(cpu, vcpu);
        context.fpu_saved.set(0);
    }
}
