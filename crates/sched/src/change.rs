//! Shares and affinity change.
//!
//! Words that schedulers read without the lock are stored after the commit ([`Tx::publish_set`]): nobody acts on a value
//! that is taken back. The caller publishes, in the same transaction, what makes CPUs look at the vCPUs again.

use crate::cpu_set::WORDS;
use crate::record::{Affinity, Region};
use crate::{CpuSet, Error};
use ids::{DomainSlot, VcpuSlot};
use vault::{Durable, Tx};

/// The usual weight (`CSCHED2_DEFAULT_WEIGHT` of Xen).
pub const DEFAULT_WEIGHT: u16 = 256;
/// vCPUs that one transaction gives another affinity: each takes eight effects.
pub(crate) const BATCH: usize = 16;

impl Region {
    /// `XEN_DOMCTL_SCHEDOP_putinfo` of credit2: a weight of 0 leaves it as it is, a cap of 0 takes it away.
    pub fn set_share(&self, tx: &mut Tx<'static>, domain: DomainSlot, weight: u16, cap: u16) {
        let share = self.share(domain);
        tx.lock(self.lock);
        if weight != 0 {
            tx.publish_set(&share.weight, weight);
        }
        tx.publish_set(&share.cap, cap);
    }

    /// `XEN_DOMCTL_setvcpuaffinity`: where a vCPU of `domain` may run, and where it had better; `None` stays.
    ///
    /// # Errors
    /// `Invalid`: the domain's pool has none of the CPUs that it may run on; those of `online` count.
    pub fn set_affinity(
        &self,
        tx: &mut Tx<'static>,
        (vcpu, domain): (VcpuSlot, DomainSlot),
        hard: Option<CpuSet>,
        soft: Option<CpuSet>,
        online: &CpuSet,
    ) -> Result<(), Error> {
        let record = &self.vcpus[vcpu.0 as usize];
        tx.lock(self.lock);
        if let Some(hard) = hard {
            let here = self.cpus_of(self.pool_of(domain)).and(online);
            if hard.and(&here).is_empty() {
                return Err(Error::Invalid);
            }
            store(tx, &record.not_hard, &self.kept(&hard));
        }
        if let Some(soft) = soft {
            store(tx, &record.not_soft, &self.kept(&soft));
        }
        Ok(())
    }

    /// Binds a vCPU that is being made.
    pub fn bind(&self, tx: &mut Tx<'static>, vcpu: VcpuSlot, hard: &CpuSet) {
        tx.lock(self.lock);
        store(tx, &self.vcpus[vcpu.0 as usize].not_hard, hard);
    }

    /// What is kept of a set: all CPUs that there are is all that there may be.
    fn kept(&self, set: &CpuSet) -> CpuSet {
        let set = set.and(&self.cpus());
        if set == self.cpus() { CpuSet::ALL } else { set }
    }

    /// `XEN_DOMCTL_setnodeaffinity`: the NUMA nodes that a domain's memory had better come from; `None`: any.
    pub fn set_nodes(&self, tx: &mut Tx<'static>, domain: DomainSlot, nodes: Option<u64>) {
        tx.lock(self.lock);
        tx.publish_set(&self.share(domain).nodes, nodes.unwrap_or(0));
    }

    /// Gives a new domain its pool and the usual share. Its vCPUs' records are as [`forget_vcpus`](Self::forget_vcpus)
    /// left them.
    ///
    /// # Errors
    /// `NoSuchPool`.
    pub fn create_domain(&self, tx: &mut Tx<'static>, domain: DomainSlot, pool: u32) -> Result<(), Error> {
        tx.lock(self.lock);
        let slot = self.pool_by_id(pool).ok_or(Error::NoSuchPool)?;
        self.start_share(tx, domain, slot.0);
        Ok(())
    }

    /// A domain has ended: it is in no pool but pool 0, which always is.
    pub fn forget_domain(&self, tx: &mut Tx<'static>, domain: DomainSlot) {
        tx.lock(self.lock);
        self.start_share(tx, domain, 0);
    }

    /// The usual share, in the pool of a slot.
    fn start_share(&self, tx: &mut Tx<'static>, domain: DomainSlot, pool: u32) {
        let share = self.share(domain);
        tx.publish_set(&share.pool, pool);
        tx.publish_set(&share.weight, 0);
        tx.publish_set(&share.cap, 0);
        tx.publish_set(&share.nodes, 0);
    }

    /// One step of taking away the affinities of `vcpus`: of up to 16 of them. Repeat it, one transaction each, until
    /// it answers `true`. For a domain that ends or is moved to another pool.
    pub fn forget_vcpus(&self, tx: &mut Tx<'static>, vcpus: impl Iterator<Item = VcpuSlot>) -> bool {
        tx.lock(self.lock);
        let mut bound = vcpus.map(|vcpu| &self.vcpus[vcpu.0 as usize]).filter(|record| is_bound(record));
        for record in bound.by_ref().take(BATCH) {
            store(tx, &record.not_hard, &CpuSet::ALL);
            store(tx, &record.not_soft, &CpuSet::ALL);
        }
        bound.next().is_none()
    }
}

/// Stores a set as its inverse.
fn store(tx: &mut Tx<'static>, words: &'static [Durable<u64>; WORDS], set: &CpuSet) {
    for (word, bits) in words.iter().zip(set.0) {
        if word.get() != !bits {
            tx.publish_set(word, !bits);
        }
    }
}

fn is_bound(record: &Affinity) -> bool {
    record.not_hard.iter().chain(&record.not_soft).any(|word| word.get() != 0)
}
