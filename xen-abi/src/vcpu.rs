//! vCPU operations (`vcpu.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Sub-operations of `vcpu_op`.
    VCPU_OPS: u32;
    /// Sets the initial state: [`VcpuGuestContext`](crate::arch::VcpuGuestContext).
    VCPUOP_INITIALISE = 0, "VCPUOP_initialise";
    /// Lets the vCPU run.
    VCPUOP_UP = 1, "VCPUOP_up";
    /// Stops the vCPU.
    VCPUOP_DOWN = 2, "VCPUOP_down";
    /// Returns 1 if it is up.
    VCPUOP_IS_UP = 3, "VCPUOP_is_up";
    /// Reads [`VcpuRunstateInfo`].
    VCPUOP_GET_RUNSTATE_INFO = 4, "VCPUOP_get_runstate_info";
    /// Registers an area for it: [`VcpuRegisterRunstateMemoryArea`].
    VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA = 5, "VCPUOP_register_runstate_memory_area";
    /// Starts the periodic timer: [`VcpuSetPeriodicTimer`].
    VCPUOP_SET_PERIODIC_TIMER = 6, "VCPUOP_set_periodic_timer";
    /// Stops it.
    VCPUOP_STOP_PERIODIC_TIMER = 7, "VCPUOP_stop_periodic_timer";
    /// Starts the one-shot timer: [`VcpuSetSingleshotTimer`].
    VCPUOP_SET_SINGLESHOT_TIMER = 8, "VCPUOP_set_singleshot_timer";
    /// Stops it.
    VCPUOP_STOP_SINGLESHOT_TIMER = 9, "VCPUOP_stop_singleshot_timer";
    /// Moves the vCPU info: [`VcpuRegisterVcpuInfo`].
    VCPUOP_REGISTER_VCPU_INFO = 10, "VCPUOP_register_vcpu_info";
    /// Sends an NMI.
    VCPUOP_SEND_NMI = 11, "VCPUOP_send_nmi";
    /// Reads the physical identifiers: [`VcpuGetPhysid`].
    VCPUOP_GET_PHYSID = 12, "VCPUOP_get_physid";
    /// Registers an area for the time: [`VcpuRegisterTimeMemoryArea`].
    VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA = 13, "VCPUOP_register_vcpu_time_memory_area";
}

constants! {
    /// Values of [`VcpuRunstateInfo::state`].
    RUNSTATES: i32;
    /// Running on a physical CPU.
    RUNSTATE_RUNNING = 0, "RUNSTATE_running";
    /// Runnable but not running.
    RUNSTATE_RUNNABLE = 1, "RUNSTATE_runnable";
    /// Blocked, waiting for an event.
    RUNSTATE_BLOCKED = 2, "RUNSTATE_blocked";
    /// Neither runnable nor blocked: paused or down.
    RUNSTATE_OFFLINE = 3, "RUNSTATE_offline";
}

constants! {
    /// Bits of [`VcpuSetSingleshotTimer::flags`].
    VCPU_FLAGS: u32;
    /// Refuse a timeout in the past.
    VCPU_SSHOTTMR_FUTURE = 1, "VCPU_SSHOTTMR_future";
}

constants! {
    /// Marks in [`VcpuRunstateInfo::state_entry_time`].
    RUNSTATE_MARKS: u64;
    /// An update is in progress.
    XEN_RUNSTATE_UPDATE = 1_u64<<63, "XEN_RUNSTATE_UPDATE";
}

/// How a vCPU has spent its time. C name: `vcpu_runstate_info_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuRunstateInfo {
    /// One of [`RUNSTATES`].
    pub state: i32,
    /// Padding.
    pub _pad0: [u8; 4],
    /// System time of entry to it, ns.
    pub state_entry_time: u64,
    /// Time spent in each state, ns.
    pub time: [u64; 4],
}

const_assert_eq!(size_of::<VcpuRunstateInfo>(), 48);

/// Argument of `VCPUOP_register_runstate_memory_area`. C name: `vcpu_register_runstate_memory_area_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuRegisterRunstateMemoryArea {
    /// Linear address (C: union `addr`).
    pub addr: u64,
}

const_assert_eq!(size_of::<VcpuRegisterRunstateMemoryArea>(), 8);

/// Argument of `VCPUOP_set_periodic_timer`. C name: `vcpu_set_periodic_timer_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuSetPeriodicTimer {
    /// Period in ns.
    pub period_ns: u64,
}

const_assert_eq!(size_of::<VcpuSetPeriodicTimer>(), 8);

/// Argument of `VCPUOP_set_singleshot_timer`. C name: `vcpu_set_singleshot_timer_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuSetSingleshotTimer {
    /// Absolute system time in ns.
    pub timeout_abs_ns: u64,
    /// Bits of [`VCPU_FLAGS`].
    pub flags: u32,
    /// Padding.
    pub _pad0: [u8; 4],
}

const_assert_eq!(size_of::<VcpuSetSingleshotTimer>(), 16);

/// Argument of `VCPUOP_register_vcpu_info`. C name: `vcpu_register_vcpu_info_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuRegisterVcpuInfo {
    /// Frame.
    pub mfn: u64,
    /// Offset in it.
    pub offset: u32,
    /// Must be zero.
    pub rsvd: u32,
}

const_assert_eq!(size_of::<VcpuRegisterVcpuInfo>(), 16);

/// Argument of `VCPUOP_get_physid`. C name: `vcpu_get_physid_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuGetPhysid {
    /// Out: APIC id in the low, ACPI id in the high 32 bits.
    pub phys_id: u64,
}

const_assert_eq!(size_of::<VcpuGetPhysid>(), 8);

/// Argument of `VCPUOP_register_vcpu_time_memory_area`. C name: `vcpu_register_time_memory_area_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuRegisterTimeMemoryArea {
    /// Linear address (C: union `addr`).
    pub addr: u64,
}

const_assert_eq!(size_of::<VcpuRegisterTimeMemoryArea>(), 8);
