//! Side channels of speculative execution: what a CPU is vulnerable to, and what is done about it by default or by the
//! options `spec-ctrl=`, `xpti=` and `pv-l1tf=`.
//!
//! Pure decisions: [`Host`] and options in, a [`Plan`] out. The defaults are those of Xen 4.17
//! (docs/misc/xen-command-line), the lists of CPU models those of Intel's "Affected Processors: Transient Execution
//! Attacks" and AMD's security bulletins.
#![no_std]
#![forbid(unsafe_code)]

mod host;
mod models;
mod plan;
mod show;

pub use host::{Host, Vendor};
pub use plan::{ForDomains, Plan, Sequence, SpecCtrl, Thunk};
