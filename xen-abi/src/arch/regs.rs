//! Register state: exception frames and the initial context of a vCPU.

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Bits of [`VcpuGuestContext::flags`] and, the last, of [`IretContext::flags`].
    VGCFS: u64;
    /// `fpu_ctxt` is valid.
    VGCF_I387_VALID = 1, "VGCF_i387_valid";
    /// The vCPU is in guest kernel mode.
    VGCF_IN_KERNEL = 4, "VGCF_in_kernel";
    /// The failsafe callback masks events.
    VGCF_FAILSAFE_DISABLES_EVENTS = 8, "VGCF_failsafe_disables_events";
    /// The syscall callback masks events.
    VGCF_SYSCALL_DISABLES_EVENTS = 16, "VGCF_syscall_disables_events";
    /// The vCPU is up.
    VGCF_ONLINE = 32, "VGCF_online";
    /// `iret`: the frame came from a syscall, RCX and R11 need no restoring.
    VGCF_IN_SYSCALL = 256, "VGCF_in_syscall";
}

constants! {
    /// Bits of [`TrapInfo::flags`].
    TRAP_INFO_FLAGS: u8;
    /// Least privilege that may raise the vector by `int n`.
    TRAP_INFO_DPL_MASK = 3, "TI_GET_DPL((&(trap_info_t){.flags=0xff}))";
    /// Delivery masks events.
    TRAP_INFO_MASK_EVENTS = 4, "TI_GET_IF((&(trap_info_t){.flags=0xff}))";
}

/// Frame at RSP of the `iret` hypercall. C name: `iret_context`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IretContext {
    /// RAX to restore.
    pub rax: u64,
    /// R11 to restore unless [`VGCF_IN_SYSCALL`].
    pub r11: u64,
    /// RCX to restore unless [`VGCF_IN_SYSCALL`].
    pub rcx: u64,
    /// 0 or [`VGCF_IN_SYSCALL`].
    pub flags: u64,
    /// Address to return to.
    pub rip: u64,
    /// Code selector; its RPL tells user from kernel mode.
    pub cs: u64,
    /// Flags; IF is the inverse of the upcall mask.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Stack selector.
    pub ss: u64,
}

const_assert_eq!(size_of::<IretContext>(), 72);

/// General registers of a vCPU. C name: `cpu_user_regs_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuUserRegs {
    /// R15.
    pub r15: u64,
    /// R14.
    pub r14: u64,
    /// R13.
    pub r13: u64,
    /// R12.
    pub r12: u64,
    /// RBP.
    pub rbp: u64,
    /// RBX.
    pub rbx: u64,
    /// R11.
    pub r11: u64,
    /// R10.
    pub r10: u64,
    /// R9.
    pub r9: u64,
    /// R8.
    pub r8: u64,
    /// RAX.
    pub rax: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX.
    pub rdx: u64,
    /// RSI.
    pub rsi: u64,
    /// RDI.
    pub rdi: u64,
    /// Private to the hypervisor.
    pub error_code: u32,
    /// Private to the hypervisor.
    pub entry_vector: u32,
    /// RIP.
    pub rip: u64,
    /// CS.
    pub cs: u16,
    /// Padding.
    pub _pad0: u16,
    /// Upcall mask at the time of the exception.
    pub saved_upcall_mask: u8,
    /// Padding.
    pub _pad1: [u8; 3],
    /// RFLAGS; IF is the inverse of the upcall mask.
    pub rflags: u64,
    /// RSP.
    pub rsp: u64,
    /// SS.
    pub ss: u16,
    /// Padding.
    pub _pad2: [u16; 3],
    /// ES.
    pub es: u16,
    /// Padding.
    pub _pad3: [u16; 3],
    /// DS.
    pub ds: u16,
    /// Padding.
    pub _pad4: [u16; 3],
    /// FS.
    pub fs: u16,
    /// Padding.
    pub _pad5: [u16; 3],
    /// GS.
    pub gs: u16,
    /// Padding.
    pub _pad6: [u16; 3],
}

const_assert_eq!(size_of::<CpuUserRegs>(), 200);

/// One entry of the virtual IDT. C name: `trap_info_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TrapInfo {
    /// Vector.
    pub vector: u8,
    /// Bits of [`TRAP_INFO_FLAGS`].
    pub flags: u8,
    /// Code selector.
    pub cs: u16,
    /// Padding.
    pub _pad0: [u8; 4],
    /// Handler; 0 ends a list.
    pub address: u64,
}

const_assert_eq!(size_of::<TrapInfo>(), 16);

/// Initial or saved state of a PV vCPU. C name: `vcpu_guest_context_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuGuestContext {
    /// FXSAVE image.
    pub fpu_ctxt: [u8; 512],
    /// Bits of [`VGCFS`].
    pub flags: u64,
    /// General registers.
    pub user_regs: CpuUserRegs,
    /// Virtual IDT.
    pub trap_ctxt: [TrapInfo; 256],
    /// Linear address of the LDT.
    pub ldt_base: u64,
    /// Entries of the LDT.
    pub ldt_ents: u64,
    /// Frames of the GDT.
    pub gdt_frames: [u64; 16],
    /// Entries of the GDT.
    pub gdt_ents: u64,
    /// Kernel stack selector.
    pub kernel_ss: u64,
    /// Kernel stack pointer.
    pub kernel_sp: u64,
    /// CR0 to CR7; 1 is the user root table in CR3 form.
    pub ctrlreg: [u64; 8],
    /// DR0 to DR7.
    pub debugreg: [u64; 8],
    /// Event entry point.
    pub event_callback_eip: u64,
    /// Failsafe entry point.
    pub failsafe_callback_eip: u64,
    /// Syscall entry point.
    pub syscall_callback_eip: u64,
    /// Bitmap of [`VMASST_TYPES`](crate::xen::VMASST_TYPES).
    pub vm_assist: u64,
    /// FS base.
    pub fs_base: u64,
    /// GS base of kernel mode.
    pub gs_base_kernel: u64,
    /// GS base of user mode.
    pub gs_base_user: u64,
}

const_assert_eq!(size_of::<VcpuGuestContext>(), 5168);
