//! What a PV guest may see and set of the processor.
//!
//! * [`cpuid`]: a [`Policy`] per domain, computed once from the host's CPUID and immutable afterwards, and
//!   what each query shows of it;
//! * [`xen_leaves`]: the hypervisor's own CPUID leaves;
//! * [`msr`]: reads and writes of model-specific registers;
//! * [`control`]: CR0, CR4, XCR0 and the debug registers;
//! * [`descriptor`]: GDT and LDT entries and selectors.
//!
//! Pure functions and plain data: nothing here executes CPUID or touches a register. Where the processor
//! has to be asked, the answer says so and the caller does it.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod control;
pub mod cpuid;
pub mod descriptor;
mod extended_state;
pub mod features;
mod host;
pub mod msr;
#[cfg(test)]
mod test_host;
pub mod xen_leaves;

pub use cpuid::{Dynamic, Leaf, Policy, Vendor, Via};
pub use features::{Feature, FeatureSet};
pub use host::{Audience, Controls, host_features};

/// The guest gets #GP (error code 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralProtection;
