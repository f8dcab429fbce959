//! A CPU looks around: who was woken, whose turn it is, and the switch from one vCPU to the next.

use crate::System;
use crate::platform::Platform;
use crate::schedule::look;
use core::sync::atomic::{Ordering, fence};
use domains::VcpuState;
use ids::{CpuId, DomainSlot, VcpuSlot};
use pv_cpu::{IN_CPU, SAVED};
use sched::{Told, Vcpus, Wish};
use timers::State;

impl<P: Platform> System<P> {
    /// CPUs that are not `online` do not run guests: their vCPUs are given to others. By whoever starts, before
    /// guests run on its CPU.
    pub fn settle_homes(&'static self, online: impl Fn(CpuId) -> bool) {
        self.schedule.set_online(online);
        for slot in (0..self.state.domains.vcpus.len() as u32).map(VcpuSlot) {
            self.state.timers().set_home(slot, self.schedule.home(slot));
        }
    }

    /// Recovery: the registers of `vcpu` are still in `cpu`, which runs and wakes for it from now on.
    pub fn keep(&'static self, cpu: CpuId, vcpu: VcpuSlot) {
        self.schedule.keep(cpu, vcpu);
        self.state.timers().set_home(vcpu, cpu);
    }

    /// A vCPU has something to look at: an event, an end of waiting.
    pub(crate) fn wake(&self, vcpu: VcpuSlot) {
        self.kick(self.schedule.wake(vcpu));
    }

    /// The vCPUs of the domain in this slot, or (all ones) of all, have something to look at: who may run where has
    /// changed.
    pub(crate) fn wake_all(&self, domain: u32) {
        self.schedule.queues.end_turns();
        for (slot, vcpu) in (0..).zip(self.state.domains.vcpus) {
            if domain == u32::MAX || u32::from(vcpu.domain.get().0) == domain {
                self.schedule.wake(VcpuSlot(slot));
            }
        }
        for cpu in (0..self.schedule.cpus()).map(CpuId) {
            self.schedule.disturb(cpu, look::SCHEDULE);
            self.kick(cpu);
        }
    }

    /// As [`wake`](Self::wake), for an event: a vCPU that can run sees it on the way back to it, whenever that is. The
    /// CPU that holds it is made to come by, and has nothing else to look at.
    #[inline]
    pub(crate) fn alert(&self, vcpu: VcpuSlot) {
        let home = self.schedule.home(vcpu);
        let is_here = home == self.platform.cpu();
        if !is_here {
            // Who blocks or polls looks for events once its state says so. Here it is the other way round, so that
            // one of the two sees the other.
            fence(Ordering::SeqCst);
        }
        let held = self.schedule.loaded(home) == Some(vcpu);
        if !held || self.state.domains.vcpu(vcpu).state() != VcpuState::Runnable {
            self.wake(vcpu);
        } else if !is_here {
            self.platform.kick(home);
        }
    }

    /// Interrupts another CPU.
    pub(crate) fn kick(&self, cpu: CpuId) {
        if cpu != self.platform.cpu() {
            self.platform.kick(cpu);
        }
    }

    /// A port was raised, or (0) any: vCPUs that poll for it (`SCHEDOP_poll`) look again, for they want to know of
    /// masked ports too. Whoever raises an event other than by an effect calls this after it.
    pub fn wake_pollers(&self, domain: DomainSlot, port: u32) {
        if usize::from(domain.0) >= self.state.domains.domains.len() {
            return;
        }
        for slot in self.state.domains.vcpus_of(domain) {
            let vcpu = self.state.domains.vcpu(slot);
            let wanted = || port == 0 || [0, port].contains(&vcpu.poll_port.get());
            if vcpu.state() == VcpuState::Polling && wanted() {
                self.wake(slot);
            }
        }
    }

    /// The running vCPU gives up the rest of its turn.
    pub(crate) fn end_turn(&self) {
        self.schedule.disturb(self.platform.cpu(), look::YIELD);
    }

    /// Looks around: deadlines, woken vCPUs, whose turn it is. Afterwards this CPU holds the vCPU it runs next;
    /// false: there is none.
    pub(crate) fn reschedule(&'static self, cpu: CpuId) -> bool {
        let now = self.platform.now();
        let mut why = self.schedule.take_look(cpu);
        self.schedule.queues.set_idle(cpu, false);
        if why & look::TIMER != 0 {
            self.expire_timers(cpu, now);
            why |= self.schedule.take_look(cpu);
        }
        if why & !(look::TIMER | look::AREA | look::TRACE) == 0 && !self.schedule.queues.is_over(cpu, now) {
            // Whom this CPU holds was chosen and nothing has changed.
            self.arm(cpu);
            self.show_runstate(cpu);
            return true;
        }
        self.send_away(cpu, now);
        self.look_at_woken(cpu, now);
        let current = self.schedule.loaded(cpu).filter(|vcpu| self.can_run(*vcpu));
        let next = self.choose(cpu, Wish { current, yields: why & look::YIELD != 0 }, now);
        let runs = match next {
            Some(vcpu) => self.switch(cpu, vcpu, now),
            None => {
                if let Some(old) = self.schedule.loaded(cpu) {
                    self.stop_running(old, now);
                    self.show_runstate(cpu);
                }
                false
            }
        };
        self.tell(cpu, now);
        self.arm(cpu);
        runs
    }

