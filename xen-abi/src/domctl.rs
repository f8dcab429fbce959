//! Control of one domain (`domctl.h`), interface version 0x15 (Xen 4.17).

mod build;
mod members;
mod processor;
mod state;

pub use build::*;
pub use members::*;
pub use processor::*;
pub use state::*;

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Values of [`Domctl::cmd`].
    XEN_DOMCTLS: u32;
    /// Command: createdomain.
    XEN_DOMCTL_CREATEDOMAIN = 1, "XEN_DOMCTL_createdomain";
    /// Command: destroydomain.
    XEN_DOMCTL_DESTROYDOMAIN = 2, "XEN_DOMCTL_destroydomain";
    /// Command: pausedomain.
    XEN_DOMCTL_PAUSEDOMAIN = 3, "XEN_DOMCTL_pausedomain";
    /// Command: unpausedomain.
    XEN_DOMCTL_UNPAUSEDOMAIN = 4, "XEN_DOMCTL_unpausedomain";
    /// Command: getdomaininfo.
    XEN_DOMCTL_GETDOMAININFO = 5, "XEN_DOMCTL_getdomaininfo";
    /// Command: setvcpuaffinity.
    XEN_DOMCTL_SETVCPUAFFINITY = 9, "XEN_DOMCTL_setvcpuaffinity";
    /// Command: shadow op.
    XEN_DOMCTL_SHADOW_OP = 10, "XEN_DOMCTL_shadow_op";
    /// Command: max mem.
    XEN_DOMCTL_MAX_MEM = 11, "XEN_DOMCTL_max_mem";
    /// Command: setvcpucontext.
    XEN_DOMCTL_SETVCPUCONTEXT = 12, "XEN_DOMCTL_setvcpucontext";
    /// Command: getvcpucontext.
    XEN_DOMCTL_GETVCPUCONTEXT = 13, "XEN_DOMCTL_getvcpucontext";
    /// Command: getvcpuinfo.
    XEN_DOMCTL_GETVCPUINFO = 14, "XEN_DOMCTL_getvcpuinfo";
    /// Command: max vcpus.
    XEN_DOMCTL_MAX_VCPUS = 15, "XEN_DOMCTL_max_vcpus";
    /// Command: scheduler op.
    XEN_DOMCTL_SCHEDULER_OP = 16, "XEN_DOMCTL_scheduler_op";
    /// Command: setdomainhandle.
    XEN_DOMCTL_SETDOMAINHANDLE = 17, "XEN_DOMCTL_setdomainhandle";
    /// Command: setdebugging.
    XEN_DOMCTL_SETDEBUGGING = 18, "XEN_DOMCTL_setdebugging";
    /// Command: irq permission.
    XEN_DOMCTL_IRQ_PERMISSION = 19, "XEN_DOMCTL_irq_permission";
    /// Command: iomem permission.
    XEN_DOMCTL_IOMEM_PERMISSION = 20, "XEN_DOMCTL_iomem_permission";
    /// Command: ioport permission.
    XEN_DOMCTL_IOPORT_PERMISSION = 21, "XEN_DOMCTL_ioport_permission";
    /// Command: hypercall init.
    XEN_DOMCTL_HYPERCALL_INIT = 22, "XEN_DOMCTL_hypercall_init";
    /// Command: settimeoffset.
    XEN_DOMCTL_SETTIMEOFFSET = 24, "XEN_DOMCTL_settimeoffset";
    /// Command: getvcpuaffinity.
    XEN_DOMCTL_GETVCPUAFFINITY = 25, "XEN_DOMCTL_getvcpuaffinity";
    /// Command: resumedomain.
    XEN_DOMCTL_RESUMEDOMAIN = 27, "XEN_DOMCTL_resumedomain";
    /// Command: sendtrigger.
    XEN_DOMCTL_SENDTRIGGER = 28, "XEN_DOMCTL_sendtrigger";
    /// Command: subscribe.
    XEN_DOMCTL_SUBSCRIBE = 29, "XEN_DOMCTL_subscribe";
    /// Command: gethvmcontext.
    XEN_DOMCTL_GETHVMCONTEXT = 33, "XEN_DOMCTL_gethvmcontext";
    /// Command: sethvmcontext.
    XEN_DOMCTL_SETHVMCONTEXT = 34, "XEN_DOMCTL_sethvmcontext";
    /// Command: set address size.
    XEN_DOMCTL_SET_ADDRESS_SIZE = 35, "XEN_DOMCTL_set_address_size";
    /// Command: get address size.
    XEN_DOMCTL_GET_ADDRESS_SIZE = 36, "XEN_DOMCTL_get_address_size";
    /// Command: assign device.
    XEN_DOMCTL_ASSIGN_DEVICE = 37, "XEN_DOMCTL_assign_device";
    /// Command: bind pt irq.
    XEN_DOMCTL_BIND_PT_IRQ = 38, "XEN_DOMCTL_bind_pt_irq";
    /// Command: memory mapping.
    XEN_DOMCTL_MEMORY_MAPPING = 39, "XEN_DOMCTL_memory_mapping";
    /// Command: ioport mapping.
    XEN_DOMCTL_IOPORT_MAPPING = 40, "XEN_DOMCTL_ioport_mapping";
    /// Command: set ext vcpucontext.
    XEN_DOMCTL_SET_EXT_VCPUCONTEXT = 42, "XEN_DOMCTL_set_ext_vcpucontext";
    /// Command: get ext vcpucontext.
    XEN_DOMCTL_GET_EXT_VCPUCONTEXT = 43, "XEN_DOMCTL_get_ext_vcpucontext";
    /// Command: test assign device.
    XEN_DOMCTL_TEST_ASSIGN_DEVICE = 45, "XEN_DOMCTL_test_assign_device";
    /// Command: set target.
    XEN_DOMCTL_SET_TARGET = 46, "XEN_DOMCTL_set_target";
    /// Command: deassign device.
    XEN_DOMCTL_DEASSIGN_DEVICE = 47, "XEN_DOMCTL_deassign_device";
    /// Command: unbind pt irq.
    XEN_DOMCTL_UNBIND_PT_IRQ = 48, "XEN_DOMCTL_unbind_pt_irq";
    /// Command: get device group.
    XEN_DOMCTL_GET_DEVICE_GROUP = 50, "XEN_DOMCTL_get_device_group";
    /// Command: debug op.
    XEN_DOMCTL_DEBUG_OP = 54, "XEN_DOMCTL_debug_op";
    /// Command: gethvmcontext partial.
    XEN_DOMCTL_GETHVMCONTEXT_PARTIAL = 55, "XEN_DOMCTL_gethvmcontext_partial";
    /// Command: vm event op.
    XEN_DOMCTL_VM_EVENT_OP = 56, "XEN_DOMCTL_vm_event_op";
    /// Command: mem sharing op.
    XEN_DOMCTL_MEM_SHARING_OP = 57, "XEN_DOMCTL_mem_sharing_op";
    /// Command: gettscinfo.
    XEN_DOMCTL_GETTSCINFO = 59, "XEN_DOMCTL_gettscinfo";
    /// Command: settscinfo.
    XEN_DOMCTL_SETTSCINFO = 60, "XEN_DOMCTL_settscinfo";
    /// Command: getpageframeinfo3.
    XEN_DOMCTL_GETPAGEFRAMEINFO3 = 61, "XEN_DOMCTL_getpageframeinfo3";
    /// Command: setvcpuextstate.
    XEN_DOMCTL_SETVCPUEXTSTATE = 62, "XEN_DOMCTL_setvcpuextstate";
    /// Command: getvcpuextstate.
    XEN_DOMCTL_GETVCPUEXTSTATE = 63, "XEN_DOMCTL_getvcpuextstate";
    /// Command: set access required.
    XEN_DOMCTL_SET_ACCESS_REQUIRED = 64, "XEN_DOMCTL_set_access_required";
    /// Command: audit p2m.
    XEN_DOMCTL_AUDIT_P2M = 65, "XEN_DOMCTL_audit_p2m";
    /// Command: set virq handler.
    XEN_DOMCTL_SET_VIRQ_HANDLER = 66, "XEN_DOMCTL_set_virq_handler";
    /// Command: set broken page p2m.
    XEN_DOMCTL_SET_BROKEN_PAGE_P2M = 67, "XEN_DOMCTL_set_broken_page_p2m";
    /// Command: setnodeaffinity.
    XEN_DOMCTL_SETNODEAFFINITY = 68, "XEN_DOMCTL_setnodeaffinity";
    /// Command: getnodeaffinity.
    XEN_DOMCTL_GETNODEAFFINITY = 69, "XEN_DOMCTL_getnodeaffinity";
    /// Command: cacheflush.
    XEN_DOMCTL_CACHEFLUSH = 71, "XEN_DOMCTL_cacheflush";
    /// Command: get vcpu msrs.
    XEN_DOMCTL_GET_VCPU_MSRS = 72, "XEN_DOMCTL_get_vcpu_msrs";
    /// Command: set vcpu msrs.
    XEN_DOMCTL_SET_VCPU_MSRS = 73, "XEN_DOMCTL_set_vcpu_msrs";
    /// Command: setvnumainfo.
    XEN_DOMCTL_SETVNUMAINFO = 74, "XEN_DOMCTL_setvnumainfo";
    /// Command: psr cmt op.
    XEN_DOMCTL_PSR_CMT_OP = 75, "XEN_DOMCTL_psr_cmt_op";
    /// Command: monitor op.
    XEN_DOMCTL_MONITOR_OP = 77, "XEN_DOMCTL_monitor_op";
    /// Command: psr alloc.
    XEN_DOMCTL_PSR_ALLOC = 78, "XEN_DOMCTL_psr_alloc";
    /// Command: soft reset.
    XEN_DOMCTL_SOFT_RESET = 79, "XEN_DOMCTL_soft_reset";
    /// Command: vuart op.
    XEN_DOMCTL_VUART_OP = 81, "XEN_DOMCTL_vuart_op";
    /// Command: get cpu policy.
    XEN_DOMCTL_GET_CPU_POLICY = 82, "XEN_DOMCTL_get_cpu_policy";
    /// Command: set cpu policy.
    XEN_DOMCTL_SET_CPU_POLICY = 83, "XEN_DOMCTL_set_cpu_policy";
    /// Command: vmtrace op.
    XEN_DOMCTL_VMTRACE_OP = 84, "XEN_DOMCTL_vmtrace_op";
    /// Command: get paging mempool size.
    XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE = 85, "XEN_DOMCTL_get_paging_mempool_size";
    /// Command: set paging mempool size.
    XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE = 86, "XEN_DOMCTL_set_paging_mempool_size";
    /// Command: gdbsx guestmemio.
    XEN_DOMCTL_GDBSX_GUESTMEMIO = 1000, "XEN_DOMCTL_gdbsx_guestmemio";
    /// Command: gdbsx pausevcpu.
    XEN_DOMCTL_GDBSX_PAUSEVCPU = 1001, "XEN_DOMCTL_gdbsx_pausevcpu";
    /// Command: gdbsx unpausevcpu.
    XEN_DOMCTL_GDBSX_UNPAUSEVCPU = 1002, "XEN_DOMCTL_gdbsx_unpausevcpu";
    /// Command: gdbsx domstatus.
    XEN_DOMCTL_GDBSX_DOMSTATUS = 1003, "XEN_DOMCTL_gdbsx_domstatus";
}

