//! Whose failure it was: an entry in which the hypervisor fails again and again ends its domain, not the
//! machine.
//!
//! The count is a word of the vCPU's durable context, so it outlives what it counts. It is raised once for each
//! failure that comes in the middle of an entry, and is 0 again when an entry that failed is complete; entries
//! that do not fail never touch it.

use crate::System;
use crate::crash::domain_shutdown;
use crate::platform::Platform;
use crate::recover::Stopped;
use hypercalls::Crash;
use ids::VcpuSlot;
use pv_cpu::vector;

/// Failures of one entry after which it is not dispatched again.
pub const MOST_FAILURES: u8 = 3;

impl<P: Platform> System<P> {
    /// The hypervisor failed on a CPU: charges it to the entry that was in progress there, a guest's system call,
    /// hypercall or exception, or the upcall of an event. Returns how often that entry has failed by now; `None`
    /// if none was in progress, or an interrupt, which is no guest's doing.
    ///
    /// Called once for each failure, by the life that fails or the one after it.
    pub fn charge(&self, failed: &Stopped) -> Option<u8> {
        let vcpu = failed.loaded?;
        let context = self.state.contexts.context(vcpu);
        match context.registers.vector.get() {
            0..32
            | 0x80
            | vector::SYSCALL
            | vector::SYSENTER
            | vector::BAD_RETURN
            | vector::TRANSFER
            | vector::KEPT_PAGE_FAULT
            | vector::UPCALL => {}
            _ => return None,
        }
        let domain = self.state.domains.domain(self.state.domains.vcpu(vcpu).domain.get());
        domain.charged.set(domain.charged.get().saturating_add(1));
        let failures = context.failures.get().saturating_add(1);
        context.failures.set(failures);
        Some(failures)
    }

    /// Ends the domain of a vCPU whose registers are lost with the CPU that had them.
    pub fn end_lost(&'static self, vcpu: VcpuSlot) {
        self.crash_domain(vcpu, Crash::RegistersLost);
    }

    /// Ends the domain of an entry that fails whenever it is dispatched. What the failure spoilt may be what
    /// showing the vCPU needs: it is shown at the first try only.
    pub(crate) fn end_failing(&'static self, vcpu: VcpuSlot) {
        let context = self.state.contexts.context(vcpu);
        let failures = context.failures.get();
        let record = self.state.domains.vcpu(vcpu);
        let id = self.state.domains.domain(record.domain.get()).id.get();
        let (registers, number) = (&context.registers, record.id.get().0);
        self.platform.log(format_args!(
            "The hypervisor failed {failures} times in the same entry of d{}v{number} (vector {}, code {:#x}): its domain ends",
            id.0,
            registers.vector.get(),
            registers.error_code.get()
        ));
        if failures == MOST_FAILURES {
            self.crash_domain(vcpu, Crash::TooManyFailures);
        } else {
            self.shut_down(vcpu, domain_shutdown::CRASH);
        }
        context.failures.set(0);
    }
}
