//! The page shared by a domain and the hypervisor (`xen.h`, `arch-x86/xen.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Bits of [`VcpuTimeInfo::flags`].
    PVCLOCK_FLAGS: u8;
    /// Time is monotonic across the vCPUs.
    XEN_PVCLOCK_TSC_STABLE_BIT = 1, "XEN_PVCLOCK_TSC_STABLE_BIT";
    /// The guest was stopped by its host.
    XEN_PVCLOCK_GUEST_STOPPED = 2, "XEN_PVCLOCK_GUEST_STOPPED";
}

constants! {
    /// Size of the legacy vCPU array.
    LEGACY_LIMITS: usize;
    /// vCPUs with a slot in [`SharedInfo::vcpu_info`].
    XEN_LEGACY_MAX_VCPUS = 32, "XEN_LEGACY_MAX_VCPUS";
}

/// Time parameters of one vCPU. ns = `system_time` + (((tsc - `tsc_timestamp`) << `tsc_shift`) *
/// `tsc_to_system_mul` >> 32). C name: `vcpu_time_info_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuTimeInfo {
    /// Odd while an update is in progress.
    pub version: u32,
    /// Padding.
    pub _pad: u32,
    /// TSC at the last update.
    pub tsc_timestamp: u64,
    /// Nanoseconds since boot at the last update.
    pub system_time: u64,
    /// Scale: nanoseconds per tick, times 2^32, after the shift.
    pub tsc_to_system_mul: u32,
    /// Left shift of the TSC difference, right if negative.
    pub tsc_shift: i8,
    /// Bits of [`PVCLOCK_FLAGS`].
    pub flags: u8,
    /// Padding.
    pub _pad1: [u8; 2],
}

const_assert_eq!(size_of::<VcpuTimeInfo>(), 32);

/// x86 part of [`VcpuInfo`]. C name: `arch_vcpu_info_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArchVcpuInfo {
    /// Address of the last page fault delivered.
    pub cr2: u64,
    /// Padding.
    pub _pad: u64,
}

const_assert_eq!(size_of::<ArchVcpuInfo>(), 16);

/// State shared with one vCPU. C name: `vcpu_info_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuInfo {
    /// Non-zero: an event is pending.
    pub evtchn_upcall_pending: u8,
    /// Non-zero: upcalls are masked.
    pub evtchn_upcall_mask: u8,
    /// Padding.
    pub _pad: [u8; 6],
    /// Bit per word of pending bits with something in it.
    pub evtchn_pending_sel: u64,
    /// x86 part.
    pub arch: ArchVcpuInfo,
    /// Time parameters.
    pub time: VcpuTimeInfo,
}

const_assert_eq!(size_of::<VcpuInfo>(), 64);

/// x86 part of [`SharedInfo`]. C name: `arch_shared_info_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ArchSharedInfo {
    /// Valid entries of the P2M.
    pub max_pfn: u64,
    /// Frame of the three-level P2M tree's root; all ones when the linear P2M alone is valid.
    pub pfn_to_mfn_frame_list_list: u64,
    /// Bits of [`NMI_REASONS`](crate::nmi::NMI_REASONS).
    pub nmi_reason: u64,
    /// Root table (CR3 form) in which `p2m_vaddr` is mapped; 0: none.
    pub p2m_cr3: u64,
    /// Linear address of the P2M.
    pub p2m_vaddr: u64,
    /// Odd while the P2M is being changed.
    pub p2m_generation: u64,
}

const_assert_eq!(size_of::<ArchSharedInfo>(), 48);

/// The shared info page. C name: `shared_info_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SharedInfo {
    /// Slots of the first vCPUs.
    pub vcpu_info: [VcpuInfo; XEN_LEGACY_MAX_VCPUS],
    /// Pending bit per port (two-level ABI).
    pub evtchn_pending: [u64; 64],
    /// Mask bit per port (two-level ABI).
    pub evtchn_mask: [u64; 64],
    /// Version of the wall clock, odd while it changes.
    pub wc_version: u32,
    /// Low 32 bits of the seconds of the Unix epoch at system time 0.
    pub wc_sec: u32,
    /// Nanoseconds of the same.
    pub wc_nsec: u32,
    /// High 32 bits of the seconds.
    pub wc_sec_hi: u32,
    /// x86 part.
    pub arch: ArchSharedInfo,
}

const_assert_eq!(size_of::<SharedInfo>(), 3136);
