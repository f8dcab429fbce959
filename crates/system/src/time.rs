//! Time: deadlines, what guests are shown of the clocks, and how their vCPUs have spent their time.

use crate::System;
use crate::crash::domain_shutdown;
use crate::platform::Platform;
use crate::schedule::look;
use crate::switch::known;
use core::sync::atomic::{Ordering, fence};
use domains::{Life, VcpuState};
use ids::{CpuId, Maddr, VcpuSlot};
use pv_cpu::{IN_CPU, Mode};
use timers::{State, TSC_STABLE, publish_time, publish_wall_clock};
use vault::{Effect, kind};
use xen_abi::xen::{VIRQ_TIMER, VMASST_TYPE_RUNSTATE_UPDATE_FLAG};

/// `vcpu_time_info` within vcpu_info.
const TIME_INFO: u64 = 32;

impl<P: Platform> System<P> {
    /// Writes the vCPU's clock, once in each life and for each place where it shall be: what it says never
    /// changes, and the guest goes on from there by the time-stamp counter. A reader that sees an odd version
    /// waits; a crash that leaves one odd is repaired by the next life's write.
    pub(crate) fn refresh_time(&self, vcpu: VcpuSlot) {
        let Some(info) = self.state.events(self.platform).vcpu_info(vcpu) else { return };
        self.state.contexts.context(vcpu).info.set(info.0);
        let domains = &self.state.domains;
        let domain = domains.domain(domains.vcpu(vcpu).domain.get()).id.get();
        if self.schedule.new_clock(vcpu, domain, info) {
            let flags = if self.state.facts.timing.tsc_invariant { TSC_STABLE } else { 0 };
            publish_time(self.platform, Maddr(info.0 + TIME_INFO), &self.scale.info(flags));
        }
    }

    /// Writes the durable wall clock to every domain's shared_info.
    pub fn write_wall_clock(&'static self) {
        let clock = self.state.timers().wall_clock();
        for domain in self.state.domains.domains {
            let info = domain.shared_info.get();
            if info != ids::Mfn(0) {
                publish_wall_clock(self.platform, info.maddr(), &clock);
            }
        }
    }

    /// Does what is due on this CPU, each deadline in one transaction with what comes of it. The vCPU may be in the
    /// middle of an entry on another CPU.
    pub(crate) fn expire_timers(&'static self, cpu: CpuId, now: u64) {
        let timers = self.state.timers();
        while let Some(vcpu) = timers.due(cpu, now) {
            let record = self.state.domains.vcpu(vcpu);
            let ended = self.beside(|tx| {
                // With the log open: the slot stays its domain's ([`domains::Region::by_id`]).
                fence(Ordering::SeqCst);
                let domain = record.domain.get();
                tx.lock(self.state.domain_locks.of(domain));
                let Ok(fired) = timers.fire(tx, vcpu, now) else { return false };
                if fired.timer
                    && let Some(event) = self.state.events(self.platform).virq_event(vcpu, VIRQ_TIMER)
                {
                    tx.publish(event);
                }
                if fired.poll && record.state() == VcpuState::Polling {
                    record.set_state(tx, VcpuState::Runnable);
                    self.note_runstate(vcpu, State::Runnable);
                    known(timers.set_runstate(tx, vcpu, State::Runnable, now));
                    tx.publish(Effect { kind: kind::KICK, x: vcpu.0, a: 0, b: 0 });
                }
                let bites = fired.watchdog && self.state.domains.domain(domain).life() == Life::Alive;
                if bites {
                    hypercalls::shut_down(self.state, self.platform, tx, domain, domain_shutdown::WATCHDOG);
                }
                bites
            });
            if ended {
                self.end_machine();
            }
        }
    }

    /// Applies a `TIMER` effect: a CPU whose earliest deadline changed sets its timer on its way to a guest.
    pub(crate) fn deadline_changed(&'static self, vcpu: VcpuSlot) {
        if let Some(cpu) = self.state.timers().apply(vcpu) {
            self.schedule.disturb(cpu, look::TIMER);
            self.kick(cpu);
        }
    }

    /// Sets this CPU's timer to its earliest deadline or the end of the present turn, if that is new.
    pub(crate) fn arm(&self, cpu: CpuId) {
        let at = self.state.timers_derived.earliest(cpu).min(self.schedule.queues.turn_ends(cpu));
        if self.schedule.arm(cpu, at) {
            self.platform.arm_timer(at);
        }
    }

    /// A vCPU enters a state, unless it is in it.
    pub(crate) fn set_runstate(&'static self, vcpu: VcpuSlot, state: State, now: u64) {
        let timers = self.state.timers();
        if timers.runstate(vcpu).is_ok_and(|present| present.state == state as u32) {
            return;
        }
        self.note_runstate(vcpu, state);
        self.beside(|tx| known(timers.set_runstate(tx, vcpu, state, now)));
    }

    /// Shows the vCPU that this CPU holds its runstate, if it wants it and does not see it yet. The area has an
    /// address of its kernel: while it is in user mode, it is written on the way into the kernel. One that is
    /// not mapped is tried again at the next change.
    pub(crate) fn show_runstate(&'static self, cpu: CpuId) {
        let Some(vcpu) = self.schedule.loaded(cpu) else { return };
        let timers = self.state.timers();
        let (Some(at), Ok(present)) = (timers.area(vcpu), timers.runstate(vcpu)) else { return };
        let mark = present.entered << 2 | u64::from(present.state);
        if !self.schedule.is_stale(vcpu, mark) {
            return;
        }
        let context = self.state.contexts.context(vcpu);
        // Taken, but not allowed to run: the page tables in use are another's.
        if context.fpu_saved.get() != IN_CPU {
            return;
        }
        if context.mode() != Mode::Kernel {
            self.schedule.disturb(cpu, look::AREA);
            return;
        }
        let domain = self.state.domains.domain(self.state.domains.vcpu(vcpu).domain.get());
        let flag = domain.assists.get() >> VMASST_TYPE_RUNSTATE_UPDATE_FLAG & 1 != 0;
        // As on Xen.
        let _ = present.publish(self.platform, at, flag);
        self.schedule.set_shown(vcpu, mark);
    }
}
