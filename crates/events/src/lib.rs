//! Event channels: ports, their bindings, and their delivery by the two-level and the FIFO ABI
//! (public/event_channel.h).
//!
//! # State
//!
//! | state | class | covered by |
//! |---|---|---|
//! | [`DomainEvents`], [`VcpuEvents`], [`Chunk`] port words | durable | the domain's lock; lock-free readers see committed values only |
//! | chunk pool | durable | the pool's lock |
//! | bitmaps, event words, control blocks, upcall bytes | shared with the guest | repaired, see below |
//! | [`Traced`] words (FIFO queue tails, a port's queue) | follow the guest's words, outside the journal | the delivery lock; repaired |
//! | [`Derived`] | derived | made by [`rebuild`] |
//!
//! Port words are written by the *outbox* (`publish_set`), never before the commit, so that
//! [`send`](Events::send) and [`raise`](Events::raise) read them without a lock.
//!
//! # Delivery and its named repairs
//!
//! A raised port is an effect (`kind::EVENT`), hence repeated by recovery until its outbox is known to be
//! empty. Every word it writes bears that:
//!
//! - **two-level**: pending, then selector, then upcall; each is set again by a repetition.
//! - **FIFO** (`repair_fifo`): before an event is linked its port is noted as *linking* in the queue's
//!   [`Traced`] word, and the note is dropped only after the event can be reached, the ready bit is set and
//!   the upcall is pending. A leftover note means a link cut in the middle: linking the noted port again
//!   to the noted tail is harmless at every point. [`Events::repair_fifo`] does so for every vCPU, after
//!   roll-back and before any outbox is drained.
//! - **BUSY** is never set here. It would make a guest spin, for ever if the hypervisor died before
//!   clearing it. The exchange of a link is retried a bounded number of times instead; a guest that makes
//!   all of them fail loses its own events.
//!
//! A kick lost in a crash needs no repair here: recovery wakes every vCPU.
//!
//! # Lock order
//!
//! Domain locks by ascending slot, the pool's lock, then the delivery lock of a domain (a leaf, held only
//! inside one call).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod allocate;
mod audit;
mod bind;
mod close;
mod create;
mod deliver;
mod derived;
mod fifo;
mod fifo_setup;
mod layout;
mod port;
mod region;
mod teardown;
mod two_level;
mod vcpu;
mod virq;

pub use audit::{Violation, audit, held_frames};
pub use bind::Status;
pub use close::Closed;
pub use create::NewDomain;
pub use derived::{Derived, rebuild};
pub use layout::{LINK_BITS, MAX_PORTS, MAX_PRIORITY, VIRQS};
pub use port::{PortWord, State, Traced};
pub use region::{Chunk, Counts, DomainEvents, PortRecord, Region, VcpuEvents};
pub use teardown::Step;
pub use vcpu::Upcall;
pub use virq::is_global;

use guest_memory::GuestMemory;

/// Why an operation is refused. Each variant is one errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The slot has no event channels (`-ESRCH`).
    NoSuchDomain,
    /// No such vCPU in the domain (`-ENOENT`).
    NoSuchVcpu,
    /// The port is no valid one, or not in a state for this (`-EINVAL`).
    Invalid,
    /// The VIRQ is bound already (`-EEXIST`).
    Exists,
    /// No free port below the domain's limit, or the event array is complete (`-ENOSPC`).
    NoSpace,
    /// The hypervisor has no port chunk left (`-ENOMEM`).
    NoMemory,
    /// A vcpu_info that crosses its page or is misaligned (`-ENXIO`).
    BadOffset,
    /// The two-level ABI has no such operation (`-ENOSYS`).
    NoOperation,
    /// The domain has not switched to the FIFO ABI (`-EOPNOTSUPP`).
    NotSupported,
    /// Something changed while locks were taken, or a reset is under way: the caller rolls back and runs
    /// the entry again (no errno; a continuation).
    Again,
}

/// The event channels of all domains, at work: durable region, derived state, and memory.
pub struct Events<'l, M> {
    /// The durable records.
    pub region: Region,
    /// Locks and hints.
    pub derived: &'l Derived,
    /// Guest memory by machine address.
    pub mem: &'l M,
}

impl<M> core::fmt::Debug for Events<'_, M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Events").field("region", &self.region).finish_non_exhaustive()
    }
}

impl<'l, M: GuestMemory> Events<'l, M> {
    /// Puts the parts together; nothing is stored.
    pub const fn new(region: Region, derived: &'l Derived, mem: &'l M) -> Self {
        Self { region, derived, mem }
    }
}
