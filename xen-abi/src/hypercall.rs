//! Hypercall numbers (`xen.h`, `arch-x86/xen-mca.h`).

use crate::constants::constants;

constants! {
    /// Hypercall numbers, as found in RAX.
    HYPERCALLS: u64;
    /// Replaces virtual IDT entries.
    SET_TRAP_TABLE = 0, "__HYPERVISOR_set_trap_table";
    /// Applies a batch of page-table or M2P writes.
    MMU_UPDATE = 1, "__HYPERVISOR_mmu_update";
    /// Sets the guest's GDT frames.
    SET_GDT = 2, "__HYPERVISOR_set_gdt";
    /// Sets the kernel stack used on entry from guest user mode.
    STACK_SWITCH = 3, "__HYPERVISOR_stack_switch";
    /// Registers event, failsafe and syscall entry points (old form of `callback_op`).
    SET_CALLBACKS = 4, "__HYPERVISOR_set_callbacks";
    /// Sets or clears the virtual CR0.TS.
    FPU_TASKSWITCH = 5, "__HYPERVISOR_fpu_taskswitch";
    /// Old form of `sched_op`.
    SCHED_OP_COMPAT = 6, "__HYPERVISOR_sched_op_compat";
    /// Platform control by the hardware domain.
    PLATFORM_OP = 7, "__HYPERVISOR_platform_op";
    /// Writes a debug register.
    SET_DEBUGREG = 8, "__HYPERVISOR_set_debugreg";
    /// Reads a debug register.
    GET_DEBUGREG = 9, "__HYPERVISOR_get_debugreg";
    /// Writes one descriptor of a GDT or LDT frame.
    UPDATE_DESCRIPTOR = 10, "__HYPERVISOR_update_descriptor";
    /// Memory reservation and mapping.
    MEMORY_OP = 12, "__HYPERVISOR_memory_op";
    /// Runs a list of hypercalls.
    MULTICALL = 13, "__HYPERVISOR_multicall";
    /// Writes the L1 entry of one linear address.
    UPDATE_VA_MAPPING = 14, "__HYPERVISOR_update_va_mapping";
    /// Sets the vCPU's one-shot timer (old form).
    SET_TIMER_OP = 15, "__HYPERVISOR_set_timer_op";
    /// Old form of `event_channel_op`.
    EVENT_CHANNEL_OP_COMPAT = 16, "__HYPERVISOR_event_channel_op_compat";
    /// Version and feature queries.
    XEN_VERSION = 17, "__HYPERVISOR_xen_version";
    /// Emergency console input and output.
    CONSOLE_IO = 18, "__HYPERVISOR_console_io";
    /// Old form of `physdev_op`.
    PHYSDEV_OP_COMPAT = 19, "__HYPERVISOR_physdev_op_compat";
    /// Grant-table operations.
    GRANT_TABLE_OP = 20, "__HYPERVISOR_grant_table_op";
    /// Enables or disables an assist.
    VM_ASSIST = 21, "__HYPERVISOR_vm_assist";
    /// `update_va_mapping` with a frame of another domain.
    UPDATE_VA_MAPPING_OTHERDOMAIN = 22, "__HYPERVISOR_update_va_mapping_otherdomain";
    /// Returns from an exception, taking its frame from the stack.
    IRET = 23, "__HYPERVISOR_iret";
    /// vCPU life cycle, timers and registered areas.
    VCPU_OP = 24, "__HYPERVISOR_vcpu_op";
    /// Sets the FS or GS base.
    SET_SEGMENT_BASE = 25, "__HYPERVISOR_set_segment_base";
    /// Extended page-table operations.
    MMUEXT_OP = 26, "__HYPERVISOR_mmuext_op";
    /// Security-module operations.
    XSM_OP = 27, "__HYPERVISOR_xsm_op";
    /// Registers an NMI handler.
    NMI_OP = 28, "__HYPERVISOR_nmi_op";
    /// Yield, block, poll and shutdown.
    SCHED_OP = 29, "__HYPERVISOR_sched_op";
    /// Registers entry points.
    CALLBACK_OP = 30, "__HYPERVISOR_callback_op";
    /// OProfile support.
    XENOPROF_OP = 31, "__HYPERVISOR_xenoprof_op";
    /// Event-channel operations.
    EVENT_CHANNEL_OP = 32, "__HYPERVISOR_event_channel_op";
    /// Physical interrupts and PCI devices.
    PHYSDEV_OP = 33, "__HYPERVISOR_physdev_op";
    /// HVM parameters and services.
    HVM_OP = 34, "__HYPERVISOR_hvm_op";
    /// System control by the toolstack.
    SYSCTL = 35, "__HYPERVISOR_sysctl";
    /// Domain control by the toolstack.
    DOMCTL = 36, "__HYPERVISOR_domctl";
    /// Crash and kexec images.
    KEXEC_OP = 37, "__HYPERVISOR_kexec_op";
    /// Transcendent memory (removed).
    TMEM_OP = 38, "__HYPERVISOR_tmem_op";
    /// Argo message passing.
    ARGO_OP = 39, "__HYPERVISOR_argo_op";
    /// Performance-counter virtualisation.
    XENPMU_OP = 40, "__HYPERVISOR_xenpmu_op";
    /// Device-model operations.
    DM_OP = 41, "__HYPERVISOR_dm_op";
    /// Hypervisor file system.
    HYPFS_OP = 42, "__HYPERVISOR_hypfs_op";
    /// First number of the architecture's range; on x86 machine-check operations.
    ARCH_0 = 48, "__HYPERVISOR_arch_0";
    /// Architecture's second number; on x86 a continuation of paging domctls.
    ARCH_1 = 49, "__HYPERVISOR_arch_1";
    /// Architecture's third number, unused on x86.
    ARCH_2 = 50, "__HYPERVISOR_arch_2";
    /// Architecture's fourth number, unused on x86.
    ARCH_3 = 51, "__HYPERVISOR_arch_3";
    /// Architecture's fifth number, unused on x86.
    ARCH_4 = 52, "__HYPERVISOR_arch_4";
    /// Architecture's sixth number, unused on x86.
    ARCH_5 = 53, "__HYPERVISOR_arch_5";
    /// Architecture's seventh number, unused on x86.
    ARCH_6 = 54, "__HYPERVISOR_arch_6";
    /// Architecture's eighth number, unused on x86.
    ARCH_7 = 55, "__HYPERVISOR_arch_7";
}

/// The name of a hypercall without its prefix, such as "memory_op".
#[must_use]
pub fn name(number: u64) -> Option<&'static str> {
    crate::constants::name_of(HYPERCALLS, number)?.strip_prefix("__HYPERVISOR_")
}
