//! Entries that are no hypercalls: traps, emulated instructions, `iret`, interrupts.

use super::{CODE, Guest, KERNEL_CS, SS, next_deadline};
use crate::entry::{Entry, Write};
use crate::kernel;
use crate::world::World;
use ids::Mfn;
use pv_cpu::{Reg, vector};
use system::own_vector;
use xen_abi::hypercall;

const PROTECTION: u32 = 13;
const PAGE_FAULT: u32 = 14;

impl Guest {
    /// `iret` with a frame on the stack.
    pub(super) fn iret(&mut self, world: &World, entry: &mut Entry) {
        let context = world.system.state.contexts.context(self.vcpu);
        let user = (context.root_user.get() != Mfn(0) && self.r.chance(70)) || self.r.chance(1);
        let stack = kernel::stack(self.vcpu.0) - 128;
        let rip = if self.r.chance(1) {
            1 << 50
        } else if user {
            0x40_0000
        } else {
            CODE
        };
        let (cs, ss) = if user { (0x33, 0x2b) } else { (0xe030, 0xe028) };
        let flags = (0x200 * self.r.below(2)) | self.r.pick(&[2, 0x46, 0x3002]);
        let after = if user { 0x7f_0000 } else { kernel::stack(self.vcpu.0) };
        let frame = [self.r.next(), self.r.next(), self.r.next(), 0, rip, cs, flags, after, ss];
        let bytes = frame.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.args.writes.push(Write::Virtual(stack, bytes));
        entry.family = "iret";
        entry.vector = vector::SYSCALL;
        entry.error = hypercall::IRET as u32;
        let stack = if self.r.chance(1) { 0x1000 } else { stack };
        entry.registers.extend([
            (Reg::Rax, hypercall::IRET),
            (Reg::Rsp, stack),
            (Reg::Cs, KERNEL_CS),
            (Reg::Ss, SS),
        ]);
    }

    /// Puts an instruction where RIP points.
    fn instruction(&mut self, entry: &mut Entry, bytes: &[u8]) {
        let at = kernel::buffers(self.vcpu.0) + self.r.below(200) * 16;
        self.args.writes.push(Write::Virtual(at, bytes.to_vec()));
        entry.registers.push((Reg::Rip, at));
    }

    /// A write to a page table that is mapped read-only.
    pub(super) fn table_write(&mut self, world: &World, entry: &mut Entry) {
        let va = self.view.play_address(&mut self.r);
        let (at, address) = self.view.entry_of(va);
        let old = world.machine.memory.get(at);
        let new = match self.r.below(4) {
            0 => !(1 << self.r.pick(&[0, 1, 5, 6])),
            _ => self.view.entry(world, &mut self.r, 1),
        };
        let bytes: &[u8] = self.r.pick(&[
            &[0x48, 0x89, 0x07],
            &[0x48, 0x89, 0x07],
            &[0x48, 0x87, 0x07],
            &[0x48, 0x87, 0x07],
            &[0xf0, 0x48, 0x21, 0x07],
            &[0xf0, 0x48, 0x0f, 0xb1, 0x37],
            &[0xf0, 0x48, 0x0f, 0xba, 0x37, 0x01],
            &[0xc7, 0x07, 0, 0, 0, 0],
            &[0x90],
        ]);
        self.instruction(entry, bytes);
        entry.family = "page-table write";
        // XCHG, MOV and AND take RAX; CMPXCHG compares RAX with the entry and writes RSI.
        let compares = bytes.len() == 5;
        let rax = if compares && self.r.chance(80) { old } else { new };
        entry.registers.extend([(Reg::Rdi, address), (Reg::Rax, rax), (Reg::Rsi, new)]);
        entry.vector = PAGE_FAULT;
        entry.error = if self.r.chance(97) { 3 | 4 } else { 4 };
        entry.fault_address = Some(address);
    }

