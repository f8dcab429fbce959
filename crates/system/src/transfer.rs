//! Entries that only change where the vCPU goes on: bounces to its kernel, its `iret`, and a kernel's `rdmsr`.
//!
//! They are most of all entries. They touch no durable word but the vCPU's own context, hence need no log: see
//! [`pv_cpu::Transfer`] for what a crash leaves and finds.

use crate::System;
use crate::platform::Platform;
use hypercalls::Crash;
use ids::{Gva, Maddr, VcpuSlot};
use pv_cpu::{Bounce, Context, IRET_FRAME_WORDS, Mode, Reg, StackFault, vector};
use xen_abi::hypercall;
use xen_abi::trace::TRC_PV_EMULATE_PRIVOP;
use zerocopy::IntoBytes;

/// Number of a hypercall, as the stub keeps it.
const IRET: u32 = hypercall::IRET as u32;

/// `rdmsr` without prefixes.
const RDMSR: [u8; 2] = [0x0f, 0x32];

impl<P: Platform> System<P> {
    /// Handles an entry that is sure to be a transfer, without opening the log. `None`: it is none.
    #[inline(always)]
    pub(crate) fn enter_swiftly(
        &'static self,
        vcpu: VcpuSlot,
        context: &'static Context,
    ) -> Option<Result<(), Crash>> {
        let registers = &context.registers;
        match registers.vector.get() {
            vector::SYSCALL if context.mode() == Mode::User => Some(self.user_system_call(vcpu, context)),
            vector::SYSCALL if registers.error_code.get() == IRET => Some(self.iret(vcpu, context)),
            vector::SYSENTER => Some(self.sysenter(vcpu, context)),
            vector::PAGE_FAULT => {
                self.keep_fault_address(context);
                self.plain_page_fault(vcpu, context)
            }
            vector::PROTECTION if registers.error_code.get() == 0 => self.rdmsr(vcpu, context),
            _ => None,
        }
    }

    /// A kernel's `rdmsr`, which it uses at each context switch to learn the user's GS base: it changes nothing but
    /// registers. `None`: the instruction is another, or faults.
    #[inline(never)]
    pub(crate) fn rdmsr(
        &'static self,
        vcpu: VcpuSlot,
        context: &'static Context,
    ) -> Option<Result<(), Crash>> {
        let registers = &context.registers;
        let mut bytes = [0; RDMSR.len()];
        let read = self.platform.copy_in(Gva(registers.get(Reg::Rip)), &mut bytes);
        if context.mode() != Mode::Kernel || read.is_err() || bytes != RDMSR {
            return None;
        }
        let value = self.read_msr(vcpu, context, registers.get(Reg::Rcx) as u32)?;
        self.note_address(TRC_PV_EMULATE_PRIVOP, registers.get(Reg::Rip));
        // Dispatched again before the commit, it writes the same: RDX is no operand.
        registers.set(Reg::Rdx, value >> 32);
        pv_cpu::step_over(context, RDMSR.len() as u64, value & 0xffff_ffff);
        pv_cpu::commit(context);
        self.finish_transfer(context);
        Some(Ok(()))
    }

    /// The `iret` hypercall: the frame is on the guest's kernel stack.
    #[inline(always)]
    pub(crate) fn iret(&'static self, vcpu: VcpuSlot, context: &'static Context) -> Result<(), Crash> {
        self.told().hypercall(hypercall::IRET, &[], false);
        let info = self.info(vcpu)?;
        let mut frame = [0_u64; IRET_FRAME_WORDS];
        let at = Gva(context.registers.get(Reg::Rsp));
        if self.platform.copy_in(at, frame.as_mut_bytes()).is_err() {
            return Err(Crash::BadIret);
        }
        if context.in_nmi.get() {
            // Another one may wait for the end of this one.
            self.wake(vcpu);
        }
        pv_cpu::iret(context, info, &frame).map_err(|pv_cpu::BadFrame| Crash::BadIret)?;
        pv_cpu::commit(context);
        self.finish_transfer(context);
        if context.mode() == Mode::User {
            self.platform.load_root(context.root_user.get());
        }
        Ok(())
    }

    /// Enters the guest's kernel as `to` says.
    #[inline]
    pub(crate) fn bounce_to(
        &'static self,
        vcpu: VcpuSlot,
        context: &'static Context,
        to: &Bounce,
    ) -> Result<(), Crash> {
        self.prepare_bounce(vcpu, context, to)?;
        pv_cpu::commit(context);
        self.finish_transfer(context);
        Ok(())
    }

    /// Prepares an entry into the guest's kernel, whose page tables are loaded then; a failure before the commit
    /// leads back to those of the mode that still is.
    #[inline]
    pub(crate) fn prepare_bounce(
        &'static self,
        vcpu: VcpuSlot,
        context: &'static Context,
        to: &Bounce,
    ) -> Result<(), Crash> {
        let info = self.info(vcpu)?;
        let masked = self.platform.load8(Maddr(info.0 + 1)) != 0;
        let push = |top: Gva, frame: &[u64]| {
            self.platform.copy_out(top, frame.as_bytes()).map_err(|guest_memory::Fault| StackFault)
        };
        // The kernel's stack is in the kernel's address space.
        let from_user = context.mode() == Mode::User;
        if from_user {
            self.platform.load_root(context.root_kernel.get());
        }
        pv_cpu::bounce(context, info, masked, to, push).map_err(|StackFault| {
            if from_user {
                self.platform.load_root(context.root_user.get());
            }
            Crash::BadKernelStack
        })
    }

    /// Carries out a committed transfer, from whatever state of the CPU.
    pub(crate) fn complete_transfer(&self, context: &Context) {
        self.finish_transfer(context);
        self.platform.load_root(context.root());
    }

    /// The same where the page tables are loaded already.
    #[inline(always)]
    fn finish_transfer(&self, context: &Context) {
        pv_cpu::complete(context, |at, mask| self.platform.store8(at, mask));
        self.follow_mode(context);
        // With the vector goes what would make recovery complete it again.
        context.registers.vector.set(vector::NONE);
    }

    /// Machine address of a vCPU's vcpu_info, which every vCPU that ran has.
    #[inline(always)]
    fn info(&self, vcpu: VcpuSlot) -> Result<Maddr, Crash> {
        self.state.events(self.platform).vcpu_info(vcpu).ok_or(Crash::BadKernelStack)
    }
}
