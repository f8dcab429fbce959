//! The two parts of `vcpu_guest_context` around the trap table, which is read entry by entry.

use core::mem::offset_of;
use xen_abi::arch::{CpuUserRegs, VcpuGuestContext};
use zerocopy::{FromBytes, IntoBytes};

/// [`VcpuGuestContext`] from `flags` to the trap table.
#[derive(Clone, Copy, FromBytes, IntoBytes)]
#[repr(C)]
pub(super) struct Head {
    pub(super) flags: u64,
    pub(super) regs: CpuUserRegs,
}

/// [`VcpuGuestContext`] behind the trap table.
#[derive(Clone, Copy, FromBytes, IntoBytes)]
#[repr(C)]
pub(super) struct Tail {
    pub(super) ldt_base: u64,
    pub(super) ldt_entries: u64,
    pub(super) gdt_frames: [u64; 16],
    pub(super) gdt_entries: u64,
    pub(super) kernel_ss: u64,
    pub(super) kernel_sp: u64,
    pub(super) control: [u64; 8],
    pub(super) debug: [u64; 8],
    pub(super) event: u64,
    pub(super) failsafe: u64,
    pub(super) syscall: u64,
    pub(super) assists: u64,
    pub(super) fs_base: u64,
    pub(super) gs_base_kernel: u64,
    pub(super) gs_base_user: u64,
}

pub(super) const HEAD_AT: u64 = offset_of!(VcpuGuestContext, flags) as u64;
pub(super) const TRAPS_AT: u64 = offset_of!(VcpuGuestContext, trap_ctxt) as u64;
pub(super) const TAIL_AT: u64 = offset_of!(VcpuGuestContext, ldt_base) as u64;
const _: () = assert!(HEAD_AT as usize + size_of::<Head>() == TRAPS_AT as usize);
const _: () = assert!(TAIL_AT as usize + size_of::<Tail>() == size_of::<VcpuGuestContext>());