constants! {
    /// Version and flags.
    XEN_DOMCTL_VALUES: u32;
    /// Value of [`Domctl::interface_version`].
    XEN_DOMCTL_INTERFACE_VERSION = 0x15, "XEN_DOMCTL_INTERFACE_VERSION";
    /// [`DomctlGetdomaininfo::flags`]: it is being destroyed.
    XEN_DOMINF_DYING = 1, "XEN_DOMINF_dying";
    /// It is no PV domain.
    XEN_DOMINF_HVM_GUEST = 1 << 1, "XEN_DOMINF_hvm_guest";
    /// It has shut down.
    XEN_DOMINF_SHUTDOWN = 1 << 2, "XEN_DOMINF_shutdown";
    /// It is paused by the toolstack.
    XEN_DOMINF_PAUSED = 1 << 3, "XEN_DOMINF_paused";
    /// All its vCPUs wait for events.
    XEN_DOMINF_BLOCKED = 1 << 4, "XEN_DOMINF_blocked";
    /// One of its vCPUs runs.
    XEN_DOMINF_RUNNING = 1 << 5, "XEN_DOMINF_running";
    /// It is being debugged.
    XEN_DOMINF_DEBUGGED = 1 << 6, "XEN_DOMINF_debugged";
    /// It serves XenStore.
    XEN_DOMINF_XS_DOMAIN = 1 << 7, "XEN_DOMINF_xs_domain";
    /// It has hardware-assisted paging.
    XEN_DOMINF_HAP = 1 << 8, "XEN_DOMINF_hap";
    /// Where the reason of its shutdown is in the flags.
    XEN_DOMINF_SHUTDOWNSHIFT = 16, "XEN_DOMINF_shutdownshift";
    /// [`DomctlGetdomaininfo::max_vcpu_id`]: it has no vCPUs.
    XEN_INVALID_MAX_VCPU_ID = !0, "XEN_INVALID_MAX_VCPU_ID";
    /// [`DomctlVcpuaffinity::flags`]: where it may run.
    XEN_VCPUAFFINITY_HARD = 1, "XEN_VCPUAFFINITY_HARD";
    /// Where it had better run.
    XEN_VCPUAFFINITY_SOFT = 2, "XEN_VCPUAFFINITY_SOFT";
    /// Undo `SCHEDOP_pin_override`.
    XEN_VCPUAFFINITY_FORCE = 4, "XEN_VCPUAFFINITY_FORCE";
}

