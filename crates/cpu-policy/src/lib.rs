//! What a PV guest may see and set of the processor.
//!
//! * [`cpuid`]: a [`Policy`] and what each query shows of it;
//! * [`system`]: those computed from the host's CPUID: of the processor, the hypervisor, PV domains and Dom0;
//! * [`domains`]: the [`Policy`] of each domain, of which what the toolstack chose is durable;
//! * [`listing`] and [`submission`]: a policy as the toolstack reads and writes it;
//! * [`xen_leaves`]: the hypervisor's own CPUID leaves;
//! * [`msr`]: reads and writes of model-specific registers;
//! * [`control`]: CR0, CR4, XCR0 and the debug registers;
//! * [`descriptor`]: GDT and LDT entries and selectors.
//!
//! Nothing here executes CPUID or touches a register. Where the processor has to be asked, the answer says so and the
//! caller does it, or gives a function that does.
//!
//! State class: the records of [`domains`] are durable; the system's policies are derived, made anew by every start.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod control;
pub mod cpuid;
pub mod descriptor;
pub mod domains;
mod extended_state;
pub mod features;
mod host;
pub mod listing;
pub mod msr;
pub mod submission;
pub mod system;
#[cfg(test)]
mod test_host;
pub mod xen_leaves;

pub use cpuid::{Dynamic, Leaf, Policy, Vendor, Via};
pub use domains::{Policies, Shown};
pub use features::{Feature, FeatureSet};
pub use host::{Audience, Controls, host_features};
pub use system::SystemPolicies;

/// The guest gets #GP (error code 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;
