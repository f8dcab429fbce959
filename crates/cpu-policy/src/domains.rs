//! The policy of each domain.
//!
//! The hardware domain has its own; every other one the default, until the toolstack chooses another before the domain
//! first runs. What was chosen is durable, in its final form, so that a [`Policy`] is put together from it when one is
//! needed and nothing is derived.

use core::ops::Deref;

use crate::cpuid::{EXTENDED, Leaf, Policy, Vendor};
use crate::features::{FeatureSet, WORDS};
use crate::system::SystemPolicies;
use ids::DomainSlot;
use vault::{Arena, Durable, LockWord, Tx, record};

/// Leaves of which more than features is kept, with their subleaf.
const KEPT: [(u32, u32); 18] = [
    (0, 0),
    (1, 0),
    (2, 0),
    (4, 0),
    (4, 1),
    (4, 2),
    (4, 3),
    (4, 4),
    (4, 5),
    (EXTENDED, 0),
    (EXTENDED + 1, 0),
    (EXTENDED + 2, 0),
    (EXTENDED + 3, 0),
    (EXTENDED + 4, 0),
    (EXTENDED + 5, 0),
    (EXTENDED + 6, 0),
    (EXTENDED + 8, 0),
    (EXTENDED + 0x1a, 0),
];

/// Pairs of feature words.
const PAIRS: usize = WORDS.div_ceil(2);

record! {
    /// The policy that the toolstack chose for the domain of one slot. State class: durable.
    ///
    /// Lock: [`Locks`] of the slot; all but `fixed` are read without it by the domain's own vCPUs, which run only after
    /// they were written last. Rebuild: nothing is derived.
    pub struct Chosen {
        /// Whether there is one; without, the domain has the default and the rest means nothing.
        given: Durable<bool>,
        /// Whether the domain has run: its policy stays as it is.
        fixed: Durable<bool>,
        /// CPUID faulting is offered.
        cpuid_faulting: Durable<bool>,
        /// Highest subleaf of leaf 7.
        max_feature_subleaf: Durable<u32>,
        /// Highest of the hypervisor's own leaves, of both ranges.
        hypervisor_limits: [Durable<u32>; 2],
        /// Feature words, two each.
        features: [Durable<u64>; PAIRS],
        /// Leaves that are kept: EAX and EBX, ECX and EDX.
        leaves: [[Durable<u64>; 2]; KEPT.len()],
    }
}

/// Locks of the records, by domain slot. Nothing is locked under one. Derived: all free after a start.
#[derive(Debug)]
pub struct Locks([LockWord; 64]);

impl Locks {
    /// Free locks.
    pub const fn new() -> Self {
        Self([const { LockWord::new() }; 64])
    }

    fn of(&self, slot: DomainSlot) -> &LockWord {
        &self.0[usize::from(slot.0) % self.0.len()]
    }
}

impl Default for Locks {
    fn default() -> Self {
        Self::new()
    }
}

/// A domain's policy: one of the system's, or put together for the occasion.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "lives for one question, on the stack")]
pub enum Shown {
    /// The system's.
    Shared(&'static Policy),
    /// The domain's own.
    Own(Policy),
}

impl Deref for Shown {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        match self {
            Self::Shared(policy) => policy,
            Self::Own(policy) => policy,
        }
    }
}

/// The policies of the system and of all domains.
#[derive(Clone, Copy)]
pub struct Policies {
    records: &'static [Chosen],
    locks: &'static Locks,
    /// The system's. Derived: set by every start.
    pub system: &'static SystemPolicies,
}

impl core::fmt::Debug for Policies {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Policies({} domains)", self.records.len())
    }
}

impl Policies {
    /// Carves a record for each of `domains` slots. `None` when the arena is too small.
    pub fn carve(arena: &mut Arena, domains: usize, locks: &'static Locks) -> Option<Self> {
        Some(Self { records: arena.carve(domains)?, locks, system: &const { SystemPolicies::NONE } })
    }

