//! The composition: entry reason to handler, outbox to machine, next vCPU.
//!
//! Written over a [`Platform`], so that the same code runs on the machine and in the simulator. Nothing
//! here survives a microreboot: a [`System`] is put together by every start from the durable regions.
//!
//! # An entry, and what a crash does to it
//!
//! 1. The processor and the entry stub put the guest's registers into its context.
//! 2. [`System::enter`] opens the log, the handler runs; its transactions commit element by element.
//! 3. The transaction that ends the entry is marked *last*: its outbox changes the registers and closes
//!    the log.
//! 4. [`System::leave`] delivers events and chooses who runs.
//!
//! Stopped with the log closed, there is nothing to repeat; open, the transaction is undone and the entry
//! dispatched again from the registers (and the log's progress); committed, its outbox is finished first.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod applier;
mod charge;
mod config_space;
mod crash;
mod device_writes;
mod end;
mod entry;
mod faults;
mod flush;
mod interrupt;
mod leave;
mod load;
mod msr;
mod nmi;
mod platform;
mod ports;
mod privileged;
mod recover;
mod schedule;
mod switch;
mod synchronise;
mod time;
mod traces;
mod transfer;

pub use applier::Applier;
pub use charge::MOST_FAILURES;
pub use faults::{INFO_CR2, USER_ERROR};
pub use hypercalls::Clock;
pub use interrupt::own_vector;
pub use platform::{Base, Flush, Platform, Power};
pub use recover::{Repaired, Stopped};
pub use schedule::Schedule;

use domain::State;
use timers::TimeScale;

/// The composition for one start of the hypervisor.
pub struct System<P: 'static> {
    /// The machine.
    pub platform: &'static P,
    /// The durable regions with their derived parts.
    pub state: &'static State,
    /// Numbers of the Xen CPUID leaves.
    pub leaves: cpu_policy::xen_leaves::XenLeaves,
    /// Who runs where.
    pub schedule: Schedule,
    /// TSC to system time.
    pub scale: TimeScale,
}

impl<P> core::fmt::Debug for System<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "System({:?})", self.state)
    }
}
