//! Hypercalls on vCPUs and processor state, and the small families.

use super::{Guest, HyperCall};
use crate::kernel::{self, HANDLERS};
use crate::world::World;
use xen_abi::hypercall;
use xen_abi::xen::DOMID_SELF;

impl Guest {
    /// A handler's address.
    pub(super) fn handler(&mut self) -> u64 {
        if self.r.chance(2) { 1 << 47 } else { HANDLERS + self.r.below(64) * 16 }
    }

    /// A time soon to come, or past.
    fn time(&mut self, world: &World) -> u64 {
        let now = world.machine.now.get();
        self.r.pick(&[0, 1, now, now + 10_000, now + 100_000, now + 3_000_000, now.wrapping_sub(5), u64::MAX])
    }

    pub(super) fn vcpu_op(&mut self, world: &World) -> HyperCall {
        let others = self.started.len() as u64 - 1;
        let op = self.r.pick(&[1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 10, 10, 11, 12, 13, 0, 50]);
        let mut id = if self.r.chance(60) { self.vcpu.0.into() } else { self.r.below(others + 2) };
        if op == 2 && (id == 0 || self.r.chance(70)) {
            id = others;
        }
        let at = match op {
            0 => {
                let kind = self.r.below(3);
                self.args.words(&mut self.r, &[0, 0, kind])
            }
            5 | 13 => {
                let area = self.args.room(&mut self.r, 64);
                self.args.words(&mut self.r, &[area])
            }
            6 => {
                let period = self.r.pick(&[0, 10_000_000]);
                self.args.words(&mut self.r, &[period])
            }
            8 => {
                let words = [self.time(world), self.r.below(2)];
                self.args.words(&mut self.r, &words)
            }
            10 => {
                let words = [self.control_frame(world), self.r.pick(&[0, 64, 1024, 4040])];
                self.args.words(&mut self.r, &words)
            }
            _ => self.args.room(&mut self.r, 64),
        };
        HyperCall::new(hypercall::VCPU_OP, [op, id, at, 0, 0])
    }

    pub(super) fn sched_op(&mut self, world: &World) -> HyperCall {
        let op = self.r.pick(&[0, 0, 0, 1, 1, 3, 3, 3, 6, 6, 7, 7, 5, 4, 2, 60]);
        let at = match op {
            2 if self.r.chance(60) => 0x1000,
            2 | 5 => {
                let why = self.r.pick(&[0, 1, 2, 3, 4]);
                self.args.halves(&mut self.r, &[why])
            }
            3 => {
                let ports: Vec<u32> = (0..1 + self.r.below(3)).map(|_| self.r.below(14) as u32).collect();
                let list = self.args.halves(&mut self.r, &ports);
                let words = [list, ports.len() as u64, self.time(world)];
                self.args.words(&mut self.r, &words)
            }
            4 => {
                let whom = if self.r.chance(80) { 9 } else { 0 };
                self.args.halves(&mut self.r, &[whom, 0])
            }
            6 => {
                let words = [self.r.below(4) as u32, self.r.pick(&[0, 1, 100, 100])];
                self.args.halves(&mut self.r, &words)
            }
            // `SCHEDOP_pin_override`: to a CPU, or back.
            // Only where it is not promised anyhow who runs where.
            7 if world.size.cpus == 1 || world.size.vcpus > world.size.cpus => {
                let cpu = self.r.pick(&[-1, -1, 0, 1, 3, 9]);
                self.args.halves(&mut self.r, &[cpu as u32])
            }
            _ => self.args.halves(&mut self.r, &[u32::MAX]),
        };
        HyperCall::new(hypercall::SCHED_OP, [op, at, 0, 0, 0])
    }