    /// Whom this CPU runs next. One with nothing to do is called idle before it looks a second time, so that who has
    /// one too many from now on calls it.
    fn choose(&'static self, cpu: CpuId, wish: Wish, now: u64) -> Option<VcpuSlot> {
        let queues = &self.schedule.queues;
        if let Some(current) = wish.current
            && !wish.yields
            && queues.goes_on(cpu, current, now)
        {
            return wish.current;
        }
        let found = queues.choose(cpu, wish, now, self);
        if found.is_some() {
            return found;
        }
        queues.set_idle(cpu, true);
        let found = if queues.is_empty() { None } else { queues.choose(cpu, wish, now, self) };
        if found.is_some() {
            queues.set_idle(cpu, false);
        }
        found
    }

    /// Tells another CPU of those who wait.
    fn tell(&'static self, cpu: CpuId, now: u64) {
        let (other, why) = match self.schedule.queues.tell(cpu, now, self) {
            Some(Told::Idle(other)) => (other, look::SCHEDULE),
            Some(Told::Sooner(other)) => (other, look::TIMER),
            None => return,
        };
        if other != cpu {
            self.schedule.disturb(other, why);
            self.kick(other);
        }
    }

    /// If the vCPU that this CPU holds may not run here, or had better run on an idle CPU elsewhere, it goes there; one
    /// of a domain that may not run at all is in memory from now on.
    fn send_away(&'static self, cpu: CpuId, now: u64) {
        let Some(vcpu) = self.schedule.loaded(cpu) else { return };
        let domains = &self.state.domains;
        let may_run = domains.domain(domains.vcpu(vcpu).domain.get()).may_run();
        let to = if may_run { self.belongs(vcpu, cpu) } else { Some(cpu) };
        let Some(to) = to else { return };
        self.stop_running(vcpu, now);
        self.show_runstate(cpu);
        let context = self.state.contexts.context(vcpu);
        if context.fpu_saved.get() == IN_CPU {
            self.platform.save(vcpu, context);
            context.fpu_saved.set(SAVED);
        }
        self.platform.let_go();
        let moved = self.schedule.queues.move_home(vcpu, [cpu, to], self, || self.schedule.let_go(cpu));
        debug_assert!(moved, "this CPU had its registers");
        self.state.timers().set_home(vcpu, to);
        if may_run {
            self.wake(vcpu);
        }
    }

    /// The CPU that a vCPU at home on this one belongs to, if that is another one.
    #[inline]
    fn belongs(&'static self, vcpu: VcpuSlot, cpu: CpuId) -> Option<CpuId> {
        if self.schedule.queues.is_alone(cpu) { None } else { self.best_home(vcpu, cpu) }
    }

    /// As [`belongs`](Self::belongs), where there are others.
    #[inline(never)]
    fn best_home(&'static self, vcpu: VcpuSlot, cpu: CpuId) -> Option<CpuId> {
        let queues = &self.schedule.queues;
        let to = if queues.may_run(vcpu, cpu, self) {
            queues.better_home(vcpu, cpu, self)
        } else {
            queues.new_home(vcpu, self)
        };
        to.filter(|to| *to != cpu)
    }

    /// Whether a vCPU wants a CPU and may have one.
    pub(crate) fn can_run(&self, vcpu: VcpuSlot) -> bool {
        let record = self.state.domains.vcpu(vcpu);
        record.state() == VcpuState::Runnable
            && record.initialised.get()
            && self.state.domains.domain(record.domain.get()).may_run()
    }

    /// Looks at the vCPUs of this CPU that were woken: who has what it waits for waits for its turn.
    fn look_at_woken(&'static self, cpu: CpuId, now: u64) {
        while let Some(vcpu) = self.schedule.next_woken(cpu) {
            if self.schedule.home(vcpu) != cpu {
                // It has moved since.
                self.wake(vcpu);
                continue;
            }
            let held = self.schedule.loaded(cpu) == Some(vcpu);
            if !held && let Some(to) = self.belongs(vcpu, cpu) {
                if self.schedule.queues.move_home(vcpu, [cpu, to], self, || ()) {
                    self.state.timers().set_home(vcpu, to);
                }
                self.wake(vcpu);
                continue;
            }
            let state = self.state.domains.vcpu(vcpu).state();
            if matches!(state, VcpuState::Blocked | VcpuState::Polling) {
                let runs = held && self.schedule.queues.is_empty();
                self.end_waiting(vcpu, state, if runs { State::Running } else { State::Runnable }, now);
            }
            if !held && self.can_run(vcpu) {
                self.goes_on_waiting(vcpu, now);
                if !self.schedule.queues.make_ready(cpu, vcpu, now, self) {
                    self.wake(vcpu);
                }
            }
        }
    }

