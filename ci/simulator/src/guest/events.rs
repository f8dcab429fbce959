//! Hypercalls on event channels.

use super::{Guest, HyperCall};
use crate::entry::Write;
use crate::world::World;
use ids::Mfn;
use xen_abi::hypercall;
use xen_abi::xen::DOMID_SELF;

impl Guest {
    /// A port: few, so that they are in use.
    fn port(&mut self) -> u32 {
        if self.r.chance(3) {
            self.r.pick(&[0, 4095, 131_072, u32::MAX, 200, 70])
        } else {
            self.r.below(14) as u32
        }
    }

    fn vcpu_number(&mut self) -> u32 {
        if self.r.chance(4) {
            self.r.pick(&[7, 128, u32::MAX])
        } else {
            self.r.below(self.started.len() as u64) as u32
        }
    }

    pub(super) fn event_channel_op(&mut self, world: &World) -> HyperCall {
        let own = u32::from(DOMID_SELF);
        let op =
            self.r.pick(&[4, 4, 4, 4, 0, 1, 2, 3, 3, 5, 6, 6, 7, 7, 8, 9, 9, 10, 11, 11, 12, 12, 13, 77]);
        let at = match op {
            0 => {
                let words = [own, self.port(), 0];
                self.args.halves(&mut self.r, &words)
            }
            1 => {
                let words = [self.r.pick(&[0, 0, 1, 2, 7, 8, 13, 23, 30]), self.vcpu_number(), 0];
                self.args.halves(&mut self.r, &words)
            }
            2 => {
                let words = [self.pirq(), self.r.below(2) as u32, 0];
                self.args.halves(&mut self.r, &words)
            }
            6 => self.args.halves(&mut self.r, &[own | own << 16, 0]),
            7 | 8 => {
                let words = if op == 7 { [self.vcpu_number(), 0] } else { [self.port(), self.vcpu_number()] };
                self.args.halves(&mut self.r, &words)
            }
            5 => {
                let words = [own, self.port(), 0, 0, 0, 0];
                self.args.halves(&mut self.r, &words)
            }
            10 if self.r.chance(85) => self.args.halves(&mut self.r, &[0x1234, 0]),
            10 => self.args.halves(&mut self.r, &[own, 0]),
            11 => {
                let frame = self.control_frame(world);
                let words = [
                    frame as u32,
                    (frame >> 32) as u32,
                    self.r.pick(&[0, 64, 128, 4090]),
                    self.vcpu_number(),
                    0,
                    0,
                ];
                self.args.halves(&mut self.r, &words)
            }
            12 => {
                let frame = self.control_frame(world);
                self.args.words(&mut self.r, &[frame])
            }
            13 => {
                let words = [self.port(), self.r.below(18) as u32];
                self.args.halves(&mut self.r, &words)
            }
            _ => {
                let words = [self.port(), 0, 0];
                self.args.halves(&mut self.r, &words)
            }
        };
        HyperCall::new(hypercall::EVENT_CHANNEL_OP, [op, at, 0, 0, 0])
    }

    /// A frame to share with the hypervisor: cleared if nobody uses it.
    pub(super) fn control_frame(&mut self, world: &World) -> u64 {
        match self.view.unused(world, &mut self.r) {
            Some(frame) if self.r.chance(85) => {
                self.args.writes.push(Write::Clear(Mfn(frame)));
                frame
            }
            _ => self.view.frame(world, &mut self.r),
        }
    }
}
