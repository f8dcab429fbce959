//! Requests of `sysctl` and `domctl` about processors, whatever the release. Buffers are guest addresses.

/// Records in the caller's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records {
    /// Guest address of the first; 0: none wanted.
    pub at: u64,
    /// How many there are, or is room for.
    pub count: u32,
}

/// Whose policy, or feature set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemPolicy {
    /// The processor's own.
    Raw,
    /// What the hypervisor uses.
    Host,
    /// The most a PV guest can get.
    PvMax,
    /// What a PV guest gets unless told otherwise.
    PvDefault,
    /// Those of HVM guests.
    Hvm,
}

/// What the toolstack asks of the machine's processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessorRequest {
    /// How a guest's own CPUID can be kept from the processor's answer.
    Levelling,
    /// A feature set.
    Features {
        /// Which; none: there is no such one.
        of: Option<SystemPolicy>,
        /// For its words.
        words: Records,
    },
    /// A policy.
    Policy {
        /// Whose.
        of: SystemPolicy,
        /// For its leaves.
        leaves: Records,
        /// For its registers.
        registers: Records,
    },
}

/// What is wrong with a policy; fields that do not apply are all ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyFault {
    /// The leaf.
    pub leaf: u32,
    /// Its subleaf.
    pub subleaf: u32,
    /// The register.
    pub register: u32,
}

impl PolicyFault {
    /// Nothing in particular.
    pub const NOWHERE: Self = Self { leaf: u32::MAX, subleaf: u32::MAX, register: u32::MAX };
}