    /// The families of few lines.
    pub(super) fn cpu_call(&mut self, world: &World) -> HyperCall {
        let number = self.r.pick(&[
            hypercall::SET_TRAP_TABLE,
            hypercall::SET_CALLBACKS,
            hypercall::CALLBACK_OP,
            hypercall::STACK_SWITCH,
            hypercall::SET_SEGMENT_BASE,
            hypercall::SET_SEGMENT_BASE,
            hypercall::FPU_TASKSWITCH,
            hypercall::SET_DEBUGREG,
            hypercall::GET_DEBUGREG,
            hypercall::VM_ASSIST,
            hypercall::SET_TIMER_OP,
            hypercall::SET_TIMER_OP,
            hypercall::XEN_VERSION,
            hypercall::CONSOLE_IO,
            hypercall::PHYSDEV_OP,
            hypercall::PHYSDEV_OP,
            hypercall::PHYSDEV_OP,
            hypercall::NMI_OP,
            hypercall::PLATFORM_OP,
            hypercall::UPDATE_VA_MAPPING_OTHERDOMAIN,
            hypercall::EVENT_CHANNEL_OP_COMPAT,
        ]);
        let args = match number {
            hypercall::SET_TRAP_TABLE => [self.traps(), 0, 0, 0, 0],
            hypercall::SET_CALLBACKS => [self.handler(), self.handler(), self.handler(), 0, 0],
            hypercall::CALLBACK_OP => {
                let kind = self.r.pick(&[0, 1, 2, 4, 5, 7, 3, 6]);
                let words = [kind | self.r.below(2) << 16, self.handler()];
                [self.r.pick(&[0, 0, 0, 1, 2]), self.args.words(&mut self.r, &words), 0, 0, 0]
            }
            hypercall::STACK_SWITCH => [0xe02b, kernel::stack(self.vcpu.0), 0, 0, 0],
            hypercall::SET_SEGMENT_BASE => {
                [self.r.below(5), self.r.pick(&[0, 0x7000, 0xffff_ffff_8100_0000, 1 << 50]), 0, 0, 0]
            }
            hypercall::FPU_TASKSWITCH => [self.r.below(2), 0, 0, 0, 0],
            hypercall::SET_DEBUGREG | hypercall::GET_DEBUGREG => [
                self.r.below(9),
                self.r.pick(&[0, 0x401, 0x40_0000, 0xffff_8000_0000_0000, 0xffff_0ff0]),
                0,
                0,
                0,
            ],
            hypercall::VM_ASSIST => [self.r.below(3), self.r.pick(&[0, 2, 3, 4, 5, 31]), 0, 0, 0],
            hypercall::SET_TIMER_OP => [self.time(world), 0, 0, 0, 0],
            hypercall::XEN_VERSION => [self.r.below(12), self.args.room(&mut self.r, 1100), 0, 0, 0],
            hypercall::CONSOLE_IO => {
                let len = self.r.pick(&[0, 5, 64, 300, 1500]);
                let text: Vec<u8> =
                    (0..len).map(|i| if i % 40 == 39 { b'\n' } else { b'a' + (i % 26) as u8 }).collect();
                [self.r.pick(&[0, 0, 0, 1, 2]), len, self.args.bytes(&mut self.r, &text), 0, 0]
            }
            hypercall::PHYSDEV_OP => self.device_call(world),
            hypercall::NMI_OP => {
                let callback = [self.handler()];
                [self.r.below(3), self.args.words(&mut self.r, &callback), 0, 0, 0]
            }
            hypercall::PLATFORM_OP => [self.set_time(world), 0, 0, 0, 0],
            hypercall::UPDATE_VA_MAPPING_OTHERDOMAIN => {
                let [va, value, flags, ..] = self.update_va_mapping(world).args;
                [va, value, flags, DOMID_SELF.into(), 0]
            }
            hypercall::EVENT_CHANNEL_OP_COMPAT => {
                let port = self.r.below(14) as u32;
                let words = [self.r.pick(&[3, 4, 4, 5, 9]), port, 0, 0, 0, 0, 0];
                [self.args.halves(&mut self.r, &words), 0, 0, 0, 0]
            }
            _ => [0; 5],
        };
        HyperCall::new(number, args)
    }

    /// A trap table with handlers for most vectors, or nothing at all.
    pub(super) fn traps(&mut self) -> u64 {
        if self.r.chance(2) {
            return 0;
        }
        let mut words = Vec::new();
        for vector in [0_u64, 1, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 16, 17, 19, 0x80] {
            let flags =
                if vector == 3 || vector == 4 || vector == 0x80 { 3 } else { 0 } | self.r.below(2) << 2;
            words.extend([vector | flags << 8 | 0xe033 << 16, self.handler()]);
        }
        words.extend([0, 0]);
        self.args.words(&mut self.r, &words)
    }
}
