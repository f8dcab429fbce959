//! Physical interrupts that guests handle (public/physdev.h): routes, vectors, PIRQs, and who still owes an
//! end of interrupt.
//!
//! An *irq* is a global number: GSIs from 0, MSI slots above them. A *pirq* is a domain's name for one. An irq
//! is handled by one domain at a time. What the hardware is told follows from the records alone
//! ([`Irqs::route`]): a transaction that changes a route publishes `kind::IRQ_ROUTE`, and recovery programs
//! all of them again.
//!
//! | trigger | at an interrupt | the guest's end of interrupt |
//! |---|---|---|
//! | level | masked, acknowledged, event raised | unmasks |
//! | edge, MSI | acknowledged, event raised | nothing to do |
//!
//! An interrupt found in service by recovery is simply taken once more: the event is raised again, a level
//! one is masked already.
//!
//! Lock order: the mapping lock, then an irq's lock. State class: all records are *durable*, [`Derived`] is
//! *derived*.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod audit;
mod handle;
mod map;
mod record;
mod route;
mod tables;
mod teardown;
mod vectors;

pub use audit::{Violation, audit, held_frames};
pub use handle::{Action, Binding, Eoi, STATUS_NEEDS_EOI, STATUS_SHARED};
pub use map::{Mapped, MsiSource, Source};
pub use record::{Counts, Derived, DomainIrqs, IrqRecord, Kind, MAX_PIRQS, PirqTable, Region, rebuild};
pub use route::{Polarity, RouteWord, Trigger};
pub use tables::{Guard, Met, MsixTable, TableRecord, Tables};
pub use vectors::{FIRST_VECTOR, LAST_VECTOR};

/// Why an operation is refused. Each variant is one errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The slot has no PIRQs (`-ESRCH`).
    NoSuchDomain,
    /// A number out of range, or not mapped (`-EINVAL`).
    Invalid,
    /// Set up, mapped or bound already (`-EEXIST`).
    Exists,
    /// Mapped to another domain, the hypervisor's own, or an end-of-interrupt page is registered already (`-EBUSY`).
    Busy,
    /// No free PIRQ or vector (`-ENOSPC`).
    NoSpace,
    /// No PIRQ table left (`-ENOMEM`).
    NoMemory,
    /// A number of messages out of 1..=32 (`-EDOM`).
    OutOfDomain,
    /// Several messages need interrupt remapping (`-EOPNOTSUPP`).
    NotSupported,
}

/// All interrupts, at work: durable region and derived state.
#[derive(Debug, Clone, Copy)]
pub struct Irqs<'l> {
    /// The durable records.
    pub region: Region,
    /// Locks.
    pub derived: &'l Derived,
}