constants! {
    /// Values of [`ArchDomainconfig::emulation_flags`]: devices that the hypervisor emulates.
    XEN_X86_EMUS: u32;
    /// The timer.
    XEN_X86_EMU_PIT = 1 << 8, "XEN_X86_EMU_PIT";
}

constants! {
    /// Schedulers.
    XEN_SCHEDULERS: u32;
    /// Credit.
    XEN_SCHEDULER_CREDIT = 5, "XEN_SCHEDULER_CREDIT";
    /// Credit2.
    XEN_SCHEDULER_CREDIT2 = 6, "XEN_SCHEDULER_CREDIT2";
    /// ARINC 653.
    XEN_SCHEDULER_ARINC653 = 7, "XEN_SCHEDULER_ARINC653";
    /// Real-time, deferrable server.
    XEN_SCHEDULER_RTDS = 8, "XEN_SCHEDULER_RTDS";
    /// One vCPU a CPU.
    XEN_SCHEDULER_NULL = 9, "XEN_SCHEDULER_NULL";
}

constants! {
    /// Values of [`DomctlSchedulerOp::cmd`].
    XEN_DOMCTL_SCHEDOPS: u32;
    /// Changes parameters.
    XEN_DOMCTL_SCHEDOP_PUTINFO = 0, "XEN_DOMCTL_SCHEDOP_putinfo";
    /// Reads them.
    XEN_DOMCTL_SCHEDOP_GETINFO = 1, "XEN_DOMCTL_SCHEDOP_getinfo";
    /// Changes those of vCPUs.
    XEN_DOMCTL_SCHEDOP_PUTVCPUINFO = 2, "XEN_DOMCTL_SCHEDOP_putvcpuinfo";
    /// Reads those.
    XEN_DOMCTL_SCHEDOP_GETVCPUINFO = 3, "XEN_DOMCTL_SCHEDOP_getvcpuinfo";
}

/// Argument of `domctl`. C name: `xen_domctl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Domctl {
    /// `XEN_DOMCTL_*`.
    pub cmd: u32,
    /// `XEN_DOMCTL_INTERFACE_VERSION`.
    pub interface_version: u32,
    /// The domain.
    pub domain: u16,
    /// Padding.
    pub _pad: [u16; 3],
    /// Members by command.
    pub u: [u64; 16],
}

const_assert_eq!(size_of::<Domctl>(), 144);
