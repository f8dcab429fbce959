//! Durable state that outlives the hypervisor, and the one way to change it.
//!
//! Everything that a microreboot must keep lives in *records*: plain words in fixed regions, changed
//! only inside a [`Tx`]. A transaction belongs to one CPU's [`Log`] and ends in **one store** that turns
//! that log from *undo* into *outbox*:
//!
//! - before the commit, [`Log::roll_back`] restores every word and the entry is dispatched again;
//! - after it, [`Log::drain`] finishes the published [`Effect`]s and the entry is never repeated.
//!
//! | word | how it is undone | who may see it before the commit |
//! |---|---|---|
//! | [`Durable`] | by value: it is covered by a lock held until the commit | nobody |
//! | [`Counter`] | by delta | everybody: a count too high is harmless |
//! | [`Word`] | by delta of one compare-exchange | everybody, under the owner crate's rules |
//!
//! A counter or word changes together with the log that remembers it: the machine's compare-exchange and
//! the store of the log head form one labelled sequence ([`step`]), so the stopped CPU's instruction
//! pointer tells whether the change happened.
//!
//! State class: all that is defined here is *durable*, but for [`LockWord`], which is *derived*.
#![no_std]

#[cfg(any(test, feature = "crash-points"))]
extern crate std;

mod arena;
mod cell;
mod drain;
mod effect;
pub mod flush;
mod head;
mod journal;
pub mod kind;
mod lock;
mod log;
mod puts;
pub mod step;
mod tx;

#[cfg(any(test, feature = "crash-points"))]
pub use arena::Ground;
pub use arena::{Arena, Carved, Field, Record};
pub use cell::{Counter, Durable, GuestOwned, Plain, Word};
pub use effect::{Apply, Effect, Once};
pub use head::{Head, Phase};
pub use journal::{Journal, Preempted};
pub use lock::{Hold, LockWord};
pub use log::{Log, MAX_EFFECTS, MAX_UNDO, Noted, OUTBOX_BYTES};
pub use puts::Puts;
pub use tx::{Mark, Tx};

#[doc(hidden)]
pub use zerocopy;
