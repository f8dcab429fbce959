//! The last steps: page tables in use, vCPU 0 ready to run.

use super::{BuildError, Builder, SLOT, VCPU0};
use domains::{Life, VcpuState};
use frames::Owner;
use guest_loader::page_tables;
use guest_memory::GuestMemory;
use pv_cpu::{Context, FRESH, Mode, Reg, vector};
use pv_mmu::{MmuError, Subject};
use vault::{Apply, Journal};
use xen_abi::arch::{FLAT_RING3_CS64, FLAT_RING3_SS64};

/// Interrupt flag, and bit 1, which is always set.
const RFLAGS: u64 = 1 << 9 | 1 << 1;
/// DR6 and DR7 after a reset (AMD64 manual volume 2, 14.1.3).
const DR6_RESET: u64 = 0xffff_0ff0;
const DR7_RESET: u64 = 0x400;
/// XCR0 after a reset: x87 state alone.
const XCR0_RESET: u64 = 1;

impl<M: GuestMemory + 'static, A: Apply> Builder<'_, M, A> {
    /// Validates the page tables as if the guest had made and pinned them. Their root is held by vCPU 0, and
    /// by a pin that the guest drops once it has tables of its own.
    pub(super) fn validate_page_tables(&mut self) -> Result<(), BuildError> {
        let no_root = BuildError::Defect("it has no page tables");
        let (root, _) = page_tables::tables(self.plan).next().ok_or(no_root)?;
        let root = self.runs.machine(root)?;
        let owner = Owner::domain(SLOT);
        let subject = Subject { tables: owner, leaves: owner, io: true };
        let context = self.state.contexts.context(VCPU0);
        let mmu = self.state.mmu(self.memory);
        loop {
            let validated = mmu.get_table(self.j, root, 4, subject, None, &mut |tx| {
                tx.set(&context.root_kernel, root);
                mmu.show_m2p(tx, root);
                Ok(())
            });
            match validated {
                Ok(()) => break,
                Err(MmuError::Preempted) => self.go_on()?,
                Err(_) => return Err(BuildError::Defect("its page tables are refused")),
            }
        }
        let pinned = mmu.pin(self.j, root, 4, subject, |_| ());
        pinned.map_err(|_| BuildError::Defect("its root table is refused as a pinned one"))
    }

    /// Whether more transactions are allowed.
    fn go_on(&mut self) -> Result<(), BuildError> {
        Journal::spend(self.j).map_err(|_| BuildError::Defect("it takes more transactions than are allowed"))
    }

    /// Gives vCPU 0 its registers and makes it runnable: Dom0 is alive.
    pub(super) fn set_context(&mut self) -> Result<(), BuildError> {
        let context = self.state.contexts.context(VCPU0);
        self.set_registers(context);
        let (timers, now) = (self.state.timers(), self.inputs.now);
        let domain = self.state.domains.domain(SLOT);
        let vcpu = self.state.domains.vcpu(VCPU0);
        let done = self.j.transaction(|tx| {
            context.set_mode(Mode::Kernel);
            tx.set(&context.xcr0, XCR0_RESET);
            tx.set(&context.debug[6], DR6_RESET);
            tx.set(&context.debug[7], DR7_RESET);
            tx.set(&vcpu.initialised, true);
            timers.set_runstate(tx, VCPU0, timers::State::Runnable, now)?;
            vcpu.set_state(tx, VcpuState::Runnable);
            domain.set_life(tx, Life::Alive);
            Ok(())
        });
        done.map_err(|_: timers::Error| BuildError::Defect("its vCPU 0 is refused"))
    }

    fn set_registers(&self, context: &Context) {
        let registers = &context.registers;
        for register in Reg::HARDWARE {
            registers.set(register, 0);
        }
        registers.set(Reg::Rip, self.plan.entry);
        registers.set(Reg::Rsp, self.plan.stack_top());
        registers.set(Reg::Rsi, self.plan.start_info.start);
        registers.set(Reg::Rflags, RFLAGS);
        registers.set(Reg::Cs, FLAT_RING3_CS64.into());
        registers.set(Reg::Ss, FLAT_RING3_SS64.into());
        registers.error_code.set(0);
        registers.vector.set(vector::NONE);
        context.fs_base.set(0);
        for base in &context.gs_base {
            base.set(0);
        }
        for selector in &context.selectors {
            selector.set(0);
        }
        context.gs_mode.set(Mode::Kernel as u8);
        context.fpu_saved.set(FRESH);
    }
}
