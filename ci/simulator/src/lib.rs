//! The composition on a fake machine.
//!
//! [`World`] is what a crash leaves and what it does not; [`Guest`] does at random what guests do; a
//! [`campaign`] runs each entry of the guest without a crash, then from the same state with a crash at every
//! step of it (and now and then with another one inside the recovery), and compares what both came to.
//! An auditor that shares no code with the logic looks at every state in between.
#![forbid(unsafe_code)]

mod audit;
mod baton;
mod campaign;
mod compare;
mod entry;
mod guest;
mod kernel;
mod machine;
mod memory;
mod pairs;
mod pci;
mod random;
mod regions;
mod run;
mod shared;
mod shootdown;
mod steps;
mod tlb;
mod world;

pub use campaign::{Crashes, Figures, Mistake, Plan, Report, campaign};
pub use entry::{Entry, Write};
pub use guest::Guest;
pub use machine::Machine;
pub use pairs::{Meetings, meetings};
pub use steps::{Cut, Ran};
pub use world::{Size, World};
