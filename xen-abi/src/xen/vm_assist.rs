//! Assists a guest may switch on (`xen.h`).

use crate::constants::constants;

constants! {
    /// Commands of `vm_assist`.
    VMASST_CMDS: u32;
    /// Switches an assist on.
    VMASST_CMD_ENABLE = 0, "VMASST_CMD_enable";
    /// Switches an assist off.
    VMASST_CMD_DISABLE = 1, "VMASST_CMD_disable";
}

constants! {
    /// Assists, numbered by their bit in
    /// [`VcpuGuestContext::vm_assist`](crate::arch::VcpuGuestContext::vm_assist).
    VMASST_TYPES: u32;
    /// 32-bit guests: simulate full 4 GiB segments.
    VMASST_TYPE_4GB_SEGMENTS = 0, "VMASST_TYPE_4gb_segments";
    /// 32-bit guests: trap 15 when the former is used.
    VMASST_TYPE_4GB_SEGMENTS_NOTIFY = 1, "VMASST_TYPE_4gb_segments_notify";
    /// Emulate writes to page tables.
    VMASST_TYPE_WRITABLE_PAGETABLES = 2, "VMASST_TYPE_writable_pagetables";
    /// PAE guests: root tables above 4 GiB.
    VMASST_TYPE_PAE_EXTENDED_CR3 = 3, "VMASST_TYPE_pae_extended_cr3";
    /// Show IOPL in saved flags.
    VMASST_TYPE_ARCHITECTURAL_IOPL = 4, "VMASST_TYPE_architectural_iopl";
    /// Mark runstate updates in progress by [`XEN_RUNSTATE_UPDATE`](crate::vcpu::XEN_RUNSTATE_UPDATE).
    VMASST_TYPE_RUNSTATE_UPDATE_FLAG = 5, "VMASST_TYPE_runstate_update_flag";
    /// Keep the M2P out of user root tables.
    VMASST_TYPE_M2P_STRICT = 32, "VMASST_TYPE_m2p_strict";
}
