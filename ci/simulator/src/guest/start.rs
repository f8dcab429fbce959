//! What a kernel does first on each vCPU.

use super::{Guest, HyperCall};
use crate::kernel::{self, HANDLERS};
use crate::world::World;
use ids::VcpuSlot;
use pv_cpu::Reg;
use xen_abi::arch::VcpuGuestContext;
use xen_abi::hypercall;
use zerocopy::{FromZeros, IntoBytes};

impl Guest {
    /// The next hypercall of this vCPU's start, if that is not over.
    pub(super) fn start_call(&mut self, world: &World) -> Option<HyperCall> {
        let step = self.started.get_mut(self.vcpu.0 as usize)?;
        *step += 1;
        let step = *step;
        let first = self.vcpu == VcpuSlot(0);
        match step {
            1 => Some(HyperCall::new(hypercall::SET_TRAP_TABLE, [self.traps(), 0, 0, 0, 0])),
            2 => {
                let callbacks = [HANDLERS, HANDLERS + 16, HANDLERS + 32, 0, 0];
                Some(HyperCall::new(hypercall::SET_CALLBACKS, callbacks))
            }
            3 => {
                let stack = kernel::stack(self.vcpu.0);
                Some(HyperCall::new(hypercall::STACK_SWITCH, [0xe02b, stack, 0, 0, 0]))
            }
            4 | 5 => {
                let id = self.vcpu.0;
                let at = self.args.halves(&mut self.r, &if step == 4 { [0, id, 0] } else { [id, 0, 0] });
                let op = if step == 4 { 1 } else { 7 };
                Some(HyperCall::new(hypercall::EVENT_CHANNEL_OP, [op, at, 0, 0, 0]))
            }
            // Each other vCPU is initialised, then taken up.
            6.. if first && step < 4 + 2 * self.started.len() as u32 => {
                let (other, op) = ((step - 4) / 2, step % 2);
                let at = if op == 0 { self.context(world, other) } else { 0 };
                Some(HyperCall::new(hypercall::VCPU_OP, [op.into(), other.into(), at, 0, 0]))
            }
            _ => None,
        }
    }

    /// A context for another vCPU, in this one's buffers.
    fn context(&mut self, world: &World, vcpu: u32) -> u64 {
        let mut context = VcpuGuestContext::new_zeroed();
        let own = world.system.state.contexts.context(self.vcpu);
        // VGCF_in_kernel.
        context.flags = 1 << 2;
        let words = [
            (Reg::Rip, kernel::ENTRY),
            (Reg::Cs, 0xe033),
            (Reg::Rflags, 0x200),
            (Reg::Rsp, kernel::stack(vcpu)),
            (Reg::Ss, 0xe02b),
        ];
        context.user_regs.rip = words[0].1;
        context.user_regs.cs = words[1].1 as u16;
        context.user_regs.rflags = words[2].1;
        context.user_regs.rsp = words[3].1;
        context.user_regs.ss = words[4].1 as u16;
        context.kernel_ss = 0xe02b;
        context.kernel_sp = kernel::stack(vcpu);
        context.ctrlreg[3] = own.root_kernel.get().maddr().0;
        context.event_callback_eip = HANDLERS;
        context.failsafe_callback_eip = HANDLERS + 16;
        context.syscall_callback_eip = HANDLERS + 32;
        self.args.bytes(&mut self.r, context.as_bytes())
    }
}
