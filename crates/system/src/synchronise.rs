//! The CPU's registers follow a vCPU's durable context.

use crate::System;
use crate::platform::Platform;
use ids::Mfn;
use pv_cpu::{Context, sync};

impl<P: Platform> System<P> {
    /// Brings up to date what `what` names (bits of [`pv_cpu::sync`]); absolute, so that a repetition
    /// changes nothing.
    #[inline]
    pub(crate) fn synchronise(&self, context: &Context, what: u32) {
        if what & sync::MODE != 0 {
            self.follow_mode(context);
            self.platform.load_space(context.root());
        }
        if what & !sync::MODE != 0 {
            self.synchronise_rare(context, what);
        }
    }

    /// Makes the GS base that of the context's mode.
    #[inline(always)]
    pub(crate) fn follow_mode(&self, context: &Context) {
        let mode = context.mode() as u8;
        if context.gs_mode.get() != mode {
            self.platform.swap_gs(&context.gs_mode, mode);
        }
    }

    fn synchronise_rare(&self, context: &Context, what: u32) {
        if what & sync::GDT != 0 {
            let frames = context.gdt.each_ref().map(|f| f.get());
            let count = (context.gdt_entries.get() as usize).div_ceil(512).min(frames.len());
            self.platform.set_gdt(&frames[..count]);
        }
        if what & sync::LDT != 0 {
            let frames: [Mfn; 16] = context.ldt.each_ref().map(|f| f.get());
            let entries = context.ldt_entries.get();
            self.platform.set_ldt(&frames[..(entries as usize).div_ceil(512).min(16)], entries);
        }
        if what & sync::DEBUG != 0 {
            self.platform.set_debug(&context.debug.each_ref().map(|d| d.get()));
        }
        if what & sync::CONTROL != 0 {
            let ts = context.task_switched.get();
            self.platform.set_control(ts, context.cr4.get(), context.xcr0.get());
        }
    }

    /// Loads everything: the CPU takes over this vCPU.
    pub fn load_context(&self, context: &Context) {
        self.synchronise(context, sync::MODE | sync::GDT | sync::LDT | sync::DEBUG | sync::CONTROL);
    }
}
