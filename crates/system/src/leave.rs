//! After an entry: who runs next, and its events.

use crate::System;
use crate::platform::Platform;
use crate::schedule::look;
use ids::{CpuId, Maddr, VcpuSlot};
use pv_cpu::{Bounce, Context, Mode, event_callback, trap_bounce, vector};
use vault::{Effect, kind};
use xen_abi::callback::CALLBACKTYPE_EVENT;

/// `evtchn_upcall_pending` within `vcpu_info`.
const INFO_PENDING: u64 = 0;

/// Vector of an NMI.
const NMI: u8 = 2;

impl<P: Platform> System<P> {
    /// Chooses the vCPU this CPU runs, waiting if there is none, and lets it see its events. Its registers
    /// are ready for the return to it. If nothing happened that concerns this CPU, it is the vCPU that it holds:
    /// no clock is read and none is written.
    #[inline]
    pub fn leave(&'static self) -> VcpuSlot {
        let cpu = self.platform.cpu();
        loop {
            let look = self.schedule.look(cpu);
            if look != 0 && !self.look_around(cpu, look) {
                continue;
            }
            if let Some(vcpu) = self.schedule.loaded(cpu)
                && self.deliver_events(vcpu)
            {
                if look != 0 {
                    self.show_after_upcall(cpu);
                }
                return vcpu;
            }
        }
    }

    /// Whether a vCPU simply goes on after its entry: [`leave`](Self::leave) would find nothing to do.
    #[inline(always)]
    pub(crate) fn goes_on(&self, context: &Context) -> bool {
        // The address is up to date: who changes it has this CPU look around.
        let pending = || self.platform.load8(Maddr(context.info.get() + INFO_PENDING)) != 0;
        self.schedule.look(self.platform.cpu()) == 0 && !pending()
    }

    /// False: it has waited, and looks again.
    #[cold]
    fn look_around(&'static self, cpu: CpuId, look: u32) -> bool {
        if look == look::AREA && self.in_user_mode(cpu) {
            return true;
        }
        if look & look::TRACE != 0 {
            self.tell_half_full();
        }
        if self.reschedule(cpu) {
            self.note_running(cpu);
            return self.schedule.loaded(cpu).is_none_or(|vcpu| self.deliver_nmi(vcpu));
        }
        // A crash may have come between Dom0's end and the machine's.
        self.end_machine();
        let called = self.schedule.look(cpu) & !look::AREA != 0;
        // Whom it holds may not run: whatever ends the wait, it looks around.
        self.schedule.disturb(cpu, look::SCHEDULE);
        if !called {
            self.note_idle(cpu);
            self.platform.idle();
        }
        false
    }

    /// A program that was on its way back has been interrupted instead: its kernel sees its runstate now.
    #[cold]
    fn show_after_upcall(&'static self, cpu: CpuId) {
        if self.schedule.look(cpu) & look::AREA != 0 && !self.in_user_mode(cpu) {
            self.show_runstate(cpu);
        }
    }

    fn in_user_mode(&self, cpu: CpuId) -> bool {
        let held = self.schedule.loaded(cpu);
        held.is_some_and(|vcpu| self.state.contexts.context(vcpu).mode() == Mode::User)
    }

    /// Bounces to the event callback if an upcall is pending and not masked. False: the domain ended.
    #[inline]
    fn deliver_events(&'static self, vcpu: VcpuSlot) -> bool {
        let upcall = self.state.events(self.platform).upcall_state(vcpu);
        if !upcall.pending || upcall.masked {
            return true;
        }
        let context = self.state.contexts.context(vcpu);
        let callback = &context.callbacks[usize::from(CALLBACKTYPE_EVENT)];
        let Some(to) = event_callback(context, callback, true) else { return true };
        self.interrupt_guest(vcpu, context, to)
    }

    /// Bounces to the NMI handler if one is pending and none runs; without a handler it is lost. False: the
    /// domain ended.
    fn deliver_nmi(&'static self, vcpu: VcpuSlot) -> bool {
        let (record, context) = (self.state.domains.vcpu(vcpu), self.state.contexts.context(vcpu));
        if !record.nmi_pending.get() || context.in_nmi.get() {
            return true;
        }
        let to = trap_bounce(context, NMI, 0);
        let mut journal = self.journal(context);
        journal.log().begin();
        let done = journal.transaction(|tx| {
            tx.lock(self.state.domain_locks.of(record.domain.get()));
            tx.set(&record.nmi_pending, false);
            tx.last();
            let Some(to) = to else { return Ok(()) };
            self.prepare_bounce(vcpu, context, &to)?;
            // With the commit: from there on it is not pending, but taken.
            tx.publish(Effect { kind: kind::TRANSFER, x: 0, a: 0, b: 0 });
            Ok(())
        });
        journal.log().end();
        self.go_on_after(vcpu, context, done)
    }

    /// An entry of its own: into the guest's kernel. False: the domain ended.
    fn interrupt_guest(&'static self, vcpu: VcpuSlot, context: &'static Context, to: Bounce) -> bool {
        // A failure from here on is this vCPU's; the transfer's end takes the vector back.
        context.registers.vector.set(vector::UPCALL);
        let done = self.bounce_to(vcpu, context, &to);
        self.go_on_after(vcpu, context, done)
    }

    fn go_on_after(
        &'static self,
        vcpu: VcpuSlot,
        context: &Context,
        done: Result<(), hypercalls::Crash>,
    ) -> bool {
        match done {
            Ok(()) => context.failures.set(0),
            Err(why) => self.crash_domain(vcpu, why),
        }
        done.is_ok()
    }
}
