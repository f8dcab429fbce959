//! What a PV domain finds at its start (`xen.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Bits of [`StartInfo::flags`].
    SIFS: u32;
    /// The domain is privileged.
    SIF_PRIVILEGED = 1, "SIF_PRIVILEGED";
    /// It is the initial control domain.
    SIF_INITDOMAIN = 2, "SIF_INITDOMAIN";
    /// `mod_start` is a list of multiboot modules.
    SIF_MULTIBOOT_MOD = 4, "SIF_MULTIBOOT_MOD";
    /// `mod_start` is a frame number.
    SIF_MOD_START_PFN = 8, "SIF_MOD_START_PFN";
    /// The tools understand a linear P2M.
    SIF_VIRT_P2M_4TOOLS = 16, "SIF_VIRT_P2M_4TOOLS";
    /// Power-management bits: [`XEN_PROCESSOR_PMS`](crate::platform::XEN_PROCESSOR_PMS), shifted left by 8.
    SIF_PM_MASK = 0xff00, "SIF_PM_MASK";
}

constants! {
    /// Sizes within [`StartInfo`].
    START_INFO_LIMITS: usize;
    /// Bytes of the command line with its zero.
    MAX_GUEST_CMDLINE = 1024, "MAX_GUEST_CMDLINE";
}

/// [`StartInfo::console`] of a domain with a console ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StartInfoConsoleDomU {
    /// Frame of the ring.
    pub mfn: u64,
    /// Its event channel.
    pub evtchn: u32,
    /// Padding.
    pub _pad0: [u8; 4],
}

const_assert_eq!(size_of::<StartInfoConsoleDomU>(), 16);

/// [`StartInfo::console`] of the initial domain: where
/// [`Dom0VgaConsoleInfo`](crate::xen::Dom0VgaConsoleInfo) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StartInfoConsoleDom0 {
    /// Its offset from the start info's start.
    pub info_off: u32,
    /// Its size in bytes; 0: none.
    pub info_size: u32,
}

const_assert_eq!(size_of::<StartInfoConsoleDom0>(), 8);

/// The start info page of a PV domain. C name: `start_info_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StartInfo {
    /// "xen-3.0-x86_64", zero-terminated.
    pub magic: [u8; 32],
    /// Pages allocated to the domain.
    pub nr_pages: u64,
    /// Machine address of the shared info page.
    pub shared_info: u64,
    /// Bits of [`SIFS`].
    pub flags: u32,
    /// Padding.
    pub _pad0: [u8; 4],
    /// Frame of the xenstore ring.
    pub store_mfn: u64,
    /// Event channel of the xenstore ring.
    pub store_evtchn: u32,
    /// Padding.
    pub _pad1: [u8; 4],
    /// [`StartInfoConsoleDomU`], or [`StartInfoConsoleDom0`] in its first 8 bytes (C: union).
    pub console: [u64; 2],
    /// Linear address of the root table.
    pub pt_base: u64,
    /// Frames of the initial page tables.
    pub nr_pt_frames: u64,
    /// Linear address of the P2M.
    pub mfn_list: u64,
    /// Linear address (or frame number, by flag) of the module; 0: none.
    pub mod_start: u64,
    /// Bytes of the module.
    pub mod_len: u64,
    /// Command line, zero-terminated.
    pub cmd_line: [u8; MAX_GUEST_CMDLINE],
    /// First frame number holding the initial P2M.
    pub first_p2m_pfn: u64,
    /// Frames holding the initial P2M.
    pub nr_p2m_frames: u64,
}

const_assert_eq!(size_of::<StartInfo>(), 1168);

/// Element of the module list with [`SIF_MULTIBOOT_MOD`]. C name: `xen_multiboot_mod_list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MultibootModList {
    /// Address of the first byte.
    pub mod_start: u32,
    /// Address of the last byte.
    pub mod_end: u32,
    /// Address of the command line.
    pub cmdline: u32,
    /// Must be zero.
    pub pad: u32,
}

const_assert_eq!(size_of::<MultibootModList>(), 16);
