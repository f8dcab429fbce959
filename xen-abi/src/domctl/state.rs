//! Members of `Domctl` by which a domain's state is read and given to another one (`domctl.h`).

use crate::constants::constants;
use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

constants! {
    /// What `XEN_DOMCTL_getpageframeinfo3` says of a frame.
    XEN_DOMCTL_PFINFOS: u64;
    /// Nothing in particular.
    XEN_DOMCTL_PFINFO_NOTAB = 0, "XEN_DOMCTL_PFINFO_NOTAB";
    /// A page table of level 1. The next levels follow.
    XEN_DOMCTL_PFINFO_L1TAB = 1 << 28, "XEN_DOMCTL_PFINFO_L1TAB";
    /// A root table.
    XEN_DOMCTL_PFINFO_L4TAB = 4 << 28, "XEN_DOMCTL_PFINFO_L4TAB";
    /// Beside a table's level: it is pinned.
    XEN_DOMCTL_PFINFO_LPINTAB = 1 << 31, "XEN_DOMCTL_PFINFO_LPINTAB";
    /// None of the domain's.
    XEN_DOMCTL_PFINFO_XTAB = 0xf << 28, "XEN_DOMCTL_PFINFO_XTAB";
}

constants! {
    /// Values of [`DomctlShadowOp::op`].
    XEN_DOMCTL_SHADOW_OPS: u32;
    /// Ends shadow mode.
    XEN_DOMCTL_SHADOW_OP_OFF = 0, "XEN_DOMCTL_SHADOW_OP_OFF";
    /// Begins it, for a test.
    XEN_DOMCTL_SHADOW_OP_ENABLE_TEST = 1, "XEN_DOMCTL_SHADOW_OP_ENABLE_TEST";
    /// Begins to note which frames are written to.
    XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY = 2, "XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY";
    /// Which were, and forgets it.
    XEN_DOMCTL_SHADOW_OP_CLEAN = 11, "XEN_DOMCTL_SHADOW_OP_CLEAN";
    /// Which were.
    XEN_DOMCTL_SHADOW_OP_PEEK = 12, "XEN_DOMCTL_SHADOW_OP_PEEK";
    /// Memory of the shadow.
    XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION = 30, "XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION";
    /// Other memory for it.
    XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION = 31, "XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION";
    /// Begins shadow mode.
    XEN_DOMCTL_SHADOW_OP_ENABLE = 32, "XEN_DOMCTL_SHADOW_OP_ENABLE";
    /// [`DomctlShadowOp::mode`]: with the notes of `ENABLE_LOGDIRTY`.
    XEN_DOMCTL_SHADOW_ENABLE_LOG_DIRTY = 1 << 2, "XEN_DOMCTL_SHADOW_ENABLE_LOG_DIRTY";
    /// [`DomctlShadowOp::mode`] of `CLEAN` and `PEEK`: for the last time.
    XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL = 1, "XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL";
}

/// Member of `XEN_DOMCTL_getpageframeinfo3`. C name: `xen_domctl_getpageframeinfo3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlGetpageframeinfo3 {
    /// How many.
    pub num: u64,
    /// In and out: linear address of 64-bit frame numbers, then of `XEN_DOMCTL_PFINFO_*`.
    pub array: u64,
}

/// Member of `XEN_DOMCTL_shadow_op`. C name: `xen_domctl_shadow_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlShadowOp {
    /// `XEN_DOMCTL_SHADOW_OP_*`.
    pub op: u32,
    /// How.
    pub mode: u32,
    /// Memory, MiB.
    pub mb: u32,
    /// Padding.
    pub _pad: u32,
    /// Linear address of a bitmap of frames.
    pub dirty_bitmap: u64,
    /// Its bits.
    pub pages: u64,
    /// Faults, and frames that were written to.
    pub stats: [u32; 2],
}

const_assert_eq!(size_of::<DomctlShadowOp>(), 40);

/// The virtual machine-check architecture of a vCPU. C name: `hvm_vmce_vcpu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HvmVmceVcpu {
    /// MCG_CAP.
    pub caps: u64,
    /// MC0_CTL2.
    pub mci_ctl2_bank0: u64,
    /// MC1_CTL2.
    pub mci_ctl2_bank1: u64,
    /// MCG_EXT_CTL.
    pub mcg_ext_ctl: u64,
}

const_assert_eq!(size_of::<HvmVmceVcpu>(), 32);

/// Member of `XEN_DOMCTL_set_ext_vcpucontext` and `get_ext_vcpucontext`. C name: `xen_domctl_ext_vcpucontext`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlExtVcpucontext {
    /// The vCPU's number.
    pub vcpu: u32,
    /// Bytes of the member that are meant.
    pub size: u32,
    /// Entry point for `syscall` of 32-bit code.
    pub syscall32_callback_eip: u64,
    /// Entry point for `sysenter`.
    pub sysenter_callback_eip: u64,
    /// Code selector of the former.
    pub syscall32_callback_cs: u16,
    /// Code selector of the latter.
    pub sysenter_callback_cs: u16,
    /// Whether the former masks events.
    pub syscall32_disables_events: u8,
    /// Whether the latter does.
    pub sysenter_disables_events: u8,
    /// Padding.
    pub _pad: u16,
    /// What it is shown of the machine-check architecture.
    pub vmce: HvmVmceVcpu,
}

const_assert_eq!(size_of::<DomctlExtVcpucontext>(), 64);

/// Member of `XEN_DOMCTL_setvcpuextstate` and `getvcpuextstate`. C name: `xen_domctl_vcpuextstate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlVcpuextstate {
    /// The vCPU's number.
    pub vcpu: u32,
    /// Padding.
    pub _pad: u32,
    /// Out: components that the hypervisor knows.
    pub xfeature_mask: u64,
    /// Bytes of the buffer; out: of the state.
    pub size: u64,
    /// Linear address: XCR0, components ever enabled, an image in the format of XSAVE.
    pub buffer: u64,
}

const_assert_eq!(size_of::<DomctlVcpuextstate>(), 32);

/// A register of [`DomctlVcpuMsrs`]. C name: `xen_domctl_vcpu_msr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlVcpuMsr {
    /// Its number.
    pub index: u32,
    /// Zero.
    pub reserved: u32,
    /// Its value.
    pub value: u64,
}

/// Member of `XEN_DOMCTL_get_vcpu_msrs` and `set_vcpu_msrs`. C name: `xen_domctl_vcpu_msrs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlVcpuMsrs {
    /// The vCPU's number.
    pub vcpu: u32,
    /// How many there are, or is room for.
    pub msr_count: u32,
    /// Linear address of [`DomctlVcpuMsr`] records.
    pub msrs: u64,
}

const_assert_eq!(size_of::<DomctlVcpuMsrs>(), 16);
