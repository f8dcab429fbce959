//! Exceptions of a guest: emulate what the ABI promises, reflect the rest.

use crate::System;
use crate::applier::Applier;
use crate::platform::Platform;
use core::cell::Cell;
use emulate::ptwr::{self, Plain};
use emulate::{Gpr, RegisterUpdate, Registers};
use frames::Owner;
use hypercalls::Crash;
use ids::{Gva, Maddr, VcpuSlot};
use pv_cpu::{Context, Mode, Reg, set_register};
use pv_mmu::{AdBits, MmuError, Subject, walk};
use vault::{Effect, Journal, Tx, kind};
use xen_abi::trace::{TRC_PV_EMULATE_PRIVOP, TRC_PV_FORCED_INVALID_OP};

/// Page-fault error bits (AMD64 manual volume 2, 8.4.2).
mod error {
    pub(super) const PRESENT: u32 = 1;
    pub(super) const WRITE: u32 = 2;
    pub(super) const USER: u32 = 4;
    pub(super) const RESERVED: u32 = 8;
}

/// A page fault's error code: it came from user mode.
pub const USER_ERROR: u32 = error::USER;
/// `arch.cr2` within `vcpu_info`.
pub const INFO_CR2: u64 = 16;

/// Exception vectors.
mod exception {
    pub(super) const DEBUG: u8 = 1;
    pub(super) const NMI: u8 = 2;
    pub(super) const INVALID_OPCODE: u8 = 6;
    pub(super) const NO_DEVICE: u8 = 7;
    pub(super) const PROTECTION: u8 = 13;
    pub(super) const PAGE_FAULT: u8 = 14;
    pub(super) const MACHINE_CHECK: u8 = 18;
}

type Journaled<P> = Journal<Applier<P>>;

impl<P: Platform> System<P> {
    pub(crate) fn exception(
        &'static self,
        j: &mut Journaled<P>,
        vcpu: VcpuSlot,
        context: &'static Context,
        vector: u8,
    ) -> Result<(), Crash> {
        let code = context.registers.error_code.get();
        match vector {
            exception::PROTECTION => match self.enter_swiftly(vcpu, context) {
                // As at its first run, if this is another.
                Some(done) => done,
                None => self.protection_fault(j, vcpu, context, code),
            },
            exception::INVALID_OPCODE => {
                let rip = context.registers.get(Reg::Rip);
                if self.forced_emulation(j, vcpu, context) {
                    self.note_address(TRC_PV_FORCED_INVALID_OP, rip);
                    return Ok(());
                }
                self.reflect(vcpu, context, vector, 0)
            }
            exception::NO_DEVICE => self.device_not_available(j, vcpu, context),
            exception::DEBUG => {
                // What the processor said of it is kept as its error code.
                let status = u64::from(code);
                j.change(|tx| tx.set(&context.debug[6], status));
                self.reflect(vcpu, context, vector, 0)
            }
            exception::NMI | exception::MACHINE_CHECK => Ok(()),
            _ => self.reflect(vcpu, context, vector, code),
        }
    }

    /// On whose behalf a guest's own page-table writes are checked.
    pub(crate) fn own_subject(&self, vcpu: VcpuSlot) -> Subject {
        let slot = self.state.domains.vcpu(vcpu).domain.get();
        let owner = Owner::domain(slot);
        Subject { tables: owner, leaves: owner, io: self.state.domains.domain(slot).privileged.get() }
    }

    /// A page fault whose address is kept.
    pub(crate) fn page_fault(
        &'static self,
        j: &mut Journaled<P>,
        vcpu: VcpuSlot,
        context: &'static Context,
    ) -> Result<(), Crash> {
        if let Some(done) = self.plain_page_fault(vcpu, context) {
            return done;
        }
        let address = Gva(context.fault_address.get());
        if self.write_to_table(j, vcpu, context, address) {
            return Ok(());
        }
        let code = context.registers.error_code.get() & !error::USER;
        self.reflect_page_fault(vcpu, context, address, code)
    }

