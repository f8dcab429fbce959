//! Kexec operations (`kexec.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Commands of `kexec_op`.
    KEXEC_CMDS: u32;
    /// Runs a loaded image: [`KexecExec`].
    KEXEC_CMD_KEXEC = 0, "KEXEC_CMD_kexec";
    /// Loads an image, of before 4.4.
    KEXEC_CMD_KEXEC_LOAD_V1 = 1, "KEXEC_CMD_kexec_load_v1";
    /// Unloads it: [`KexecExec`], the type alone.
    KEXEC_CMD_KEXEC_UNLOAD_V1 = 2, "KEXEC_CMD_kexec_unload_v1";
    /// Where something lies: [`KexecRange`].
    KEXEC_CMD_KEXEC_GET_RANGE = 3, "KEXEC_CMD_kexec_get_range";
    /// Loads an image: [`KexecLoad`].
    KEXEC_CMD_KEXEC_LOAD = 4, "KEXEC_CMD_kexec_load";
    /// Unloads it: the type, one byte.
    KEXEC_CMD_KEXEC_UNLOAD = 5, "KEXEC_CMD_kexec_unload";
    /// Whether one is loaded: the type, one byte.
    KEXEC_CMD_KEXEC_STATUS = 6, "KEXEC_CMD_kexec_status";
}

constants! {
    /// Types of images, and ranges.
    KEXEC_VALUES: u32;
    /// An image to run instead of a restart.
    KEXEC_TYPE_DEFAULT = 0, "KEXEC_TYPE_DEFAULT";
    /// An image to run after a crash.
    KEXEC_TYPE_CRASH = 1, "KEXEC_TYPE_CRASH";
    /// [`KexecRange::range`]: memory set aside for a crash image.
    KEXEC_RANGE_MA_CRASH = 0, "KEXEC_RANGE_MA_CRASH";
    /// The hypervisor's image.
    KEXEC_RANGE_MA_XEN = 1, "KEXEC_RANGE_MA_XEN";
    /// A CPU's note.
    KEXEC_RANGE_MA_CPU = 2, "KEXEC_RANGE_MA_CPU";
    /// The note that describes the hypervisor.
    KEXEC_RANGE_MA_VMCOREINFO = 6, "KEXEC_RANGE_MA_VMCOREINFO";
}

/// C name: `xen_kexec_exec_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KexecExec {
    /// `KEXEC_TYPE_*` (C: `type`).
    pub type_: i32,
}

const_assert_eq!(size_of::<KexecExec>(), 4);

/// C name: `xen_kexec_range_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KexecRange {
    /// `KEXEC_RANGE_MA_*`.
    pub range: i32,
    /// The CPU.
    pub nr: i32,
    /// Out: bytes.
    pub size: u64,
    /// Out: machine address.
    pub start: u64,
}

const_assert_eq!(size_of::<KexecRange>(), 24);

/// C name: `xen_kexec_load_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KexecLoad {
    /// `KEXEC_TYPE_*` (C: `type`).
    pub type_: u8,
    /// Must be zero.
    pub _pad: u8,
    /// ELF machine type.
    pub arch: u16,
    /// Segments.
    pub nr_segments: u32,
    /// Address of the segments.
    pub segments: u64,
    /// Entry point.
    pub entry_maddr: u64,
}

const_assert_eq!(size_of::<KexecLoad>(), 24);
