//! Hypercalls about devices, their interrupts and the wall clock.

use super::Guest;
use crate::pci;
use crate::world::{GSIS, World};
use xen_abi::platform::XENPF_INTERFACE_VERSION;
use xen_abi::xen::DOMID_SELF;

impl Guest {
    /// A name of an interrupt: few, so that they are in use.
    pub(super) fn pirq(&mut self) -> u32 {
        self.r.pick(&[4, 5, 6, 7, 9, 16, 24, 25, 26])
    }

    pub(super) fn device_call(&mut self, world: &World) -> [u64; 5] {
        const OPS: [u64; 28] = [
            4, 5, 6, 6, 7, 8, 9, 10, 12, 12, 12, 13, 13, 13, 13, 14, 14, 17, 21, 21, 23, 25, 26, 28, 29, 30,
            88, 13,
        ];
        let op = self.r.pick(&OPS);
        let at = match op {
            6 => {
                let level = self.r.below(5) as u32;
                self.args.halves(&mut self.r, &[level])
            }
            7 => {
                let words = [self.args.room(&mut self.r, 4096), self.r.pick(&[0, 1024, 65536, 70000])];
                self.args.words(&mut self.r, &words)
            }
            12 => {
                let name = self.pirq();
                self.args.halves(&mut self.r, &[name])
            }
            13 => self.map_pirq(),
            14 => {
                // Messages have the highest numbers.
                let last = world.system.state.dom0_pirqs() - 1;
                let name = if self.r.chance(70) { last - self.r.below(6) as u32 } else { self.pirq() };
                let words = [u32::from(DOMID_SELF), name];
                self.args.halves(&mut self.r, &words)
            }
            17 | 28 => {
                let frame = self.control_frame(world);
                self.args.words(&mut self.r, &[frame])
            }
            21 => {
                let shape = self.r.below(4) as u32;
                let words = [self.r.below(u64::from(GSIS) + 2) as u32, shape & 1 | (shape & 2) << 7];
                self.args.halves(&mut self.r, &words)
            }
            _ => {
                let words: Vec<u32> = (0..8).map(|_| self.r.below(20) as u32).collect();
                self.args.halves(&mut self.r, &words)
            }
        };
        [op, at, 0, 0, 0]
    }

    /// A pin, or a message of a device with or without a table of them.
    fn map_pirq(&mut self) -> u64 {
        let kind = self.r.pick(&[0, 0, 3, 3, 1, 1, 2, 4]);
        let wanted = if self.r.chance(70) { u32::MAX } else { self.pirq() };
        let pin = self.r.below(u64::from(GSIS)) as u32;
        let device = u32::from(pci::FIRST) + self.r.below(2) as u32;
        let memory = pci::MEMORY.0 as u32;
        let table = self.r.pick(&[0, memory, memory + 0x1000, memory + 0x2000, 0x1000]);
        let entry = self.r.below(3) as u32;
        let words = [u32::from(DOMID_SELF), kind, pin, wanted, 0, device, entry, 0, table, 0];
        self.args.halves(&mut self.r, &words)
    }

    /// `XENPF_settime32`, `XENPF_settime64`: the wall clock.
    pub(super) fn set_time(&mut self, world: &World) -> u64 {
        const VERSION: u64 = XENPF_INTERFACE_VERSION as u64;
        let (seconds, now) = (self.r.below(1 << 31), world.machine.now.get());
        let nanoseconds = self.r.below(1_000_000_000);
        let mut words = [0; 17];
        let said = if self.r.chance(50) {
            [17 | VERSION << 32, seconds | nanoseconds << 32, now, 0]
        } else {
            [62 | VERSION << 32, seconds, nanoseconds, now]
        };
        words[..4].copy_from_slice(&said);
        self.args.words(&mut self.r, &words)
    }
}
