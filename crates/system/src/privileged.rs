//! Privileged instructions of a guest's kernel, and port I/O of those who may.

use crate::System;
use crate::applier::Applier;
use crate::faults::{INFO_CR2, publish};
use crate::platform::Platform;
use cpu_policy::{Dynamic, Via, control};
use emulate::privop::{self, Instruction};
use emulate::{Gpr, RegisterUpdate, Registers};
use ids::{Gva, VcpuSlot};
use privop::PrivOp;
use pv_cpu::{Context, Mode, sync, synchronise};
use vault::{Journal, Tx};

/// Bits of CR0 that a guest sees set: PE, MP, ET, NE, WP, AM, PG.
const CR0_SHOWN: u64 = 0x8005_0033;
const CR0_TS: u64 = 1 << 3;
/// Bits of CR4 that a guest sees whatever it wrote: PAE, OSFXSR, OSXMMEXCPT.
const CR4_SHOWN: u64 = 1 << 5 | 1 << 9 | 1 << 10;

/// What an instruction does when it is allowed.
enum Done {
    /// These registers change.
    Registers(RegisterUpdate),
    /// Published and committed already.
    Committed,
    /// It faults, as it would for anybody without the right.
    Fault,
}

impl<P: Platform> System<P> {
    /// Emulates the instruction at RIP that raised #GP. False: it is for the guest to handle.
    pub(crate) fn emulate_privileged(
        &'static self,
        j: &mut Journal<Applier<P>>,
        vcpu: VcpuSlot,
        context: &'static Context,
    ) -> bool {
        let mut bytes = [0; 15];
        let length = self.fetch(context, &mut bytes);
        let registers = self.registers(context, &bytes[..length]);
        let Ok(instruction) = privop::decode(&bytes[..length], &registers) else { return false };
        let done = match instruction.op {
            PrivOp::In { .. } | PrivOp::Out { .. } | PrivOp::Ins(_) | PrivOp::Outs(_) => {
                self.port_io(vcpu, context, &instruction, &registers)
            }
            PrivOp::Cli | PrivOp::Sti => {
                // The upcall mask is the guest's interrupt flag; these do nothing where they may be used.
                if self.may_io(context) { Some(instruction.done(&registers)) } else { None }
            }
            // It faults where the processor has that, in every mode.
            PrivOp::Cpuid { .. } => {
                let done = instruction.done(&registers);
                Some(self.cpuid(vcpu, context, &registers, done, Via::Faulting))
            }
            _ if context.mode() != Mode::Kernel => None,
            _ => match self.kernel_instruction(j, vcpu, context, &instruction, &registers) {
                Done::Registers(update) => Some(update),
                Done::Committed => return true,
                Done::Fault => None,
            },
        };
        let Some(update) = done else { return false };
        j.change(|tx| {
            publish(tx, context, &update);
            tx.last();
        });
        true
    }

    fn kernel_instruction(
        &'static self,
        j: &mut Journal<Applier<P>>,
        vcpu: VcpuSlot,
        context: &'static Context,
        instruction: &Instruction,
        registers: &Registers,
    ) -> Done {
        let done = instruction.done(registers);
        match instruction.op {
            PrivOp::Rdmsr { index } => match self.read_msr(vcpu, context, index) {
                Some(value) => Done::Registers(done.with_edx_eax(value)),
                None => Done::Fault,
            },
            PrivOp::Wrmsr { index, value } => self.write_msr(j, vcpu, context, index, value, &done),
            PrivOp::ReadCr { number, destination } => match self.read_control(context, vcpu, number) {
                Some(value) => Done::Registers(done.with(destination, value)),
                None => Done::Fault,
            },
            PrivOp::WriteCr { number, value } => self.write_control(j, vcpu, context, (number, value), &done),
            PrivOp::Clts => commit(j, &done, |tx| {
                tx.set(&context.task_switched, false);
                synchronise(tx, sync::CONTROL);
            }),
            PrivOp::ReadDr { number, destination } => {
                match control::debug_register(number, context.cr4.get()) {
                    Some(n) => Done::Registers(done.with(destination, context.debug[usize::from(n)].get())),
                    None => Done::Fault,
                }
            }
            PrivOp::WriteDr { number, value } => self.write_debug(j, context, (number, value), &done),
            PrivOp::Wbinvd | PrivOp::Wbnoinvd | PrivOp::Invd => {
                // Only who drives devices has caches to care for.
                if self.own_subject(vcpu).io {
                    self.platform.write_back_caches();
                }
                Done::Registers(done)
            }
            PrivOp::Xsetbv { index, value } => {
                match control::write_xcr(index, value, &self.policy_of(vcpu)) {
                    Ok(value) => commit(j, &done, |tx| {
                        tx.set(&context.xcr0, value);
                        synchronise(tx, sync::CONTROL);
                    }),
                    Err(_) => Done::Fault,
                }
            }
            PrivOp::Rdtsc => Done::Registers(done.with_edx_eax(self.platform.tsc())),
            PrivOp::Rdtscp => Done::Registers(
                done.with_edx_eax(self.platform.tsc()).with(Gpr::RCX, context.tsc_aux.get().into()),
            ),
            _ => Done::Fault,
        }
    }

    /// The forced-emulation prefix: CPUID that the hypervisor answers. False: a real invalid opcode.
    pub(crate) fn forced_emulation(
        &'static self,
        j: &mut Journal<Applier<P>>,
        vcpu: VcpuSlot,
        context: &'static Context,
    ) -> bool {
        let mut bytes = [0; 15];
        let length = self.fetch(context, &mut bytes);
        let registers = self.registers(context, &bytes[..length]);
        let Ok(instruction) = privop::decode_forced(&bytes[..length], &registers) else { return false };
        let done = instruction.done(&registers);
        let update = self.cpuid(vcpu, context, &registers, done, Via::ForcedEmulation);
        j.change(|tx| {
            publish(tx, context, &update);
            tx.last();
        });
        true
    }

