//! Deadlines of vCPUs, the arithmetic of system time, and the time that guests are shown.
//!
//! Deadlines and runstates are durable; which CPU wakes for which of them is derived ([`Derived`]) and follows
//! them: a transaction that changes a deadline publishes `kind::TIMER`, whose application is
//! [`Timers::apply`]. A deadline is cleared by the transaction that raises its event, so it fires once
//! whatever crashes.
//!
//! Named repairs of the words shared with guests: a time page or wall clock with an odd version is published
//! again ([`publish_time`], [`publish_wall_clock`]); publishing always ends in an even version. A runstate area
//! with the update bit set is published again ([`Runstate::publish`]).
//!
//! All times are nanoseconds of system time (since boot) unless a name says otherwise; "now" is an argument.
//!
//! Lock order: a vCPU's lock, then a queue's (a leaf), two queues by ascending CPU.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod audit;
mod clock;
mod deadline;
mod queue;
mod record;
mod runstate;
mod scale;
mod show;

pub use audit::{Violation, audit};
pub use clock::WallClock;
pub use deadline::{FUTURE_ONLY, Fired, MAX_PERIOD, MIN_PERIOD};
pub use queue::{Derived, rebuild};
pub use record::{Clock, Region, VcpuTimer, WATCHDOGS};
pub use runstate::{Runstate, State, UPDATE};
pub use scale::TimeScale;
pub use show::{TSC_STABLE, TimeInfo, publish_time, publish_wall_clock};

/// Why an operation is refused. Each variant is one errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// No such vCPU (`-ENOENT`).
    NoSuchVcpu,
    /// A period or a time out of range (`-EINVAL`).
    Invalid,
    /// The deadline has passed, and only a future one was wanted (`-ETIME`).
    Past,
    /// The vCPU exists (`-EEXIST`).
    Exists,
}

/// All deadlines, at work: durable region and derived queues.
#[derive(Debug, Clone, Copy)]
pub struct Timers<'l> {
    /// The durable records.
    pub region: Region,
    /// Locks and queues.
    pub derived: &'l Derived,
}
