//! The table: number to handler.

use crate::call::{Call, CallResult, Outcome};
use crate::{
    absent, assist, console_io, cpu_state, descriptors, domctl, grant_table, hypfs, kexec, mca, memory_op,
    mmu_update, mmuext, multicall, physdev, platform_op, sysctl, trap_table, va_mapping, version,
};
use crate::{event_channel, sched_op, vcpu_op};
use core::marker::PhantomData;
use guest_memory::GuestMemory;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::hypercall as number;

/// Runs the hypercall `op` to an outcome; an errno becomes its result. `iret` is none of these: it has no
/// result, and the composition carries it out.
pub fn dispatch<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, op: u64) -> Outcome {
    match op {
        number::MULTICALL => outcome(multicall::multicall(call)),
        _ => run(call, op),
    }
}

/// A hypercall's handler. By pointer: it is a function of its own, not a part of one with the stack of all.
type Handler<M, A> = fn(&mut Call<'_, M, A>) -> CallResult;

/// Numbers up to here may have a handler.
const NUMBERS: usize = 64;

/// All handlers, by number.
struct Handlers<M, A>(PhantomData<(M, A)>);

impl<M: GuestMemory + 'static, A: Apply> Handlers<M, A> {
    const LIST: [(u64, Handler<M, A>); 33] = [
        (number::MMU_UPDATE, mmu_update::mmu_update),
        (number::UPDATE_VA_MAPPING_OTHERDOMAIN, va_mapping::of_other_domain),
        (number::UPDATE_VA_MAPPING, va_mapping::update_va_mapping),
        (number::MMUEXT_OP, mmuext::mmuext_op),
        (number::STACK_SWITCH, cpu_state::stack_switch),
        (number::SET_SEGMENT_BASE, cpu_state::set_segment_base),
        (number::FPU_TASKSWITCH, cpu_state::fpu_taskswitch),
        (number::SET_TRAP_TABLE, trap_table::set_trap_table),
        (number::SET_GDT, descriptors::set_gdt),
        (number::UPDATE_DESCRIPTOR, descriptors::update_descriptor),
        (number::NMI_OP, trap_table::nmi_op),
        (number::SET_CALLBACKS, trap_table::set_callbacks),
        (number::CALLBACK_OP, trap_table::callback_op),
        (number::SET_DEBUGREG, cpu_state::set_debugreg),
        (number::GET_DEBUGREG, cpu_state::get_debugreg),
        (number::VM_ASSIST, assist::vm_assist),
        (number::EVENT_CHANNEL_OP, event_channel::event_channel_op),
        (number::EVENT_CHANNEL_OP_COMPAT, event_channel::old_event_channel_op),
        (number::SCHED_OP, sched_op::sched_op),
        (number::VCPU_OP, vcpu_op::vcpu_op),
        (number::SET_TIMER_OP, vcpu_op::set_timer_op),
        (number::XEN_VERSION, version::xen_version),
        (number::MEMORY_OP, memory_op::memory_op),
        (number::CONSOLE_IO, console_io::console_io),
        (number::SYSCTL, sysctl::sysctl),
        (number::DOMCTL, domctl::domctl),
        (number::PLATFORM_OP, platform_op::platform_op),
        (number::GRANT_TABLE_OP, grant_table::grant_table_op),
        (number::KEXEC_OP, kexec::kexec_op),
        (number::HYPFS_OP, hypfs::hypfs_op),
        (number::ARCH_0, mca::mca),
        (number::PHYSDEV_OP, physdev::physdev_op),
        (number::PHYSDEV_OP_COMPAT, physdev::old_physdev_op),
    ];

    const TABLE: [Option<Handler<M, A>>; NUMBERS] = {
        let mut table: [Option<Handler<M, A>>; NUMBERS] = [None; NUMBERS];
        let mut index = 0;
        while index < Self::LIST.len() {
            table[Self::LIST[index].0 as usize] = Some(Self::LIST[index].1);
            index += 1;
        }
        table
    };
}

/// Runs a hypercall that may also stand in a multicall.
pub(crate) fn run<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, op: u64) -> Outcome {
    let handlers: &[Option<Handler<M, A>>; NUMBERS] = &const { Handlers::TABLE };
    match handlers.get(op as usize) {
        Some(Some(handler)) => outcome(handler(call)),
        _ => without_handler(call, op),
    }
}

#[cold]
#[inline(never)]
fn without_handler<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, op: u64) -> Outcome {
    if op == number::MULTICALL {
        return Outcome::Value(Errno::EINVAL.to_result());
    }
    outcome(absent::refused(call, op))
}

fn outcome(result: CallResult) -> Outcome {
    result.unwrap_or_else(|errno| Outcome::Value(errno.to_result()))
}