    /// A vCPU that may run again waits for its turn from now on.
    fn goes_on_waiting(&'static self, vcpu: VcpuSlot, now: u64) {
        let stopped = |now: timers::Runstate| now.state == State::Offline as u32;
        if self.state.timers().runstate(vcpu).is_ok_and(stopped) {
            self.set_runstate(vcpu, State::Runnable, now);
        }
    }

    /// If a waiting vCPU has what it waits for, it waits no more.
    fn end_waiting(&'static self, vcpu: VcpuSlot, state: VcpuState, to: State, now: u64) {
        let upcall = self.state.events(self.platform).upcall_state(vcpu);
        let ready = upcall.pending && !upcall.masked;
        if !ready && (state == VcpuState::Blocked || !self.poll_is_over(vcpu)) {
            return;
        }
        let (record, timers) = (self.state.domains.vcpu(vcpu), self.state.timers());
        self.beside(|tx| {
            tx.lock(self.state.domain_locks.of(record.domain.get()));
            // Another vCPU may have taken it down.
            if record.state() == state {
                record.set_state(tx, VcpuState::Runnable);
                known(timers.stop_poll(tx, vcpu));
                self.note_runstate(vcpu, to);
                known(timers.set_runstate(tx, vcpu, to, now));
            }
        });
    }

    /// Whether a `SCHEDOP_poll` has what it waits for: a polled port pending. Its time is `expire_timers`'s.
    fn poll_is_over(&self, vcpu: VcpuSlot) -> bool {
        let record = self.state.domains.vcpu(vcpu);
        let (domain, port) = (record.domain.get(), record.poll_port.get());
        if port == 0 {
            // More than one port: any event ends the wait, and the guest looks for itself. What stops a domain is none.
            return self.state.domains.domain(domain).may_run();
        }
        self.state.events(self.platform).is_pending(domain, port) != Ok(false)
    }

    /// Gives this CPU to a vCPU. False: it may not run any more.
    fn switch(&'static self, cpu: CpuId, vcpu: VcpuSlot, now: u64) -> bool {
        let old = self.schedule.loaded(cpu);
        if let Some(old) = old.filter(|old| *old != vcpu) {
            self.stop_running(old, now);
            self.show_runstate(cpu);
        }
        self.state.timers().set_home(vcpu, cpu);
        if !self.load(cpu, vcpu) {
            self.schedule.disturb(cpu, look::SCHEDULE);
            return false;
        }
        self.refresh_time(vcpu);
        self.set_runstate(vcpu, State::Running, now);
        self.show_runstate(cpu);
        true
    }

    /// A vCPU that ran lets go of its CPU.
    fn stop_running(&'static self, vcpu: VcpuSlot, now: u64) {
        let Ok(present) = self.state.timers().runstate(vcpu) else { return };
        if present.state == State::Running as u32 {
            let state = match self.state.domains.vcpu(vcpu).state() {
                VcpuState::Runnable if self.can_run(vcpu) => State::Runnable,
                VcpuState::Blocked | VcpuState::Polling => State::Blocked,
                VcpuState::Runnable | VcpuState::Down => State::Offline,
            };
            self.set_runstate(vcpu, state, now);
        }
    }
}

impl<P: Platform> Vcpus for System<P> {
    fn can_run(&self, vcpu: VcpuSlot) -> bool {
        self.can_run(vcpu)
    }

    fn domain(&self, vcpu: VcpuSlot) -> DomainSlot {
        self.state.domains.vcpu(vcpu).domain.get()
    }

    fn siblings(&self, vcpu: VcpuSlot) -> u32 {
        self.state.domains.domain(self.domain(vcpu)).vcpus.get()
    }

    fn only(&self, vcpu: VcpuSlot) -> Option<CpuId> {
        self.state.domains.vcpu(vcpu).pin.get().checked_sub(1).map(CpuId)
    }

    fn home(&self, vcpu: VcpuSlot) -> CpuId {
        self.schedule.home(vcpu)
    }

    fn is_held_elsewhere(&self, vcpu: VcpuSlot, cpu: CpuId) -> bool {
        let home = self.schedule.home(vcpu);
        home != cpu && self.schedule.loaded(home) == Some(vcpu)
    }

    fn take(&self, vcpu: VcpuSlot, cpu: CpuId) {
        self.schedule.set_home(vcpu, cpu);
    }
}

/// Timers know every vCPU that is scheduled.
pub(crate) fn known(done: Result<(), timers::Error>) {
    debug_assert_eq!(done, Ok(()), "timers know every vCPU");
}
