//! A domain that cannot go on.

use crate::System;
use crate::platform::{Platform, Power};
use domains::Life;
use hypercalls::Crash;
use ids::{DomainSlot, Gva, VcpuSlot};
use pv_cpu::{Mode, Reg};

impl<P: Platform> System<P> {
    /// Shows the vCPU's registers and stack and shuts its domain down; Dom0's end is the machine's.
    pub(crate) fn crash_domain(&'static self, vcpu: VcpuSlot, why: Crash) {
        let record = self.state.domains.vcpu(vcpu);
        let domain = record.domain.get();
        let id = self.state.domains.domain(domain).id.get();
        self.platform.log(format_args!("d{}v{} crashed: {why:?}", id.0, record.id.get().0));
        self.show_vcpu(vcpu);
        self.shut_down(vcpu, domain_shutdown::CRASH);
    }

    /// Registers and the top of the stack of a vCPU.
    pub fn show_vcpu(&self, vcpu: VcpuSlot) {
        let context = self.state.contexts.context(vcpu);
        let r = &context.registers;
        let p = self.platform;
        let g = |reg| r.get(reg);
        let mode = if context.mode() == Mode::Kernel { "kernel" } else { "user" };
        p.log(format_args!(
            "RIP {:04x}:{:016x} RFLAGS {:016x} {mode} vector {} error {:x}",
            g(Reg::Cs),
            g(Reg::Rip),
            g(Reg::Rflags),
            r.vector.get(),
            r.error_code.get()
        ));
        p.log(format_args!("rax {:016x} rbx {:016x} rcx {:016x}", g(Reg::Rax), g(Reg::Rbx), g(Reg::Rcx)));
        p.log(format_args!("rdx {:016x} rsi {:016x} rdi {:016x}", g(Reg::Rdx), g(Reg::Rsi), g(Reg::Rdi)));
        p.log(format_args!("rbp {:016x} rsp {:016x} r8  {:016x}", g(Reg::Rbp), g(Reg::Rsp), g(Reg::R8)));
        p.log(format_args!("r9  {:016x} r10 {:016x} r11 {:016x}", g(Reg::R9), g(Reg::R10), g(Reg::R11)));
        p.log(format_args!("r12 {:016x} r13 {:016x} r14 {:016x}", g(Reg::R12), g(Reg::R13), g(Reg::R14)));
        p.log(format_args!(
            "r15 {:016x} cr2 {:016x} root {}",
            g(Reg::R15),
            p.fault_address(),
            context.root()
        ));
        let mapping = pv_mmu::walk(p, context.root(), Gva(g(Reg::Rsp)));
        p.log(format_args!("rsp is mapped by {mapping:x?}"));
        let mut words = [0u64; 24];
        let mut shown = 0;
        for (index, word) in words.iter_mut().enumerate() {
            let at = g(Reg::Rsp).wrapping_add(8 * index as u64);
            match p.read::<u64>(Gva(at)) {
                Ok(value) => *word = value,
                Err(_) => break,
            }
            shown = index + 1;
        }
        p.log(format_args!("Guest stack trace from rsp:"));
        for row in words[..shown].chunks(4) {
            p.log(format_args!("   {row:016x?}"));
        }
    }

    /// Ends a vCPU's domain for `reason`.
    pub(crate) fn shut_down(&'static self, vcpu: VcpuSlot, reason: u32) {
        let slot = self.state.domains.vcpu(vcpu).domain.get();
        let mut journal = self.journal(self.state.contexts.context(vcpu));
        // Whatever entry this comes from, nothing of it is left to be repeated.
        journal.log().begin();
        journal.apply.context.copy_fault.set(0);
        journal.change(|tx| {
            hypercalls::shut_down(self.state, self.platform, tx, slot, reason);
            tx.last();
        });
        self.end_machine();
    }

    /// If Dom0 is gone: does to the machine what it asked for.
    pub(crate) fn end_machine(&self) {
        let dom0 = self.state.domains.domain(DOM0);
        if dom0.life() != Life::Shutdown {
            return;
        }
        match dom0.shutdown.get().wrapping_sub(1) {
            domain_shutdown::POWEROFF => {
                self.platform.log(format_args!("Hardware Dom0 halted: halting machine"));
                self.platform.power(Power::Off);
            }
            domain_shutdown::CRASH => {
                self.platform.log(format_args!("Hardware Dom0 crashed: rebooting machine"));
                self.platform.power(Power::Reset);
            }
            other => {
                self.platform.log(format_args!("Hardware Dom0 shutdown ({other}): rebooting machine"));
                self.platform.power(Power::Reset);
            }
        }
    }
}

/// Dom0's slot.
const DOM0: DomainSlot = DomainSlot(0);

/// Reasons of a shutdown (`SHUTDOWN_*`, public/sched.h).
pub(crate) mod domain_shutdown {
    pub(crate) const POWEROFF: u32 = 0;
    pub(crate) const CRASH: u32 = 3;
    pub(crate) const WATCHDOG: u32 = 4;
}
