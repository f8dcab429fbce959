//! The hypercalls: one module per family, one table ([`dispatch`]).
//!
//! A handler gets a [`Call`]: the arguments copied once from the guest's registers, the state, and its
//! CPU's journal. It changes durable state in transactions and says what comes of it as an [`Outcome`].
//! It may be run again from the start at any time until it has replied: what it has committed it must
//! find again (`Tx::advance`, [`Call::done`]), what it has not is undone.
//!
//! - A handler without side effects returns [`Outcome::Value`].
//! - A handler with one transaction calls [`Call::reply`] in it and returns [`Outcome::Replied`]: effect
//!   and result are one commit.
//! - A long handler commits element by element, counting each by `advance`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod absent;
mod affinity;
mod allocation;
mod assist;
mod batch;
mod bitmap;
mod call;
mod console_io;
mod cpu_state;
mod descriptors;
mod domain_info;
mod domctl;
mod efi;
mod event_channel;
mod firmware;
mod grant_table;
mod hypfs;
mod kexec;
mod keys;
mod large_extents;
mod mca;
mod memory_claim;
mod memory_exchange;
mod memory_map;
mod memory_op;
mod memory_query;
mod memory_reservation;
mod mmu_update;
mod mmuext;
mod multicall;
mod notice;
mod physdev;
mod platform_op;
mod pools;
mod processor;
mod reply;
mod sched_op;
mod shutdown;
mod sysctl;
mod table;
mod told;
mod tools;
mod topology;
mod traces;
mod trap_table;
mod va_mapping;
mod vcpu_init;
mod vcpu_op;
mod version;

pub use call::{Call, Clock, Cpus, Crash, Outcome};
pub use domctl::{find_dead, forget_dead, remove_gone};
pub use hypfs::LEVELS;
pub use reply::Reply;
pub use shutdown::shut_down;
pub use sysctl::FORGET;
pub use table::dispatch;
pub use told::Told;
