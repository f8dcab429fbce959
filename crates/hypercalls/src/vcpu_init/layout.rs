//! The two parts of `vcpu_guest_context` around the trap table, which is read entry by entry.

use core::mem::offset_of;
use xen_abi::arch::{CpuUserRegs, VcpuGuestContext};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// [`VcpuGuestContext`] from `flags` to the trap table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Head {
    pub(crate) flags: u64,
    pub(crate) regs: CpuUserRegs,
}

/// [`VcpuGuestContext`] behind the trap table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Tail {
    pub(crate) ldt_base: u64,
    pub(crate) ldt_entries: u64,
    pub(crate) gdt_frames: [u64; 16],
    pub(crate) gdt_entries: u64,
    pub(crate) kernel_ss: u64,
    pub(crate) kernel_sp: u64,
    pub(crate) control: [u64; 8],
    pub(crate) debug: [u64; 8],
    pub(crate) event: u64,
    pub(crate) failsafe: u64,
    pub(crate) syscall: u64,
    pub(crate) assists: u64,
    pub(crate) fs_base: u64,
    pub(crate) gs_base_kernel: u64,
    pub(crate) gs_base_user: u64,
}

/// Words of the image of x87 and SSE, in the format of FXSAVE, that the context begins with.
pub(crate) const FPU_WORDS: usize = offset_of!(VcpuGuestContext, flags) / 8;
pub(crate) const HEAD_AT: u64 = offset_of!(VcpuGuestContext, flags) as u64;
pub(crate) const TRAPS_AT: u64 = offset_of!(VcpuGuestContext, trap_ctxt) as u64;
pub(crate) const TAIL_AT: u64 = offset_of!(VcpuGuestContext, ldt_base) as u64;
const _: () = assert!(HEAD_AT as usize + size_of::<Head>() == TRAPS_AT as usize);
const _: () = assert!(TAIL_AT as usize + size_of::<Tail>() == size_of::<VcpuGuestContext>());
