//! The policies of the system: those that domains' ones are made of, and what the toolstack is told of the machine.

use crate::cpuid::{EXTENDED, Leaf, Policy};
use crate::features::{COMMON_EDX, FEATURE_LEAVES, Feature, FeatureSet, WORDS};
use crate::host::{Audience, Controls, Host};
use crate::listing::each_leaf;
use crate::{Vendor, listing};

/// Which one is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The processor's own.
    Raw,
    /// What the hypervisor uses.
    Host,
    /// The most a PV guest can get.
    PvMax,
    /// What a PV guest gets unless the toolstack says otherwise.
    PvDefault,
}

/// All of them. State class: derived, made by every start.
#[derive(Debug)]
pub struct SystemPolicies {
    /// The processor's CPUID.
    cpuid: fn(u32, u32) -> Leaf,
    arch_capabilities: u64,
    host: Policy,
    max: Policy,
    default: Policy,
    hardware: Policy,
}

impl SystemPolicies {
    /// Of no processor: nobody gets anything.
    pub const NONE: Self = Self {
        cpuid: |_, _| Leaf::EMPTY,
        arch_capabilities: 0,
        host: Policy::empty(),
        max: Policy::empty(),
        default: Policy::empty(),
        hardware: Policy::empty(),
    };

    /// Of the processor whose CPUID answers as `cpuid(leaf, subleaf)`.
    pub fn new(cpuid: fn(u32, u32) -> Leaf, controls: &Controls) -> Self {
        let host = Host::read(&cpuid, controls);
        Self {
            cpuid,
            arch_capabilities: controls.arch_capabilities,
            host: host.policy(Audience::Host),
            max: host.policy(Audience::Max),
            default: host.policy(Audience::Default),
            hardware: host.policy(Audience::HardwareDomain),
        }
    }

    /// The most a PV guest can get.
    pub fn max(&self) -> &Policy {
        &self.max
    }

    /// What a PV guest gets unless the toolstack says otherwise.
    pub fn default(&self) -> &Policy {
        &self.default
    }

    /// The hardware domain's.
    pub fn hardware(&self) -> &Policy {
        &self.hardware
    }

    /// One leaf. Of the processor's own, what depends on the CPU that answers is left out: its numbers, and the
    /// consequences of its present CR4 and XCR0.
    fn leaf(&self, which: Which, leaf: u32, subleaf: u32) -> Leaf {
        let policy = match which {
            Which::Raw => return self.raw(leaf, subleaf),
            Which::Host => return self.host.leaf(leaf, subleaf),
            Which::PvMax => &self.max,
            Which::PvDefault => &self.default,
        };
        let shown = policy.leaf(leaf, subleaf);
        // What AMD's processors repeat is added for a domain alone.
        if leaf == EXTENDED + 1 { Leaf { edx: policy.features.0[2], ..shown } } else { shown }
    }

    fn raw(&self, leaf: u32, subleaf: u32) -> Leaf {
        if listing::HYPERVISOR_LEAVES.contains(&leaf) {
            return Leaf::EMPTY;
        }
        let mut raw = (self.cpuid)(leaf, subleaf);
        match (leaf, subleaf) {
            (1, _) => {
                raw.ebx &= 0x00ff_ffff;
                raw.ecx &= !Feature::OSXSAVE.mask();
            }
            (7, 0) => raw.ecx &= !Feature::OSPKE.mask(),
            (0xb, _) => raw.edx = 0,
            (0xd, 0 | 1) => raw.ebx = 0,
            (0x8000_001e, _) => raw.eax = 0,
            _ => {}
        }
        raw
    }

    /// Calls `each(leaf, subleaf or NO_SUBLEAF, value)` for every leaf, ascending.
    ///
    /// # Errors
    /// What `each` says; then it is not called again.
    pub fn each_leaf<E>(
        &self,
        which: Which,
        each: impl FnMut(u32, u32, Leaf) -> Result<(), E>,
    ) -> Result<(), E> {
        each_leaf(&|leaf, subleaf| self.leaf(which, leaf, subleaf), each)
    }

