//! Page-table hypercalls: `mmu_update`, `mmuext_op`, `update_va_mapping`, and multicalls (`xen.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Command in bits 1:0 of [`MmuUpdate::ptr`].
    MMU_UPDATE_CMDS: u64;
    /// Checked write of a page-table entry; `ptr` is its machine address.
    MMU_NORMAL_PT_UPDATE = 0, "MMU_NORMAL_PT_UPDATE";
    /// Sets the M2P entry of the frame at machine address `ptr` to `val`.
    MMU_MACHPHYS_UPDATE = 1, "MMU_MACHPHYS_UPDATE";
    /// As the normal update, keeping the entry's accessed and dirty bits.
    MMU_PT_UPDATE_PRESERVE_AD = 2, "MMU_PT_UPDATE_PRESERVE_AD";
    /// As the normal update, `val` never being translated.
    MMU_PT_UPDATE_NO_TRANSLATE = 3, "MMU_PT_UPDATE_NO_TRANSLATE";
}

constants! {
    /// Values of [`MmuextOp::cmd`].
    MMUEXT_CMDS: u32;
    /// Pins `arg1` (a frame) as an L1 table.
    MMUEXT_PIN_L1_TABLE = 0, "MMUEXT_PIN_L1_TABLE";
    /// Pins `arg1` as an L2 table.
    MMUEXT_PIN_L2_TABLE = 1, "MMUEXT_PIN_L2_TABLE";
    /// Pins `arg1` as an L3 table.
    MMUEXT_PIN_L3_TABLE = 2, "MMUEXT_PIN_L3_TABLE";
    /// Pins `arg1` as an L4 table.
    MMUEXT_PIN_L4_TABLE = 3, "MMUEXT_PIN_L4_TABLE";
    /// Drops the pin of the frame `arg1`.
    MMUEXT_UNPIN_TABLE = 4, "MMUEXT_UNPIN_TABLE";
    /// Loads the kernel root table `arg1`.
    MMUEXT_NEW_BASEPTR = 5, "MMUEXT_NEW_BASEPTR";
    /// Flushes the TLB of this vCPU.
    MMUEXT_TLB_FLUSH_LOCAL = 6, "MMUEXT_TLB_FLUSH_LOCAL";
    /// Flushes the linear address `arg1` on this vCPU.
    MMUEXT_INVLPG_LOCAL = 7, "MMUEXT_INVLPG_LOCAL";
    /// Flushes the TLBs of the vCPUs in the bitmap at `arg2`.
    MMUEXT_TLB_FLUSH_MULTI = 8, "MMUEXT_TLB_FLUSH_MULTI";
    /// Flushes linear address `arg1` on the vCPUs in the bitmap at `arg2`.
    MMUEXT_INVLPG_MULTI = 9, "MMUEXT_INVLPG_MULTI";
    /// Flushes the TLBs of all vCPUs.
    MMUEXT_TLB_FLUSH_ALL = 10, "MMUEXT_TLB_FLUSH_ALL";
    /// Flushes linear address `arg1` on all vCPUs.
    MMUEXT_INVLPG_ALL = 11, "MMUEXT_INVLPG_ALL";
    /// Writes back and invalidates the caches.
    MMUEXT_FLUSH_CACHE = 12, "MMUEXT_FLUSH_CACHE";
    /// Sets the LDT: linear address `arg1`, `arg2` entries.
    MMUEXT_SET_LDT = 13, "MMUEXT_SET_LDT";
    /// Sets the user root table `arg1`.
    MMUEXT_NEW_USER_BASEPTR = 15, "MMUEXT_NEW_USER_BASEPTR";
    /// Zeroes the frame `arg1`.
    MMUEXT_CLEAR_PAGE = 16, "MMUEXT_CLEAR_PAGE";
    /// Copies the frame `arg2` to the frame `arg1`.
    MMUEXT_COPY_PAGE = 17, "MMUEXT_COPY_PAGE";
    /// Writes back and invalidates the caches of all CPUs.
    MMUEXT_FLUSH_CACHE_GLOBAL = 18, "MMUEXT_FLUSH_CACHE_GLOBAL";
    /// Marks a superpage (refused on 64-bit).
    MMUEXT_MARK_SUPER = 19, "MMUEXT_MARK_SUPER";
    /// Unmarks a superpage (refused on 64-bit).
    MMUEXT_UNMARK_SUPER = 20, "MMUEXT_UNMARK_SUPER";
}

constants! {
    /// Flags of `update_va_mapping`: a kind of flush in bits 1:0, and in the rest 0 (this vCPU),
    /// [`UVMF_ALL`], or the address of a bitmap of vCPUs.
    UVMFS: u64;
    /// No flush.
    UVMF_NONE = 0, "UVMF_NONE";
    /// Flush the whole TLB.
    UVMF_TLB_FLUSH = 1, "UVMF_TLB_FLUSH";
    /// Flush the one address.
    UVMF_INVLPG = 2, "UVMF_INVLPG";
    /// Bits of the kind of flush.
    UVMF_FLUSHTYPE_MASK = 3, "UVMF_FLUSHTYPE_MASK";
    /// Flush on the vCPUs of a bitmap whose address is ORed in.
    UVMF_MULTI = 0, "UVMF_MULTI";
    /// Flush on this vCPU.
    UVMF_LOCAL = 0, "UVMF_LOCAL";
    /// Flush on all vCPUs.
    UVMF_ALL = 4, "UVMF_ALL";
}

/// One element of an `mmu_update` batch. C name: `mmu_update_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MmuUpdate {
    /// Machine address of the entry; bits 1:0 are the command.
    pub ptr: u64,
    /// The value to write.
    pub val: u64,
}

const_assert_eq!(size_of::<MmuUpdate>(), 16);

/// One element of an `mmuext_op` batch. C name: `mmuext_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MmuextOp {
    /// One of [`MMUEXT_CMDS`].
    pub cmd: u32,
    /// Padding.
    pub _pad0: [u8; 4],
    /// Frame number or linear address, by command (C: union `arg1`).
    pub arg1: u64,
    /// Number of LDT entries (low 32 bits), address of a vCPU bitmap or source frame, by command (C: union
    /// `arg2`).
    pub arg2: u64,
}

const_assert_eq!(size_of::<MmuextOp>(), 24);

/// One call of a multicall list. C name: `multicall_entry_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MulticallEntry {
    /// Hypercall number.
    pub op: u64,
    /// Written with the call's result.
    pub result: i64,
    /// The call's arguments.
    pub args: [u64; 6],
}

const_assert_eq!(size_of::<MulticallEntry>(), 64);
