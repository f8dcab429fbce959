//! A CPU gets the registers of a vCPU, and memory those of the one before.

use crate::System;
use crate::platform::{Base, Platform};
use core::sync::atomic::{Ordering, fence};
use ids::{CpuId, VcpuSlot};
use pv_cpu::{Context, FRESH, IN_CPU, Mode, SAVED, event_callback, sync};
use xen_abi::callback::CALLBACKTYPE_FAILSAFE;

impl<P: Platform> System<P> {
    /// Makes this CPU hold `vcpu`'s registers. Whether they are in the CPU or in memory is durable, and changes
    /// only when they are completely there: a failure in between neither loses them nor mixes two vCPUs' up.
    /// False: the vCPU may not run any more, and they are in memory still.
    pub(crate) fn load(&'static self, cpu: CpuId, vcpu: VcpuSlot) -> bool {
        let context = self.state.contexts.context(vcpu);
        if let Some(old) = self.schedule.loaded(cpu) {
            let old_context = self.state.contexts.context(old);
            if old_context.fpu_saved.get() == IN_CPU {
                if old == vcpu {
                    return true;
                }
                self.platform.save(old, old_context);
                old_context.fpu_saved.set(SAVED);
            }
        }
        self.schedule.keep(cpu, vcpu);
        // Who stops a domain says so before it looks who holds its vCPUs: one of the two sees the other. Who holds one
        // that is stopped does not have its registers. Nor does who changes page tables ask this CPU to forget from here
        // on, if they are the last vCPU's, or has to, if they are this one's ([`System::ask_others`]).
        fence(Ordering::SeqCst);
        if !self.can_run(vcpu) {
            return false;
        }
        if context.fpu_saved.get() == FRESH {
            self.platform.forget(vcpu);
        }
        self.platform.restore(vcpu, context);
        self.load_context(context);
        let selectors = context.selectors.each_ref().map(|word| word.get());
        let all_good = self.platform.load_selectors(selectors) || self.force_selectors(context, selectors);
        // After the selectors, which change the bases.
        self.load_bases(context);
        if !all_good {
            self.selectors_are_bad(vcpu, context, selectors);
        }
        context.fpu_saved.set(IN_CPU);
        true
    }

    /// Recovery: loads the data selectors that a vCPU had whose context this CPU has loaded; the bases stay.
    pub fn reload_selectors(&self, context: &Context, selectors: [u16; 4]) {
        let all = [Base::Fs, Base::Gs, Base::OtherGs];
        let bases = all.map(|which| self.platform.base(which));
        let _ = self.platform.load_selectors(selectors) || self.force_selectors(context, selectors);
        for (which, value) in all.into_iter().zip(bases) {
            self.platform.set_base(which, value);
        }
    }

    /// Recovery: the same of what the context has of its selectors, and of the bases.
    pub fn reload_saved(&self, context: &Context) {
        let selectors = context.selectors.each_ref().map(|word| word.get());
        let _ = self.platform.load_selectors(selectors) || self.force_selectors(context, selectors);
        self.load_bases(context);
    }

    fn load_bases(&self, context: &Context) {
        let active = usize::from(context.gs_mode.get() & 1);
        self.platform.set_base(Base::Fs, context.fs_base.get());
        self.platform.set_base(Base::Gs, context.gs_base[active].get());
        self.platform.set_base(Base::OtherGs, context.gs_base[active ^ 1].get());
    }

    /// A kernel that changes tasks has the local descriptor table of the next one before it saves the selectors of
    /// the one before: stopped there, selectors of its that fault now are loaded as those of flat segments, which
    /// its 64-bit code does not notice. False: others are null.
    fn force_selectors(&self, context: &Context, wanted: [u16; 4]) -> bool {
        /// In a selector: of the local table.
        const LOCAL: u16 = 4;
        if context.mode() == Mode::Kernel {
            let faulted = self.platform.selectors();
            for (which, (selector, present)) in (0..).zip(wanted.into_iter().zip(faulted)) {
                if selector & LOCAL != 0 && selector != present {
                    self.platform.force_selector(which, selector);
                }
            }
            self.synchronise(context, sync::LDT);
        }
        self.platform.selectors() == wanted
    }

    /// Selectors that faulted are null now: the kernel's failsafe callback hears which ones were wanted. Stopped
    /// before the vCPU counts as loaded, it is loaded again, and the kernel may hear of it twice.
    fn selectors_are_bad(&'static self, vcpu: VcpuSlot, context: &'static Context, wanted: [u16; 4]) {
        let callback = &context.callbacks[usize::from(CALLBACKTYPE_FAILSAFE)];
        let Some(mut to) = event_callback(context, callback, false) else { return };
        to.segments = Some(wanted);
        if let Err(why) = self.bounce_to(vcpu, context, &to) {
            self.crash_domain(vcpu, why);
        }
    }
}
