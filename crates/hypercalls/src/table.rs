//! The table: number to handler.

use crate::call::{Call, Outcome};
use crate::{
    absent, assist, console_io, cpu_state, descriptors, grant_table, kexec, mca, memory_op, mmu_update,
    mmuext, multicall, physdev, platform_op, trap_table, va_mapping, version,
};
use crate::{event_channel, sched_op, vcpu_op};
use guest_memory::GuestMemory;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::hypercall as number;

/// Runs the hypercall `op` to an outcome; an errno becomes its result. `iret` is none of these: it has no
/// result, and the composition carries it out.
pub fn dispatch<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, op: u64) -> Outcome {
    let result = match op {
        number::MULTICALL => multicall::multicall(call),
        _ => return run(call, op),
    };
    result.unwrap_or_else(|errno| Outcome::Value(errno.to_result()))
}

/// Runs a hypercall that may also stand in a multicall.
pub(crate) fn run<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, op: u64) -> Outcome {
    let result = match op {
        number::MULTICALL => Err(Errno::EINVAL),
        number::MMU_UPDATE => mmu_update::mmu_update(call),
        number::UPDATE_VA_MAPPING_OTHERDOMAIN => va_mapping::of_other_domain(call),
        number::UPDATE_VA_MAPPING => va_mapping::update_va_mapping(call),
        number::MMUEXT_OP => mmuext::mmuext_op(call),
        number::STACK_SWITCH => cpu_state::stack_switch(call),
        number::SET_SEGMENT_BASE => cpu_state::set_segment_base(call),
        number::FPU_TASKSWITCH => cpu_state::fpu_taskswitch(call),
        number::SET_TRAP_TABLE => trap_table::set_trap_table(call),
        number::SET_GDT => descriptors::set_gdt(call),
        number::UPDATE_DESCRIPTOR => descriptors::update_descriptor(call),
        number::NMI_OP => trap_table::nmi_op(call),
        number::SET_CALLBACKS => trap_table::set_callbacks(call),
        number::CALLBACK_OP => trap_table::callback_op(call),
        number::SET_DEBUGREG => cpu_state::set_debugreg(call),
        number::GET_DEBUGREG => cpu_state::get_debugreg(call),
        number::VM_ASSIST => assist::vm_assist(call),
        number::EVENT_CHANNEL_OP => event_channel::event_channel_op(call),
        number::EVENT_CHANNEL_OP_COMPAT => event_channel::old_event_channel_op(call),
        number::SCHED_OP => sched_op::sched_op(call),
        number::VCPU_OP => vcpu_op::vcpu_op(call),
        number::SET_TIMER_OP => vcpu_op::set_timer_op(call),
        number::XEN_VERSION => version::xen_version(call),
        number::MEMORY_OP => memory_op::memory_op(call),
        number::CONSOLE_IO => console_io::console_io(call),
        number::PLATFORM_OP => platform_op::platform_op(call),
        number::GRANT_TABLE_OP => grant_table::grant_table_op(call),
        number::KEXEC_OP => kexec::kexec_op(call),
        number::ARCH_0 => mca::mca(call),
        number::PHYSDEV_OP => physdev::physdev_op(call),
        number::PHYSDEV_OP_COMPAT => physdev::old_physdev_op(call),
        _ => absent::refused(call, op),
    };
    result.unwrap_or_else(|errno| Outcome::Value(errno.to_result()))
}
