//! Port I/O of guests.

use crate::System;
use crate::platform::Platform;
use emulate::privop::{self, Instruction};
use emulate::{Gpr, RegisterUpdate, Registers, Width};
use ids::{Gva, VcpuSlot};
use privop::PrivOp;
use pv_cpu::Context;

/// String elements one entry moves at most.
const MAX_ELEMENTS: u64 = 64;

/// What an access to a port means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// The device itself.
    Direct,
    /// Reads as all ones, writes are dropped.
    Hidden,
    /// The interval timer: its channel 2 is Dom0's, and that channel's gate.
    Timer,
}

/// The interval timer (Intel's 8254, "Programming the 82C54"): channels, control word.
const CHANNEL_0: u16 = 0x40;
const CHANNEL_2: u16 = 0x42;
const CONTROL: u16 = 0x43;
/// The gate of channel 2, the speaker, and the machine's NMIs (ICH9 datasheet, 13.7.1).
const GATE: u16 = 0x61;
/// In it: gate and speaker; and what silences NMIs, which is the hypervisor's. The other bits are written as 0.
const GATE_AND_SPEAKER: u32 = 3;
const SILENCED: u32 = 0xc;

/// What of a control word concerns channel 2 alone; `None`: nothing.
fn control_word(value: u32) -> Option<u32> {
    const READ_BACK: u32 = 3;
    const READ_BACK_2: u32 = 1 << 3;
    const READ_BACK_OTHERS: u32 = 3 << 1;
    match value >> 6 & 3 {
        2 => Some(value),
        READ_BACK if value & READ_BACK_2 != 0 => Some(value & !READ_BACK_OTHERS),
        _ => None,
    }
}

/// The bytes of a width.
fn bytes(width: Width) -> u32 {
    width.bytes() as u32
}

impl<P: Platform> System<P> {
    /// Emulates a port instruction. `None`: the guest has no right to it and gets #GP.
    pub(crate) fn port_io(
        &self,
        vcpu: VcpuSlot,
        context: &Context,
        instruction: &Instruction,
        registers: &Registers,
    ) -> Option<RegisterUpdate> {
        let (port, width) = match instruction.op {
            PrivOp::In { port, width } | PrivOp::Out { port, width, .. } => (port, width),
            PrivOp::Ins(io) | PrivOp::Outs(io) => (io.port, io.width),
            _ => return None,
        };
        if !self.may_io(context) && !self.bitmap_allows(context, port, bytes(width)) {
            return None;
        }
        let access = self.access(vcpu, port, bytes(width));
        let done = instruction.done(registers);
        Some(match instruction.op {
            PrivOp::In { .. } => {
                let value = self.read_port(access, port, bytes(width));
                let rax = registers.gpr[Gpr::RAX.number()];
                done.with(Gpr::RAX, privop::merge_in(rax, width, value))
            }
            PrivOp::Out { value, .. } => {
                self.write_port(access, port, bytes(width), value);
                done
            }
            PrivOp::Ins(io) | PrivOp::Outs(io) => {
                let input = matches!(instruction.op, PrivOp::Ins(_));
                let moved = self.string_io(access, &io, input);
                io.advance(registers, instruction.length, moved)
            }
            _ => return None,
        })
    }

    fn string_io(&self, access: Access, io: &privop::StringIo, input: bool) -> u64 {
        let width = bytes(io.width);
        let count = io.count.min(MAX_ELEMENTS);
        for index in 0..count {
            let step = u64::from(width) * index;
            let at =
                Gva(if io.backward { io.address.wrapping_sub(step) } else { io.address.wrapping_add(step) });
            let mut raw = [0; 4];
            let element = &mut raw[..width as usize];
            if input {
                let value = self.read_port(access, io.port, width).to_le_bytes();
                element.copy_from_slice(&value[..width as usize]);
                if self.platform.copy_out(at, element).is_err() {
                    return index;
                }
            } else {
                if self.platform.copy_in(at, element).is_err() {
                    return index;
                }
                self.write_port(access, io.port, width, u32::from_le_bytes(raw));
            }
        }
        count
    }

    fn read_port(&self, access: Access, port: u16, width: u32) -> u32 {
        match access {
            Access::Direct => self.platform.port_in(port, width),
            Access::Timer if port != CONTROL => self.platform.port_in(port, width),
            Access::Hidden | Access::Timer => u32::MAX >> (32 - 8 * width),
        }
    }

    fn write_port(&self, access: Access, port: u16, width: u32, value: u32) {
        let value = match (access, port) {
            (Access::Hidden, _) => None,
            (Access::Direct, _) => self.filter_port(port, width, value),
            (Access::Timer, CONTROL) => control_word(value),
            (Access::Timer, GATE) => {
                Some(self.platform.port_in(GATE, 1) & SILENCED | value & GATE_AND_SPEAKER)
            }
            (Access::Timer, _) => Some(value),
        };
        if let Some(value) = value {
            self.platform.port_out(port, width, value);
        }
    }

    /// Dom0 has every port but those the hypervisor drives itself: interrupt controllers, two channels of the interval
    /// timer, its console and the ACPI timer. The third channel is Dom0's, as on Xen: Linux measures its clock by it.
    fn access(&self, vcpu: VcpuSlot, port: u16, width: u32) -> Access {
        if !self.own_subject(vcpu).io {
            return Access::Hidden;
        }
        if width == 1 && matches!(port, CHANNEL_2 | CONTROL | GATE) {
            return Access::Timer;
        }
        let last = u32::from(port) + width - 1;
        let touches = |first: u32, end: u32| u32::from(port) <= end && last >= first;
        let timer = (CHANNEL_0.into(), CONTROL.into());
        let hidden = [(0x20, 0x21), (0xa0, 0xa1), timer, (GATE.into(), GATE.into())]
            .into_iter()
            .any(|(first, end)| touches(first, end))
            || (port..=last as u16).any(|p| self.platform.owns_port(p));
        if hidden { Access::Hidden } else { Access::Direct }
    }
}