    fn record(&self, slot: DomainSlot) -> &'static Chosen {
        &self.records[usize::from(slot.0)]
    }

    /// What a domain is shown. `hardware`: it is the hardware domain.
    #[inline]
    pub fn of(&self, slot: DomainSlot, hardware: bool) -> Shown {
        if hardware {
            return Shown::Shared(self.system.hardware());
        }
        let record = self.record(slot);
        if record.given.get() { Shown::Own(self.read(record)) } else { Shown::Shared(self.system.default()) }
    }

    /// As [`of`](Self::of) while nobody changes it: for others than the domain itself.
    pub fn hold(&self, tx: &mut Tx<'static>, slot: DomainSlot, hardware: bool) -> Shown {
        tx.lock(self.locks.of(slot));
        self.of(slot, hardware)
    }

    /// The slot gets a new domain: it has the default, and has not run.
    pub fn reset(&self, tx: &mut Tx<'static>, slot: DomainSlot) {
        tx.lock(self.locks.of(slot));
        let record = self.record(slot);
        tx.set(&record.given, false);
        tx.set(&record.fixed, false);
    }

    /// The domain is about to run for the first time: its policy stays as it is from now on.
    pub fn fix(&self, tx: &mut Tx<'static>, slot: DomainSlot) {
        tx.lock(self.locks.of(slot));
        if !self.is_fixed(slot) {
            tx.set(&self.record(slot).fixed, true);
        }
    }

    /// Whether the domain's policy stays as it is.
    pub fn is_fixed(&self, slot: DomainSlot) -> bool {
        self.record(slot).fixed.get()
    }

    /// Gives a domain that has not run a policy, which [`Submission::finish`](crate::submission::Submission::finish)
    /// made.
    pub fn choose(&self, tx: &mut Tx<'static>, slot: DomainSlot, policy: &Policy) {
        tx.lock(self.locks.of(slot));
        let record = self.record(slot);
        tx.set(&record.given, true);
        tx.set(&record.cpuid_faulting, policy.cpuid_faulting);
        tx.set(&record.max_feature_subleaf, policy.max_feature_subleaf);
        for (word, limit) in record.hypervisor_limits.iter().zip(policy.hypervisor_limits) {
            tx.set(word, limit);
        }
        for (word, pair) in record.features.iter().zip(policy.features.0.chunks(2)) {
            tx.set(word, joined(pair[0], pair.get(1).copied().unwrap_or(0)));
        }
        for ([first, second], (leaf, subleaf)) in record.leaves.iter().zip(KEPT) {
            let value = policy.kept(leaf, subleaf);
            tx.set(first, joined(value.eax, value.ebx));
            tx.set(second, joined(value.ecx, value.edx));
        }
    }

    fn read(&self, record: &Chosen) -> Policy {
        let mut policy = Policy {
            cpuid_faulting: record.cpuid_faulting.get(),
            max_feature_subleaf: record.max_feature_subleaf.get(),
            hypervisor_limits: record.hypervisor_limits.each_ref().map(Durable::get),
            state_components: self.system.max().state_components,
            ..Policy::empty()
        };
        let mut features = FeatureSet([0; WORDS]);
        for (pair, word) in features.0.chunks_mut(2).zip(&record.features) {
            for (half, value) in pair.iter_mut().zip(halves(word.get())) {
                *half = value;
            }
        }
        policy.features = features;
        for ([first, second], (leaf, subleaf)) in record.leaves.iter().zip(KEPT) {
            let ([eax, ebx], [ecx, edx]) = (halves(first.get()), halves(second.get()));
            policy.keep(leaf, subleaf, Leaf { eax, ebx, ecx, edx });
        }
        policy.vendor = Vendor::of(&policy.basic[0]);
        policy
    }
}

fn joined(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

impl Policy {
    fn kept(&self, leaf: u32, subleaf: u32) -> Leaf {
        match leaf {
            4 => self.caches[subleaf as usize],
            EXTENDED.. => self.extended[(leaf - EXTENDED) as usize],
            _ => self.basic[leaf as usize],
        }
    }

    fn keep(&mut self, leaf: u32, subleaf: u32, value: Leaf) {
        match leaf {
            4 => self.caches[subleaf as usize] = value,
            EXTENDED.. => self.extended[(leaf - EXTENDED) as usize] = value,
            _ => self.basic[leaf as usize] = value,
        }
    }
}
