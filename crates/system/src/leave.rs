//! After an entry: timers, events, and who runs next.

use crate::System;
use crate::platform::Platform;
use ids::{CpuId, VcpuSlot};
use pv_cpu::{event_callback, vector};
use xen_abi::callback::CALLBACKTYPE_EVENT;

impl<P: Platform> System<P> {
    /// Chooses the vCPU this CPU runs, waiting if there is none, and lets it see its events. Its registers
    /// are ready for the return to it.
    #[inline]
    pub fn leave(&'static self) -> VcpuSlot {
        let cpu = self.platform.cpu();
        match self.schedule.undisturbed(cpu) {
            Some(vcpu) if self.deliver_events(vcpu) => vcpu,
            _ => self.choose(cpu),
        }
    }

    fn choose(&'static self, cpu: CpuId) -> VcpuSlot {
        loop {
            self.schedule.attend(cpu);
            self.expire_timers(cpu);
            match self.pick(cpu) {
                Some(vcpu) => {
                    self.load(cpu, vcpu);
                    self.refresh_time(vcpu);
                    if self.deliver_events(vcpu) {
                        self.arm(cpu);
                        return vcpu;
                    }
                }
                None => {
                    // A crash may have come between Dom0's end and the machine's.
                    self.end_machine();
                    self.arm(cpu);
                    self.platform.idle();
                }
            }
        }
    }

    /// Bounces to the event callback if an upcall is pending and not masked. False: the domain ended.
    fn deliver_events(&'static self, vcpu: VcpuSlot) -> bool {
        let upcall = self.state.events(self.platform).upcall_state(vcpu);
        if !upcall.pending || upcall.masked {
            return true;
        }
        let context = self.state.contexts.context(vcpu);
        let callback = &context.callbacks[usize::from(CALLBACKTYPE_EVENT)];
        let Some(to) = event_callback(context, callback, true) else { return true };
        // A failure from here on is this vCPU's; the transfer's end takes the vector back.
        context.registers.vector.set(vector::UPCALL);
        if let Err(why) = self.bounce_to(vcpu, context, &to) {
            self.crash_domain(vcpu, why);
            return false;
        }
        context.failures.set(0);
        true
    }
}
