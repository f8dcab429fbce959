//! Which CPUs would do for a vCPU.

use crate::{CpuSet, Queues, Vcpus};
use core::sync::atomic::Ordering;
use ids::{CpuId, VcpuSlot};

impl Queues {
    /// Says which CPUs run guests.
    pub fn set_online(&self, online: CpuSet) {
        let online = online.and(&self.region.cpus());
        for (word, bits) in self.online.iter().zip(online.0) {
            word.store(bits, Ordering::Release);
        }
        self.is_only.store(online.len() == 1, Ordering::Release);
    }

    /// Whether one CPU alone runs guests: then every vCPU's place is there, whatever its affinity and pool.
    #[inline]
    pub(crate) fn is_only(&self) -> bool {
        self.is_only.load(Ordering::Acquire)
    }

    /// Whether this CPU is the only one that runs guests.
    #[inline]
    pub fn is_alone(&self, cpu: CpuId) -> bool {
        self.is_only() && self.is_online(cpu)
    }

    /// CPUs that run guests.
    pub fn online(&self) -> CpuSet {
        CpuSet(self.online.each_ref().map(|word| word.load(Ordering::Acquire)))
    }

    /// Whether a CPU runs guests.
    #[inline]
    pub fn is_online(&self, cpu: CpuId) -> bool {
        let word = self.online.get(cpu.0 as usize / 64);
        word.is_some_and(|word| word.load(Ordering::Acquire) >> (cpu.0 % 64) & 1 != 0)
    }

    /// Whether a vCPU may run on a CPU.
    pub fn may_run(&self, vcpu: VcpuSlot, cpu: CpuId, who: &impl Vcpus) -> bool {
        let usual = self.is_only()
            || who.only(vcpu).is_none()
                && self.region.is_hard(vcpu, cpu)
                && self.region.pool_with(cpu) == Some(self.region.pool_of(who.domain(vcpu)));
        if usual { self.is_online(cpu) } else { self.places(vcpu, who).has(cpu) }
    }

    /// Where a vCPU may run: where it has to for the time being; or else on the CPUs of its affinity and pool. If none of
    /// these runs guests, on those of its pool; if none of these, on any.
    pub fn places(&self, vcpu: VcpuSlot, who: &impl Vcpus) -> CpuSet {
        self.places_of(vcpu, &self.online(), who)
    }

    fn places_of(&self, vcpu: VcpuSlot, online: &CpuSet, who: &impl Vcpus) -> CpuSet {
        if let Some(only) = who.only(vcpu).filter(|only| online.has(*only)) {
            return CpuSet::from_iter([only]);
        }
        let pool = self.region.cpus_of(self.region.pool_of(who.domain(vcpu))).and(online);
        let both = pool.and(&self.region.hard(vcpu));
        [both, pool].into_iter().find(|set| !set.is_empty()).unwrap_or(*online)
    }

    /// The best home for a vCPU that may not stay where it is: an idle CPU where it had better run, an idle one, one
    /// where it had better run, or any, in turn by slot.
    pub fn new_home(&self, vcpu: VcpuSlot, who: &impl Vcpus) -> Option<CpuId> {
        let places = self.places(vcpu, who);
        let idle = |cpu: &CpuId| self.words(*cpu).idle.load(Ordering::Relaxed);
        let rank = |cpu: &CpuId| (self.region.is_soft(vcpu, *cpu), idle(cpu));
        let best = places.iter().map(|cpu| rank(&cpu)).max()?;
        let all = || places.iter().filter(|cpu| rank(cpu) == best);
        all().nth(vcpu.0 as usize % all().count().max(1))
    }

    /// Whether a vCPU that is about to wait for `cpu` had better go elsewhere: to an idle CPU of its soft affinity.
    pub fn better_home(&self, vcpu: VcpuSlot, cpu: CpuId, who: &impl Vcpus) -> Option<CpuId> {
        if self.region.is_soft(vcpu, cpu) {
            return None;
        }
        let idle = |cpu: &CpuId| self.words(*cpu).idle.load(Ordering::Relaxed);
        self.places(vcpu, who).iter().find(|cpu| self.region.is_soft(vcpu, *cpu) && idle(cpu))
    }

    /// An idle CPU of a vCPU's `places`, which is idle no more: its home, one where it had better run, or any.
    pub(crate) fn call_idle(&self, vcpu: VcpuSlot, places: &CpuSet, who: &impl Vcpus) -> Option<CpuId> {
        let home = who.home(vcpu);
        let idle =
            |cpu: &CpuId| self.words(*cpu).idle.load(Ordering::SeqCst) && !who.is_held_elsewhere(vcpu, *cpu);
        let soft = |cpu: &CpuId| self.region.is_soft(vcpu, *cpu);
        let found = Some(home).filter(|home| places.has(*home) && idle(home) && soft(home));
        let found = found.or_else(|| places.iter().find(|cpu| soft(cpu) && idle(cpu)));
        let found = found.or_else(|| places.iter().find(idle))?;
        self.words(found).idle.swap(false, Ordering::SeqCst).then_some(found)
    }
}