    /// An instruction of a kernel that faults and is emulated.
    pub(super) fn privileged(&mut self, _: &World, entry: &mut Entry) {
        entry.family = "privileged instruction";
        let forced = self.r.chance(20);
        let bytes: &[u8] = if forced {
            &[0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2]
        } else {
            self.r.pick(&[
                &[0x0f, 0x20, 0xc0],
                &[0x0f, 0x22, 0xc0],
                &[0x0f, 0x20, 0xd0],
                &[0x0f, 0x22, 0xd0],
                &[0x0f, 0x20, 0xd8],
                &[0x0f, 0x20, 0xe0],
                &[0x0f, 0x22, 0xe0],
                &[0x0f, 0x06],
                &[0x0f, 0x21, 0xc0],
                &[0x0f, 0x23, 0xc0],
                &[0x0f, 0x23, 0xf8],
                &[0x0f, 0x09],
                &[0x0f, 0x32],
                &[0x0f, 0x30],
                &[0x0f, 0x31],
                &[0x0f, 0xa2],
                &[0x0f, 0x01, 0xd1],
                &[0xec],
                &[0xee],
                &[0xe4, 0x70],
                &[0xfa],
                &[0xfb],
                &[0x6e],
                &[0xf4],
            ])
        };
        self.instruction(entry, bytes);
        let value = self.r.pick(&[0, 1, 7, 0x8005_0033, 0x8005_003b, 0x406f0, 0x40_0000]);
        let index = self.r.pick(&[
            0xc000_0080,
            0xc000_0100,
            0xc000_0101,
            0xc000_0102,
            0xc000_0103,
            0x1b,
            0x174,
            0x10,
        ]);
        entry.registers.extend([(Reg::Rax, value), (Reg::Rcx, if self.r.chance(80) { index } else { 0 })]);
        entry.registers.extend([(Reg::Rdx, self.r.pick(&[0, 0x71, 0x3f8, 0x80])), (Reg::Rsi, CODE)]);
        entry.vector = if forced { 6 } else { PROTECTION };
        entry.error = 0;
    }

    pub(super) fn kernel_trap(&mut self, entry: &mut Entry) {
        entry.family = "kernel trap";
        entry.vector = self.r.pick(&[0, 1, 3, 6, 7, 7, 13, 14, 14, 14, 16, 0x80]);
        if entry.vector == PROTECTION {
            entry.error = self.r.pick(&[0, 0x80 << 3 | 2, 3 << 3 | 2, 0x33]);
        } else if entry.vector == PAGE_FAULT {
            entry.error = self.r.pick(&[0, 2, 4, 6, 7, 0x14]);
            entry.fault_address = Some(self.r.pick(&[0, 0x1234, 0xffff_ffff_9000_0000, 1 << 46]));
        }
        self.bad_stack(entry);
    }

    pub(super) fn user_trap(&mut self, entry: &mut Entry) {
        self.kernel_trap(entry);
        entry.family = "user trap";
        if entry.vector == PAGE_FAULT {
            entry.error |= 4;
        }
    }

    /// Seldom a stack on which nothing can be pushed.
    fn bad_stack(&mut self, entry: &mut Entry) {
        if self.r.chance(1) {
            entry.registers.push((Reg::Rsp, self.r.pick(&[0, 0x1000, 0xffff_8000_0000_1000])));
        }
    }

    pub(super) fn interrupt(&mut self, world: &World, entry: &mut Entry) {
        entry.family = "interrupt";
        if let Some(deadline) = next_deadline(world, entry.cpu)
            && self.r.chance(70)
        {
            entry.advance = deadline.saturating_sub(world.machine.now.get());
            entry.vector = own_vector::TIMER.into();
        } else {
            let devices: Vec<u8> = world.system.device_vectors().collect();
            let device = if devices.is_empty() { 0x30 } else { self.r.pick(&devices) };
            let own = [own_vector::TIMER, own_vector::KICK, own_vector::SPURIOUS, 0x30, device, device];
            entry.vector = self.r.pick(&own).into();
        }
    }
}
