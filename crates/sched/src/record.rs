//! The durable records. Zero means what a machine starts with: all CPUs in pool 0, no vCPU bound to any, equal shares.

use crate::CpuSet;
use crate::change::DEFAULT_WEIGHT;
use crate::cpu_set::WORDS;
use ids::{CpuId, DomainSlot, VcpuSlot};
use vault::{Arena, Durable, GuestOwned, LockWord, record};

/// The slot of a pool; 0 is that of pool 0, which there always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSlot(pub u32);

/// In place of a pool's slot: none.
pub(crate) const NO_POOL: u32 = u32::MAX;
/// Pools that there may be.
pub(crate) const POOLS: usize = 64;

record! {
    /// A CPU.
    ///
    /// Lock: the region's. Rebuild: nothing is derived.
    pub struct Cpu {
        /// Slot of its pool; `NO_POOL`: in none. Durable.
        pub(crate) pool: Durable<u32>,
        /// How long it was idle (`idle.rs`). Kept: one store by the CPU itself, never taken back.
        pub(crate) idle: GuestOwned<u64>,
    }
}

record! {
    /// A CPU pool.
    ///
    /// Lock: the region's. Rebuild: nothing is derived.
    pub struct Pool {
        /// Its number; 0: the slot is free, or that of pool 0. Durable.
        pub(crate) id: Durable<u32>,
        /// The shortest turn, µs, plus one; 0: the usual. Durable.
        pub(crate) shortest: Durable<u32>,
    }
}

record! {
    /// A domain's share.
    ///
    /// Lock: the region's. Rebuild: the budgets of those with a cap, full, in `Queues`.
    pub struct Share {
        /// Slot of its pool. Durable.
        pub(crate) pool: Durable<u32>,
        /// Weight; 0: the usual. Durable.
        pub(crate) weight: Durable<u16>,
        /// The most that it gets, % of a CPU; 0: all. Durable.
        pub(crate) cap: Durable<u16>,
        /// NUMA nodes that it was given; 0: it was not. Durable.
        pub(crate) nodes: Durable<u64>,
    }
}

record! {
    /// Where a vCPU runs.
    ///
    /// Lock: the region's. Rebuild: the queues, by looking at every vCPU.
    pub struct Affinity {
        /// CPUs that it may not run on. Durable.
        pub(crate) not_hard: [Durable<u64>; WORDS],
        /// CPUs that it had better not run on. Durable.
        pub(crate) not_soft: [Durable<u64>; WORDS],
    }
}

/// The durable state of scheduling, and its lock.
#[derive(Clone, Copy)]
pub struct Region {
    pub(crate) cpus: &'static [Cpu],
    pub(crate) pools: &'static [Pool],
    pub(crate) shares: &'static [Share],
    pub(crate) vcpus: &'static [Affinity],
    pub(crate) lock: &'static LockWord,
}

impl core::fmt::Debug for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Region({} CPUs, {} vCPUs)", self.cpus.len(), self.vcpus.len())
    }
}

impl Region {
    /// Carves the region out; `None` when the arena is too small or there are too many CPUs.
    pub fn carve(
        arena: &mut Arena,
        cpus: usize,
        domains: usize,
        vcpus: usize,
        lock: &'static LockWord,
    ) -> Option<Self> {
        (cpus <= crate::MAX_CPUS as usize).then_some(())?;
        Some(Self {
            cpus: arena.carve(cpus)?,
            pools: arena.carve(POOLS)?,
            shares: arena.carve(domains)?,
            vcpus: arena.carve(vcpus)?,
            lock,
        })
    }

    pub(crate) fn share(&self, domain: DomainSlot) -> &'static Share {
        &self.shares[usize::from(domain.0)]
    }

    /// CPUs that there are.
    pub fn cpus(&self) -> CpuSet {
        CpuSet::first(self.cpus.len() as u32)
    }

    /// A domain's weight.
    pub fn weight(&self, domain: DomainSlot) -> u16 {
        match self.share(domain).weight.get() {
            0 => DEFAULT_WEIGHT,
            weight => weight,
        }
    }

    /// The most that a domain gets, % of a CPU; 0: all.
    pub fn cap(&self, domain: DomainSlot) -> u16 {
        self.share(domain).cap.get()
    }

    /// The NUMA nodes that a domain was given, if it was.
    pub fn nodes(&self, domain: DomainSlot) -> Option<u64> {
        Some(self.share(domain).nodes.get()).filter(|nodes| *nodes != 0)
    }

    /// A domain's pool.
    pub fn pool_of(&self, domain: DomainSlot) -> PoolSlot {
        PoolSlot(self.share(domain).pool.get())
    }

    /// The pool that has a CPU.
    pub fn pool_with(&self, cpu: CpuId) -> Option<PoolSlot> {
        let slot = self.cpus.get(cpu.0 as usize)?.pool.get();
        (slot != NO_POOL).then_some(PoolSlot(slot))
    }

    /// CPUs that a vCPU may run on, of those that there are.
    pub fn hard(&self, vcpu: VcpuSlot) -> CpuSet {
        inverse(&self.vcpus[vcpu.0 as usize].not_hard).and(&self.cpus())
    }

    /// CPUs that it had better run on, of those that there are.
    pub fn soft(&self, vcpu: VcpuSlot) -> CpuSet {
        inverse(&self.vcpus[vcpu.0 as usize].not_soft).and(&self.cpus())
    }

    /// Whether a vCPU's affinity has a CPU.
    #[inline]
    pub(crate) fn is_hard(&self, vcpu: VcpuSlot, cpu: CpuId) -> bool {
        is_clear(&self.vcpus[vcpu.0 as usize].not_hard, cpu)
    }

    /// Whether it had better run there.
    #[inline]
    pub(crate) fn is_soft(&self, vcpu: VcpuSlot, cpu: CpuId) -> bool {
        is_clear(&self.vcpus[vcpu.0 as usize].not_soft, cpu)
    }
}

fn inverse(words: &[Durable<u64>; WORDS]) -> CpuSet {
    CpuSet(words.each_ref().map(|word| !word.get()))
}

fn is_clear(words: &[Durable<u64>; WORDS], cpu: CpuId) -> bool {
    words.get(cpu.0 as usize / 64).is_some_and(|word| word.get() >> (cpu.0 % 64) & 1 == 0)
}
