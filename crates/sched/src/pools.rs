//! CPU pools: each CPU is in one or in none, each domain in one.

use crate::change::BATCH;
use crate::record::{NO_POOL, PoolSlot, Region};
use crate::{CpuSet, Error};
use ids::{CpuId, DomainSlot, VcpuSlot};
use vault::Tx;

/// The usual shortest turn, µs (`SCHED_DEFAULT_RATELIMIT_US` of Xen).
const DEFAULT_SHORTEST: u32 = 1000;
/// What it may be besides 0, µs (`XEN_SYSCTL_SCHED_RATELIMIT_MIN` and `_MAX`).
const SHORTEST: core::ops::RangeInclusive<u32> = 100..=500_000;

impl Region {
    fn pools(&self) -> impl Iterator<Item = (PoolSlot, u32)> + '_ {
        let ids = self.pools.iter().map(|pool| pool.id.get()).zip(0..);
        ids.filter(|(id, slot)| *slot == 0 || *id != 0).map(|(id, slot)| (PoolSlot(slot), id))
    }

    /// The pool with a number.
    pub fn pool_by_id(&self, id: u32) -> Option<PoolSlot> {
        self.pools().find(|pool| pool.1 == id).map(|pool| pool.0)
    }

    /// The pool with this number or the next larger one.
    pub fn pool_from(&self, id: u32) -> Option<(PoolSlot, u32)> {
        self.pools().filter(|pool| pool.1 >= id).min_by_key(|pool| pool.1)
    }

    /// A pool's number.
    pub fn pool_id(&self, pool: PoolSlot) -> u32 {
        self.pools.get(pool.0 as usize).map_or(0, |pool| pool.id.get())
    }

    /// The CPUs of a pool.
    pub fn cpus_of(&self, pool: PoolSlot) -> CpuSet {
        self.with_pool(pool.0)
    }

    /// The CPUs of none.
    pub fn loose_cpus(&self) -> CpuSet {
        self.with_pool(NO_POOL)
    }

    fn with_pool(&self, slot: u32) -> CpuSet {
        let cpus = self.cpus.iter().zip((0..).map(CpuId));
        cpus.filter(|(cpu, _)| cpu.pool.get() == slot).map(|(_, number)| number).collect()
    }

    /// The shortest turn in a pool, µs; 0: any.
    pub fn shortest_turn(&self, pool: PoolSlot) -> u32 {
        let set = self.pools.get(pool.0 as usize).and_then(|pool| pool.shortest.get().checked_sub(1));
        set.unwrap_or(DEFAULT_SHORTEST)
    }

    /// `XEN_SYSCTL_SCHEDOP_putinfo` of credit2.
    ///
    /// # Errors
    /// `NoSuchPool`; `Invalid`: out of range.
    pub fn set_shortest_turn(&self, tx: &mut Tx<'static>, pool: PoolSlot, us: u32) -> Result<(), Error> {
        tx.lock(self.lock);
        let record = self.pools.get(pool.0 as usize).ok_or(Error::NoSuchPool)?;
        if us != 0 && !SHORTEST.contains(&us) {
            return Err(Error::Invalid);
        }
        tx.publish_set(&record.shortest, us + 1);
        Ok(())
    }

    /// Makes a pool without CPUs, with this number, or else with the one after the largest. Returns its number.
    ///
    /// # Errors
    /// `Exists`; `NoRoom`.
    pub fn create_pool(&self, tx: &mut Tx<'static>, id: Option<u32>) -> Result<u32, Error> {
        tx.lock(self.lock);
        let after = || self.pools().map(|pool| pool.1).max().unwrap_or(0).checked_add(1);
        let id = id.or_else(after).ok_or(Error::NoRoom)?;
        if self.pool_by_id(id).is_some() {
            return Err(Error::Exists);
        }
        let free = self.pools.iter().skip(1).find(|pool| pool.id.get() == 0).ok_or(Error::NoRoom)?;
        tx.publish_set(&free.id, id);
        tx.publish_set(&free.shortest, 0);
        Ok(id)
    }

    /// Ends a pool that has no CPU, and no domain as `is_used` knows.
    ///
    /// # Errors
    /// `NoSuchPool`; `Busy`.
    pub fn destroy_pool(
        &self,
        tx: &mut Tx<'static>,
        id: u32,
        is_used: impl Fn(PoolSlot) -> bool,
    ) -> Result<(), Error> {
        tx.lock(self.lock);
        let slot = self.pool_by_id(id).ok_or(Error::NoSuchPool)?;
        if slot.0 == 0 || !self.cpus_of(slot).is_empty() || is_used(slot) {
            return Err(Error::Busy);
        }
        tx.publish_set(&self.pools[slot.0 as usize].id, 0);
        Ok(())
    }

    /// Gives a pool a CPU of none, or the first such.
    ///
    /// # Errors
    /// `NoSuchPool`; `NotLoose`: it is in a pool, or none is loose; `Invalid`: no such CPU.
    pub fn add_cpu(&self, tx: &mut Tx<'static>, id: u32, cpu: Option<u32>) -> Result<(), Error> {
        tx.lock(self.lock);
        let slot = self.pool_by_id(id).ok_or(Error::NoSuchPool)?;
        let loose = self.loose_cpus();
        let cpu = cpu.map(CpuId).or_else(|| loose.iter().next()).ok_or(Error::NotLoose)?;
        let record = self.cpus.get(cpu.0 as usize).ok_or(Error::Invalid)?;
        if !loose.has(cpu) {
            return Err(Error::NotLoose);
        }
        tx.publish_set(&record.pool, slot.0);
        Ok(())
    }

    /// The CPU that is meant by its number, or as a pool's last one: it can be taken from the pool, as far as the pool
    /// is concerned.
    ///
    /// # Errors
    /// `NoSuchPool`; `Invalid`: no such CPU, or pool 0's last one; `NotIts`; `Busy`: the last one of another pool with
    /// domains, as `is_used` knows.
    pub fn removable(
        &self,
        id: u32,
        cpu: Option<u32>,
        is_used: impl Fn(PoolSlot) -> bool,
    ) -> Result<(PoolSlot, CpuId), Error> {
        let slot = self.pool_by_id(id).ok_or(Error::NoSuchPool)?;
        let cpus = self.cpus_of(slot);
        let cpu = cpu.map(CpuId).or_else(|| cpus.last()).ok_or(Error::Invalid)?;
        self.cpus.get(cpu.0 as usize).ok_or(Error::Invalid)?;
        if !cpus.has(cpu) {
            return Err(Error::NotIts);
        }
        if cpus.len() == 1 && slot.0 == 0 {
            return Err(Error::Invalid);
        }
        if cpus.len() == 1 && is_used(slot) {
            return Err(Error::Busy);
        }
        Ok((slot, cpu))
    }

    /// One step before a CPU leaves `pool`: up to 16 of `vcpus`, which are of the pool's domains and could run
    /// nowhere else, may run anywhere. Repeat it, one transaction each, until it answers `true`.
    pub fn unbind(
        &self,
        tx: &mut Tx<'static>,
        (pool, cpu): (PoolSlot, CpuId),
        vcpus: impl Iterator<Item = VcpuSlot>,
    ) -> bool {
        tx.lock(self.lock);
        let mut rest = self.cpus_of(pool);
        rest.remove(cpu);
        let mut bound = vcpus.filter(|vcpu| self.hard(*vcpu).and(&rest).is_empty());
        for vcpu in bound.by_ref().take(BATCH) {
            self.bind(tx, vcpu, &CpuSet::ALL);
        }
        bound.next().is_none()
    }

    /// Takes a CPU from its pool.
    ///
    /// # Errors
    /// As [`removable`](Self::removable).
    pub fn remove_cpu(
        &self,
        tx: &mut Tx<'static>,
        id: u32,
        cpu: CpuId,
        is_used: impl Fn(PoolSlot) -> bool,
    ) -> Result<(), Error> {
        tx.lock(self.lock);
        let (_, cpu) = self.removable(id, Some(cpu.0), is_used)?;
        tx.publish_set(&self.cpus[cpu.0 as usize].pool, NO_POOL);
        Ok(())
    }

    /// Moves a domain, whose vCPUs have no affinity any more, to another pool.
    ///
    /// # Errors
    /// `NoSuchPool`.
    pub fn move_domain(&self, tx: &mut Tx<'static>, domain: DomainSlot, id: u32) -> Result<(), Error> {
        tx.lock(self.lock);
        let slot = self.pool_by_id(id).ok_or(Error::NoSuchPool)?;
        tx.publish_set(&self.share(domain).pool, slot.0);
        Ok(())
    }
}