    /// A page fault that cannot be a kernel's write to a page table: the kernel gets it. `None`: it may be one.
    #[inline(always)]
    pub(crate) fn plain_page_fault(
        &'static self,
        vcpu: VcpuSlot,
        context: &'static Context,
    ) -> Option<Result<(), Crash>> {
        let code = context.registers.error_code.get();
        let table_write =
            code & (error::PRESENT | error::WRITE | error::RESERVED) == error::PRESENT | error::WRITE;
        let code = match context.mode() {
            Mode::Kernel if table_write => return None,
            Mode::Kernel => code & !error::USER,
            Mode::User => code | error::USER,
        };
        Some(self.reflect_page_fault(vcpu, context, Gva(context.fault_address.get()), code))
    }

    /// Reflects a page fault with its address in vcpu_info.
    pub(crate) fn reflect_page_fault(
        &'static self,
        vcpu: VcpuSlot,
        context: &'static Context,
        address: Gva,
        code: u32,
    ) -> Result<(), Crash> {
        if let Some(info) = self.state.events(self.platform).vcpu_info(vcpu) {
            // The word is the guest's from the moment of the fault.
            self.platform.store64(Maddr(info.0 + INFO_CR2), address.0);
        }
        self.reflect(vcpu, context, exception::PAGE_FAULT, code)
    }

    /// A write to a page that is mapped read-only because it is a page table, or some device memory: emulate it,
    /// checked.
    fn write_to_table(
        &'static self,
        j: &mut Journaled<P>,
        vcpu: VcpuSlot,
        context: &'static Context,
        address: Gva,
    ) -> bool {
        let subject = self.own_subject(vcpu);
        let Some(mapping) = walk(self.platform, context.root_kernel.get(), address) else { return false };
        let mmu = self.state.mmu(self.platform);
        if !mapping.pte.is_present() || mapping.writable {
            return false;
        }
        if !mmu.is_live_l1(mapping.pte.mfn(), subject) {
            return self.write_to_device(j, vcpu, context, address, mapping.pte.mfn());
        }
        let at = Maddr(mapping.pte.mfn().maddr().0 + (address.0 & 0xff8));
        let rip = context.registers.get(Reg::Rip);
        let result = match self.plain_write(context, address) {
            Some(write) => self.write_plainly(j, subject, context, at, write),
            None => self.write_by_decoding(j, subject, context, (at, address)),
        };
        if self.state.traces.is_on() && result.is_ok() {
            self.note_table_write(at, address, rip);
        }
        result.is_ok()
    }

    /// A kernel's write of a page-table entry in a form that is told by its bytes.
    #[inline(always)]
    fn plain_write(&self, context: &Context, address: Gva) -> Option<Plain> {
        let bytes = self.platform.read::<[u8; 8]>(Gva(context.registers.get(Reg::Rip))).ok()?;
        ptwr::plain(bytes, |gpr| context.registers.get(Reg::HARDWARE[gpr.number()]), address)
    }

    #[inline(always)]
    fn write_plainly(
        &'static self,
        j: &mut Journaled<P>,
        subject: Subject,
        context: &'static Context,
        at: Maddr,
        Plain { value, receives }: Plain,
    ) -> Result<(), MmuError> {
        let rip = context.registers.get(Reg::Rip).wrapping_add(ptwr::PLAIN_LENGTH);
        let ad = if receives.is_some() { AdBits::Exact } else { AdBits::Replace };
        let found = Cell::new(0);
        let rewrite = |old| {
            found.set(old);
            Some(value)
        };
        let done = self.state.mmu(self.platform).update_leaf(j, at, ad, subject, rewrite, |tx| {
            match receives {
                Some(gpr) => retire(tx, rip, gpr, found.get()),
                None => set_register(tx, Reg::Rip, rip),
            }
            tx.last();
        });
        tried(done)
    }

    /// Any other form. A function of its own: what it finds out is not to be found out for the plain ones.
    #[inline(never)]
    fn write_by_decoding(
        &'static self,
        j: &mut Journaled<P>,
        subject: Subject,
        context: &'static Context,
        (at, address): (Maddr, Gva),
    ) -> Result<(), MmuError> {
        let mut bytes = [0; emulate::MAX_INSTRUCTION_LENGTH];
        let length = self.fetch(context, &mut bytes);
        let registers = self.registers(context, &bytes[..length]);
        let operation = ptwr::decode(&bytes[..length], &registers, address).map_err(|_| MmuError::Invalid)?;
        let ad = if operation.is_store() { AdBits::Replace } else { AdBits::Exact };
        let after = Cell::new(None);
        let rewrite = |old| {
            let outcome = operation.evaluate(old, &registers);
            after.set(Some(outcome.registers));
            outcome.write.map(|write| write.new)
        };
        let done = self.state.mmu(self.platform).update_leaf(j, at, ad, subject, rewrite, |tx| {
            if let Some(after) = after.get() {
                publish(tx, context, &after);
            }
            tx.last();
        });
        tried(done)
    }

