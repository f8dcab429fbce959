//! Who gets a CPU: weights, caps, affinity and CPU pools, with the meaning that Xen's credit2 gives them.
//!
//! What the toolstack sets is durable ([`Region`]) and changes by transactions. Who waits, how much each has had, and
//! whose turn it is are derived ([`Queues`]): a start knows nothing of them and looks at every vCPU anew.
//!
//! Time is *paid* for: ns divided by the domain's weight. Of those who wait for a CPU and may have it, the one that has
//! paid least runs next, for as long as it takes to catch up with the next one and a little more. What was paid while
//! nobody else wanted the CPU is forgotten, as is what was not used while sleeping, up to a short time.
//!
//! Lock order: [`Region`]'s lock is a leaf among those of transactions, that of [`Queues`] a leaf of its own.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod audit;
mod budget;
mod change;
mod cpu_set;
mod idle;
mod pay;
mod pools;
mod queues;
mod record;
mod turn;

pub use audit::{Violation, audit};
pub use change::DEFAULT_WEIGHT;
pub use cpu_set::{CpuSet, MAX_CPUS};
pub use queues::{Queues, Told, Vcpus, Wish};
pub use record::{Affinity, Cpu, Pool, PoolSlot, Region, Share};

/// Why a change is refused. Each variant is one errno of the control interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// No such pool (`-ENOENT`).
    NoSuchPool,
    /// No such CPU, no CPU that would do, or an impossible value (`-EINVAL`).
    Invalid,
    /// The CPU to be given to a pool is in one (`-ENODEV`).
    NotLoose,
    /// The CPU to be taken from a pool is not in it (`-EADDRNOTAVAIL`).
    NotIts,
    /// The pool is in use (`-EBUSY`).
    Busy,
    /// There is such a pool already (`-EEXIST`).
    Exists,
    /// No room for another pool (`-ENOMEM`).
    NoRoom,
}
