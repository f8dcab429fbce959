//! Where CPUs are, by their APIC identifiers.

use boot_info::{BootFacts, Cpu};

/// A CPU's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its package.
    pub(crate) package: u32,
    /// Its core in the package.
    pub(crate) core: u32,
    /// Its thread in the core.
    pub(crate) thread: u32,
    /// Cores of the package.
    pub(crate) cores: u32,
    /// Threads that a core has room for.
    pub(crate) threads: u32,
}

/// The place of the CPU with this identifier.
pub(crate) fn topology(facts: &BootFacts, apic_id: u32) -> Place {
    let bits = &facts.cpu;
    let below = |bits: u8| (1_u32 << bits.min(31)) - 1;
    let package = |id: u32| id >> bits.package_bits.min(31);
    let threads = 1 << bits.thread_bits.min(8);
    let is_near = |other: &&Cpu| package(other.apic_id) == package(apic_id);
    let near = facts.cpus().iter().filter(is_near).count() as u32;
    Place {
        package: package(apic_id),
        core: (apic_id & below(bits.package_bits)) >> bits.thread_bits.min(31),
        thread: apic_id & below(bits.thread_bits),
        cores: near.div_ceil(threads),
        threads,
    }
}