    /// The registers that belong to a policy.
    pub fn registers(&self, which: Which) -> Registers {
        match which {
            Which::Raw => Registers { platform_info: 0, arch_capabilities: self.raw_capabilities() },
            Which::Host => self.host.registers(),
            Which::PvMax => self.max.registers(),
            Which::PvDefault => self.default.registers(),
        }
    }

    fn raw_capabilities(&self) -> u64 {
        let has = self.raw(0, 0).eax >= 7 && self.raw(7, 0).edx & Feature::ARCH_CAPS.mask() != 0;
        if has { self.arch_capabilities } else { 0 }
    }

    /// The feature words.
    pub fn features(&self, which: Which) -> FeatureSet {
        match which {
            Which::Raw => self.raw_features(),
            Which::Host => {
                let mut words = self.host.features;
                let repeated = if self.host.vendor == Vendor::Amd { words.0[0] & COMMON_EDX } else { 0 };
                words.0[2] |= repeated;
                words
            }
            Which::PvMax => self.max.features,
            Which::PvDefault => self.default.features,
        }
    }

    fn raw_features(&self) -> FeatureSet {
        let mut words = FeatureSet([0; WORDS]);
        let (basic, extended) = (self.raw(0, 0).eax, self.raw(EXTENDED, 0).eax);
        let subleaves = if basic >= 7 { self.raw(7, 0).eax } else { 0 };
        for &(leaf, subleaf) in FEATURE_LEAVES {
            let limit = if leaf >= EXTENDED { extended } else { basic };
            if leaf <= limit && (leaf != 7 || subleaf <= subleaves) {
                // No maker: what is repeated stays.
                words.take_leaf(leaf, subleaf, &self.raw(leaf, subleaf), Vendor::Other);
            }
        }
        words.set_arch_capabilities(self.raw_capabilities());
        words
    }
}

/// Registers that belong to a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// PLATFORM_INFO.
    pub platform_info: u64,
    /// ARCH_CAPABILITIES.
    pub arch_capabilities: u64,
}

impl Registers {
    /// Registers a list has at most.
    pub const MOST: u32 = 2;

    /// Number and value of each, ascending.
    pub fn list(&self) -> [(u32, u64); 2] {
        [(PLATFORM_INFO, self.platform_info), (ARCH_CAPABILITIES, self.arch_capabilities)]
    }
}

/// MSR PLATFORM_INFO.
pub(crate) const PLATFORM_INFO: u32 = 0xce;
/// MSR ARCH_CAPABILITIES.
pub(crate) const ARCH_CAPABILITIES: u32 = 0x10a;
/// PLATFORM_INFO: CPUID faulting.
pub(crate) const INFO_CPUID_FAULTING: u64 = 1 << 31;

impl Policy {
    /// The registers that belong to it.
    pub fn registers(&self) -> Registers {
        Registers {
            platform_info: if self.cpuid_faulting { INFO_CPUID_FAULTING } else { 0 },
            arch_capabilities: self.arch_capabilities(),
        }
    }

    /// Calls `each(leaf, subleaf or NO_SUBLEAF, value)` for every leaf of the policy, ascending.
    ///
    /// # Errors
    /// What `each` says; then it is not called again.
    pub fn each_leaf<E>(&self, each: impl FnMut(u32, u32, Leaf) -> Result<(), E>) -> Result<(), E> {
        let get = |leaf, subleaf| match listing::HYPERVISOR_LEAVES.iter().position(|first| *first == leaf) {
            Some(which) => Leaf { eax: self.hypervisor_limits[which], ..Leaf::EMPTY },
            None => self.leaf(leaf, subleaf),
        };
        each_leaf(&get, each)
    }
}
