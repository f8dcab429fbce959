//! A guest that does anything a guest may, from a seed.

mod args;
mod calls;
mod control;
mod devices;
mod domains;
mod events;
mod grants;
mod memory;
mod multicall;
mod start;
mod tables;
mod traps;
mod view;

use crate::entry::{Entry, Write};
use crate::kernel::{self, ENTRY};
use crate::random::Random;
use crate::world::World;
use args::Args;
use guest_memory::GuestMemory as _;
use ids::{DomainSlot, Maddr, VcpuSlot};
use pv_cpu::{Mode, Reg, vector};
use system::own_vector;
use view::View;
use xen_abi::hypercall;

/// A hypercall: number and arguments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HyperCall {
    number: u64,
    args: [u64; 5],
}

impl HyperCall {
    fn new(number: u64, args: [u64; 5]) -> Self {
        Self { number, args }
    }
}

/// The guest on all its vCPUs.
#[derive(Debug)]
pub struct Guest {
    r: Random,
    view: View,
    args: Args,
    vcpu: VcpuSlot,
    started: Vec<u32>,
    /// A table entry of the kernel's, and the table of leaves that it names for a while.
    linked: Option<(u64, u64)>,
    /// It does little else but use grants, as each fourth seed's guest.
    grants: bool,
    /// It makes and ends domains, as each fourth seed's guest.
    domains: bool,
}

/// When a CPU's timer goes off, if it does: time that takes centuries does not pass.
fn next_deadline(world: &World, cpu: u32) -> Option<u64> {
    let deadline = world.machine.cpus.borrow()[cpu as usize].timer;
    (deadline < 1 << 62).then_some(deadline)
}

/// RIP of ordinary code.
const CODE: u64 = ENTRY + 0x100;
const KERNEL_CS: u64 = 0xe033;
const SS: u64 = 0xe02b;

impl Guest {
    /// A guest that knows its freshly built memory.
    pub fn new(world: &World, seed: u64) -> Self {
        let mut r = Random::new(seed);
        let view = View::new(world);
        let args = Args::new(0, view.l1_at, &mut r);
        let started = vec![0; world.size.vcpus as usize];
        Self {
            r,
            view,
            args,
            vcpu: VcpuSlot(0),
            started,
            linked: None,
            grants: seed % 4 == 3,
            domains: seed % 4 == 2,
        }
    }

    /// The next entry on a CPU whose loaded vCPU runs.
    pub fn next(&mut self, world: &World, cpu: u32, vcpu: VcpuSlot) -> Entry {
        let mut entry = self.any_entry(world, cpu, vcpu);
        let timer = world.machine.cpus.borrow()[cpu as usize].timer;
        let left = timer.saturating_sub(world.machine.now.get());
        if left == 0 {
            // The interrupt comes before the guest's next instruction.
            entry.vector = own_vector::TIMER.into();
            (entry.error, entry.family, entry.advance) = (0, "interrupt", 0);
        } else if entry.vector != u32::from(own_vector::TIMER) {
            entry.advance = entry.advance.min(left - 1);
        }
        entry
    }

    fn any_entry(&mut self, world: &World, cpu: u32, vcpu: VcpuSlot) -> Entry {
        self.vcpu = vcpu;
        self.args = Args::new(vcpu.0, self.view.l1_at, &mut self.r);
        let context = world.system.state.contexts.context(vcpu);
        let (fpu, advance) = (self.r.next(), self.r.below(20_000));
        let mut entry = Entry { cpu, vcpu: Some(vcpu), fpu, advance, ..Entry::default() };
        self.plain_registers(&mut entry, context.mode());
        if context.mode() == Mode::User {
            self.user_entry(world, &mut entry);
        } else {
            self.handle_events(world);
            match self.start_call(world) {
                Some(call) => self.call_entry(&mut entry, call, "start"),
                None => self.kernel_entry(world, &mut entry),
            }
        }
        entry.writes = std::mem::take(&mut self.args.writes);
        entry
    }

    /// The interrupt that wakes a sleeping CPU, if one comes.
    pub fn wake(&mut self, world: &World, cpu: u32) -> Option<Entry> {
        let kicked = world.machine.devices.borrow().kicked[cpu as usize];
        let now = world.machine.now.get();
        let entry = Entry { cpu, family: "idle", ..Entry::default() };
        if kicked {
            Some(Entry { idle: Some(own_vector::KICK), ..entry })
        } else {
            let advance = next_deadline(world, cpu)?.saturating_sub(now);
            Some(Entry { idle: Some(own_vector::TIMER), advance, ..entry })
        }
    }