    fn cpuid(
        &self,
        vcpu: VcpuSlot,
        context: &Context,
        registers: &Registers,
        done: RegisterUpdate,
        via: Via,
    ) -> RegisterUpdate {
        let leaf = registers.gpr[Gpr::RAX.number()] as u32;
        let subleaf = registers.gpr[Gpr::RCX.number()] as u32;
        let dynamic = Dynamic {
            via,
            guest_kernel: context.mode() == Mode::Kernel,
            guest_cr4: context.cr4.get(),
            hypervisor_osxsave: true,
            xcr0: context.xcr0.get(),
        };
        let answer = self.policy_of(vcpu).query(leaf, subleaf, &dynamic, &self.leaves);
        done.with_cpuid(answer.eax, answer.ebx, answer.ecx, answer.edx)
    }

    fn read_control(&self, context: &Context, vcpu: VcpuSlot, number: u8) -> Option<u64> {
        let ts = if context.task_switched.get() { CR0_TS } else { 0 };
        match number {
            0 => Some(CR0_SHOWN | ts),
            2 => {
                let info = self.state.events(self.platform).vcpu_info(vcpu)?;
                Some(self.platform.load64(ids::Maddr(info.0 + INFO_CR2)))
            }
            3 => Some(context.root_kernel.get().maddr().0),
            4 => Some(CR4_SHOWN | context.cr4.get()),
            _ => None,
        }
    }

    fn write_control(
        &'static self,
        j: &mut Journal<Applier<P>>,
        vcpu: VcpuSlot,
        context: &'static Context,
        (number, value): (u8, u64),
        done: &RegisterUpdate,
    ) -> Done {
        match number {
            0 => {
                let now = CR0_SHOWN | if context.task_switched.get() { CR0_TS } else { 0 };
                match control::write_cr0(now, value) {
                    Ok(ts) => commit(j, done, |tx| {
                        tx.set(&context.task_switched, ts);
                        synchronise(tx, sync::CONTROL);
                    }),
                    Err(_) => Done::Fault,
                }
            }
            2 => {
                let Some(info) = self.state.events(self.platform).vcpu_info(vcpu) else { return Done::Fault };
                self.platform.store64(ids::Maddr(info.0 + INFO_CR2), value);
                Done::Registers(*done)
            }
            4 => {
                let allowed = control::write_cr4(CR4_SHOWN | context.cr4.get(), value, &self.policy_of(vcpu));
                commit(j, done, |tx| {
                    tx.set(&context.cr4, allowed & !CR4_SHOWN);
                    synchronise(tx, sync::CONTROL);
                })
            }
            _ => Done::Fault,
        }
    }

    fn write_debug(
        &'static self,
        j: &mut Journal<Applier<P>>,
        context: &'static Context,
        (number, value): (u8, u64),
        done: &RegisterUpdate,
    ) -> Done {
        let Some(number) = control::debug_register(number, context.cr4.get()) else { return Done::Fault };
        let checked = match number {
            6 => Ok(control::write_dr6(value)),
            7 => control::write_dr7(value, context.cr4.get()).map(|dr7| dr7.value),
            _ => control::write_breakpoint(value),
        };
        match checked {
            Ok(value) => commit(j, done, |tx| {
                tx.set(&context.debug[usize::from(number)], value);
                synchronise(tx, sync::DEBUG);
            }),
            Err(_) => Done::Fault,
        }
    }

    fn write_msr(
        &'static self,
        j: &mut Journal<Applier<P>>,
        vcpu: VcpuSlot,
        context: &'static Context,
        index: u32,
        value: u64,
        done: &RegisterUpdate,
    ) -> Done {
        match self.msr_write_effect(vcpu, context, index, value) {
            Some(change) => commit(j, done, |tx| change.publish(tx, context)),
            None => Done::Fault,
        }
    }

    /// Whether port instructions and `cli` are allowed at the guest's I/O privilege level.
    pub(crate) fn may_io(&self, context: &Context) -> bool {
        let needed = if context.mode() == Mode::Kernel { 1 } else { 3 };
        context.iopl.get() >= needed
    }

    /// Whether the guest's own I/O bitmap allows `width` ports from `port`. It is the kernel's, and read by its page
    /// tables: a process that asks has others.
    pub(crate) fn bitmap_allows(&self, context: &Context, port: u16, width: u32) -> bool {
        let (ports, bitmap) = (context.io_ports.get(), context.io_bitmap.get().0);
        (u32::from(port)..u32::from(port) + width).all(|p| {
            let at = bitmap.wrapping_add(u64::from(p / 8));
            let mapping = pv_mmu::walk(self.platform, context.root_kernel.get(), Gva(at));
            let page = mapping.filter(|m| m.pte.is_present()).map(|m| m.pte.mfn());
            let page = page.filter(|mfn| {
                self.state.frames.frame(*mfn).is_some_and(|f| f.usage().owner().slot().is_some())
            });
            let byte = page.map(|mfn| self.platform.load8(ids::Maddr(mfn.maddr().0 + at % ids::FRAME_SIZE)));
            p < ports && byte.is_some_and(|byte| byte & 1 << (p % 8) == 0)
        })
    }
}

/// Commits `change` together with the registers; the entry ends with it.
fn commit<P: Platform>(
    j: &mut Journal<Applier<P>>,
    done: &RegisterUpdate,
    change: impl FnOnce(&mut Tx<'static>),
) -> Done {
    let context = j.apply.context;
    j.change(|tx| {
        change(tx);
        publish(tx, context, done);
        tx.last();
    });
    Done::Committed
}
