//! Scheduler operations (`sched.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Sub-operations of `sched_op`.
    SCHED_OPS: u32;
    /// Gives up the CPU for now.
    SCHEDOP_YIELD = 0, "SCHEDOP_yield";
    /// Unmasks events and sleeps until one is pending.
    SCHEDOP_BLOCK = 1, "SCHEDOP_block";
    /// Shuts the domain down: [`SchedShutdown`].
    SCHEDOP_SHUTDOWN = 2, "SCHEDOP_shutdown";
    /// Sleeps until a port is pending: [`SchedPoll`].
    SCHEDOP_POLL = 3, "SCHEDOP_poll";
    /// Shuts another domain down: [`SchedRemoteShutdown`].
    SCHEDOP_REMOTE_SHUTDOWN = 4, "SCHEDOP_remote_shutdown";
    /// Records a shutdown reason: [`SchedShutdown`].
    SCHEDOP_SHUTDOWN_CODE = 5, "SCHEDOP_shutdown_code";
    /// Sets, kicks or clears a watchdog: [`SchedWatchdog`].
    SCHEDOP_WATCHDOG = 6, "SCHEDOP_watchdog";
    /// Pins the vCPU for a while: [`SchedPinOverride`].
    SCHEDOP_PIN_OVERRIDE = 7, "SCHEDOP_pin_override";
}

constants! {
    /// Shutdown reasons.
    SHUTDOWN_REASONS: u32;
    /// Orderly power-off.
    SHUTDOWN_POWEROFF = 0, "SHUTDOWN_poweroff";
    /// Orderly reboot.
    SHUTDOWN_REBOOT = 1, "SHUTDOWN_reboot";
    /// Suspended, state may be saved.
    SHUTDOWN_SUSPEND = 2, "SHUTDOWN_suspend";
    /// The guest crashed.
    SHUTDOWN_CRASH = 3, "SHUTDOWN_crash";
    /// The watchdog expired.
    SHUTDOWN_WATCHDOG = 4, "SHUTDOWN_watchdog";
    /// Reset of the domain's state with memory kept.
    SHUTDOWN_SOFT_RESET = 5, "SHUTDOWN_soft_reset";
    /// Largest reason.
    SHUTDOWN_MAX = 5, "SHUTDOWN_MAX";
}

/// Argument of `SCHEDOP_shutdown` and `SCHEDOP_shutdown_code`. C name: `sched_shutdown_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedShutdown {
    /// One of [`SHUTDOWN_REASONS`].
    pub reason: u32,
}

const_assert_eq!(size_of::<SchedShutdown>(), 4);

/// Argument of `SCHEDOP_poll`. C name: `sched_poll_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedPoll {
    /// Address of the port numbers (u32 each).
    pub ports: u64,
    /// How many.
    pub nr_ports: u32,
    /// Padding.
    pub _pad0: [u8; 4],
    /// Absolute system time in ns; 0: none.
    pub timeout: u64,
}

const_assert_eq!(size_of::<SchedPoll>(), 24);

/// Argument of `SCHEDOP_remote_shutdown`. C name: `sched_remote_shutdown_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedRemoteShutdown {
    /// Domain to shut down.
    pub domain_id: u16,
    /// Padding.
    pub _pad0: [u8; 2],
    /// One of [`SHUTDOWN_REASONS`].
    pub reason: u32,
}

const_assert_eq!(size_of::<SchedRemoteShutdown>(), 8);

/// Argument of `SCHEDOP_watchdog`. C name: `sched_watchdog_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedWatchdog {
    /// Watchdog; 0: a new one.
    pub id: u32,
    /// Seconds; 0: off.
    pub timeout: u32,
}

const_assert_eq!(size_of::<SchedWatchdog>(), 8);

/// Argument of `SCHEDOP_pin_override`. C name: `sched_pin_override_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SchedPinOverride {
    /// Physical CPU; negative: end.
    pub pcpu: i32,
}

const_assert_eq!(size_of::<SchedPinOverride>(), 4);