    fn plain_registers(&mut self, entry: &mut Entry, mode: Mode) {
        let stack = kernel::stack(self.vcpu.0) - self.r.below(8) * 8;
        let random = Reg::HARDWARE.into_iter().map(|reg| (reg, self.r.next() & 0xffff_ffff));
        entry.registers.extend(random.collect::<Vec<_>>());
        let user = mode == Mode::User;
        entry.registers.extend([
            (Reg::Rip, if user { 0x40_0000 + self.r.below(4096) } else { CODE + self.r.below(256) }),
            (Reg::Cs, KERNEL_CS),
            (Reg::Rflags, 0x202 | self.r.pick(&[0, 1, 0x40, 0x400, 0x100, 0x4_0000])),
            (Reg::Rsp, if user { 0x7f_0000 + self.r.below(4096) } else { stack }),
            (Reg::Ss, SS),
        ]);
    }

    /// What a kernel does in its event handler: takes the bits, allows further events.
    fn handle_events(&mut self, world: &World) {
        let events = world.system.state.events(world.machine);
        let Some(info) = events.vcpu_info(self.vcpu) else { return };
        let upcall = events.upcall_state(self.vcpu);
        if !upcall.masked && self.r.chance(97) || upcall.masked && self.r.chance(50) {
            return;
        }
        let shared = world.system.state.domains.domain(DomainSlot(0)).shared_info.get().maddr().0;
        let selector = world.machine.load64(Maddr(info.0 + 8));
        self.args.writes.push(Write::Byte(info, 0));
        self.args.writes.push(Write::Word(Maddr(info.0 + 8), 0));
        for word in (0..64).filter(|word| selector >> word & 1 != 0) {
            // evtchn_pending lies behind 32 vcpu_infos of 64 bytes.
            self.args.writes.push(Write::Word(Maddr(shared + 2048 + 8 * word), 0));
        }
        if self.r.chance(20) {
            let word = if self.r.chance(50) { 0 } else { self.r.next() };
            self.args.writes.push(Write::Word(Maddr(shared + 2560), word));
        }
        self.args.writes.push(Write::Byte(Maddr(info.0 + 1), u8::from(self.r.chance(10))));
    }

    fn call_entry(&mut self, entry: &mut Entry, call: HyperCall, family: &'static str) {
        entry.family = family;
        entry.vector = vector::SYSCALL;
        entry.error = call.number as u32;
        entry.registers.push((Reg::Rax, call.number));
        let registers = [Reg::Rdi, Reg::Rsi, Reg::Rdx, Reg::R10, Reg::R8];
        entry.registers.extend(registers.into_iter().zip(call.args));
    }

    fn kernel_entry(&mut self, world: &World, entry: &mut Entry) {
        match self.r.below(100) {
            0..=69 => {
                let call = self.any_call(world);
                let name = hypercall::name(call.number).unwrap_or("unknown");
                self.call_entry(entry, call, name);
            }
            70..=75 => {
                let call = self.multicall(world);
                self.call_entry(entry, call, "multicall");
            }
            76..=80 => self.iret(world, entry),
            81..=88 => self.table_write(world, entry),
            89..=91 => self.privileged(world, entry),
            92..=95 => self.kernel_trap(entry),
            _ => self.interrupt(world, entry),
        }
    }

    fn user_entry(&mut self, world: &World, entry: &mut Entry) {
        match self.r.below(10) {
            0..=4 => {
                entry.family = "system call";
                entry.vector = vector::SYSCALL;
                entry.error = self.r.below(400) as u32;
                match self.r.below(10) {
                    0 | 1 => entry.registers.push((Reg::Cs, 0xe023)),
                    2 => {
                        entry.vector = vector::SYSENTER;
                        entry.registers.extend([(Reg::Rip, 0), (Reg::Cs, 3), (Reg::Rsp, 0)]);
                    }
                    _ => {}
                }
            }
            5..=7 => self.user_trap(entry),
            _ => self.interrupt(world, entry),
        }
    }

    /// A hypercall of any family that may stand in a multicall.
    fn any_call(&mut self, world: &World) -> HyperCall {
        if self.grants && self.r.chance(85) {
            return self.grant_table_op(world);
        }
        if self.domains && self.r.chance(60) {
            return self.domain_call(world);
        }
        match self.r.below(100) {
            0..=13 => self.mmu_update(world),
            14..=23 => self.update_va_mapping(world),
            24..=41 => self.mmuext(world),
            42..=44 => self.set_gdt(world),
            45..=46 => self.update_descriptor(world),
            47..=59 => self.memory_op(world),
            60..=75 => self.event_channel_op(world),
            76..=81 => self.vcpu_op(world),
            82..=84 => self.sched_op(world),
            85..=86 => self.scheduler_call(world),
            87..=93 => self.grant_table_op(world),
            _ => self.cpu_call(world),
        }
    }
}