    fn protection_fault(
        &'static self,
        j: &mut Journaled<P>,
        vcpu: VcpuSlot,
        context: &'static Context,
        code: u32,
    ) -> Result<(), Crash> {
        // An `int n` without a gate for ring 3 arrives here: bit 1 says IDT, the vector follows.
        if code & 7 == 2 {
            let vector = (code >> 3) as u8;
            let trap = &context.traps[usize::from(vector)];
            let allowed = context.mode() == Mode::Kernel || trap.flags.get() & 3 == 3;
            if allowed && trap.address.get().0 != 0 {
                let mut to = pv_cpu::trap_bounce(context, vector, 0).ok_or(Crash::Unhandled(vector))?;
                to.error = None;
                to.rip = to.rip.wrapping_add(2);
                return self.bounce_to(vcpu, context, &to);
            }
        } else if code == 0 {
            let rip = context.registers.get(Reg::Rip);
            if self.emulate_privileged(j, vcpu, context) {
                self.note_address(TRC_PV_EMULATE_PRIVOP, rip);
                return Ok(());
            }
        }
        self.reflect(vcpu, context, exception::PROTECTION, code)
    }

    /// #NM: the guest set CR0.TS; it clears by being reported.
    fn device_not_available(
        &'static self,
        j: &mut Journaled<P>,
        vcpu: VcpuSlot,
        context: &'static Context,
    ) -> Result<(), Crash> {
        if context.task_switched.get() {
            j.change(|tx| {
                tx.set(&context.task_switched, false);
                pv_cpu::synchronise(tx, pv_cpu::sync::CONTROL);
            });
        }
        self.reflect(vcpu, context, exception::NO_DEVICE, 0)
    }

    /// The instruction bytes at RIP, as many as can be read.
    pub(crate) fn fetch(&self, context: &Context, bytes: &mut [u8; 15]) -> usize {
        let rip = context.registers.get(Reg::Rip);
        if self.platform.copy_in(Gva(rip), bytes).is_ok() {
            return bytes.len();
        }
        let in_page = (4096 - (rip & 0xfff)).min(15) as usize;
        if self.platform.copy_in(Gva(rip), &mut bytes[..in_page]).is_ok() { in_page } else { 0 }
    }

    /// The registers as the emulator wants them for an instruction.
    #[inline(always)]
    pub(crate) fn registers(&self, context: &Context, instruction: &[u8]) -> Registers {
        let based = emulate::names_segment(instruction);
        let base = |which| if based { self.platform.base(which) } else { 0 };
        Registers {
            gpr: context.registers.general(),
            rip: context.registers.get(Reg::Rip),
            rflags: context.registers.get(Reg::Rflags),
            fs_base: base(crate::Base::Fs),
            gs_base: base(crate::Base::Gs),
        }
    }
}

/// Publishes what an emulated instruction did to the registers.
#[inline(always)]
pub(crate) fn publish(tx: &mut Tx<'_>, context: &Context, update: &RegisterUpdate) {
    set_register(tx, Reg::Rip, update.rip);
    if update.rflags != context.registers.get(Reg::Rflags) {
        set_register(tx, Reg::Rflags, update.rflags);
    }
    for write in update.gprs.iter().flatten() {
        set_register(tx, Reg::HARDWARE[write.gpr.number()], write.value);
    }
}

/// Publishes the end of an instruction that gives one register a value.
#[inline(always)]
fn retire(tx: &mut Tx<'_>, rip: u64, gpr: Gpr, value: u64) {
    let register = Reg::HARDWARE[gpr.number()] as u32;
    tx.publish(Effect { kind: kind::RETIRE, x: register, a: rip, b: value });
}

/// What was cut runs again by itself: the guest's instruction does.
fn tried(result: Result<(), MmuError>) -> Result<(), MmuError> {
    if result == Err(MmuError::Preempted) { Ok(()) } else { result }
}
