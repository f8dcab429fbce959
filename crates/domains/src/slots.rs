//! Slots for new domains, and their end.

use crate::{Domain, Life, Locks, Region, Vcpu, VcpuState};
use ids::{DomId, DomainSlot, Mfn, VcpuId, VcpuSlot};
use vault::Tx;

/// Numbers of domains are below this one (`DOMID_FIRST_RESERVED`).
const NUMBERS: u16 = 0x7ff0;

/// Why there is no slot for a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSlot {
    /// Another domain has that number (`-EEXIST`).
    Taken,
    /// All domain slots are in use, or there are not so many free vCPU slots in a row (`-ENOMEM`).
    Full,
}

/// A domain that is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewDomain {
    /// The number it is to have; `None`: the next one that is free.
    pub id: Option<DomId>,
    /// vCPUs it may have.
    pub vcpus: u32,
    /// Its handle.
    pub handle: [u64; 2],
    /// Its shared_info page.
    pub shared_info: Mfn,
}

impl Region {
    /// A slot and vCPU slots for a new domain, which nobody else gets while the transaction lasts.
    ///
    /// # Errors
    /// [`NoSlot`].
    pub fn find_slot(
        &self,
        tx: &mut Tx<'static>,
        locks: &'static Locks,
        id: Option<DomId>,
        vcpus: u32,
    ) -> Result<(DomainSlot, DomId, VcpuSlot), NoSlot> {
        tx.lock(&locks.control);
        let id = match id {
            Some(id) if self.by_id(id).is_some() => return Err(NoSlot::Taken),
            Some(id) => id,
            None => self.next_number().ok_or(NoSlot::Full)?,
        };
        let mut slots = self.slots_from(id);
        let slot = slots.find(|slot| self.domain(*slot).life() == Life::Free).ok_or(NoSlot::Full)?;
        Ok((slot, id, self.free_vcpus(vcpus).ok_or(NoSlot::Full)?))
    }

    /// The next number after the one given out last: those of domains that are gone are not used again soon.
    fn next_number(&self) -> Option<DomId> {
        let last = self.numbers.last.get().0;
        let after = (last + 1..NUMBERS).chain(1..=last.min(NUMBERS - 1));
        after.map(DomId).find(|id| self.by_id(*id).is_none())
    }

    /// The first of `count` free vCPU slots.
    fn free_vcpus(&self, count: u32) -> Option<VcpuSlot> {
        let mut from = 0;
        // Each domain in the way moves it on, so that it ends.
        while let Some(behind) = self.domains.iter().filter_map(|domain| domain.in_the_way(from, count)).max()
        {
            from = behind;
        }
        let end = from.checked_add(count)?;
        (end as usize <= self.vcpus.len()).then_some(VcpuSlot(from))
    }

    /// Makes a domain of the slot that [`find_slot`](Self::find_slot) found in this transaction: alive, paused once,
    /// without vCPUs.
    pub fn create(&self, tx: &mut Tx<'static>, at: (DomainSlot, DomId, VcpuSlot), new: &NewDomain) {
        let (slot, id, first) = at;
        let record = self.domain(slot);
        if new.id.is_none() {
            tx.set(&self.numbers.last, id);
        }
        record.clear(tx);
        tx.set(&record.id, id);
        tx.set(&record.first_vcpu, first);
        tx.set(&record.most_vcpus, new.vcpus);
        tx.set(&record.shared_info, new.shared_info);
        for (word, value) in record.handle.iter().zip(new.handle) {
            tx.set(word, value);
        }
        tx.set(&record.pauses, 1);
        record.set_life(tx, Life::Alive);
    }

    /// Makes a vCPU in one of the domain's slots: down.
    pub fn create_vcpu(&self, tx: &mut Tx<'static>, domain: DomainSlot, id: VcpuId) {
        let vcpu = self.vcpu(VcpuSlot(self.domain(domain).first_vcpu.get().0 + id.0));
        vcpu.clear(tx);
        tx.set(&vcpu.domain, domain);
        tx.set(&vcpu.id, id);
    }

    /// Makes a dying domain a dead one: whatever it had of its own is gone. False: it is one.
    pub fn bury(&self, tx: &mut Tx<'static>, locks: &'static Locks, slot: DomainSlot) -> bool {
        tx.lock(&locks.control);
        tx.lock(locks.of(slot));
        let record = self.domain(slot);
        if record.life() != Life::Dying {
            return false;
        }
        record.set_life(tx, Life::Dead);
        tx.set(&self.numbers.dead, self.numbers.dead.get() + 1);
        true
    }

    /// Whether there are dead domains, whose slots may be given up when nobody holds frames of theirs any more.
    #[inline]
    pub fn has_dead(&self) -> bool {
        self.numbers.dead.get() != 0
    }

    /// Nobody finds a dead domain by its number any more. False: that is so.
    pub fn forget(&self, tx: &mut Tx<'static>, locks: &'static Locks, slot: DomainSlot) -> bool {
        tx.lock(&locks.control);
        tx.lock(locks.of(slot));
        let record = self.domain(slot);
        let is_dead = record.life() == Life::Dead;
        if is_dead {
            record.set_life(tx, Life::Gone);
        }
        is_dead
    }

    /// Whether a slot will soon be free.
    pub fn has_gone(&self) -> bool {
        self.domains.iter().any(|domain| domain.life() == Life::Gone)
    }

    /// Gives up the slot of a domain that is gone. [`Locks::control`] is held, and since it was taken every other CPU's log
    /// was closed once: whoever found the slot by the domain's number is done with it.
    pub fn remove(&self, tx: &mut Tx<'static>, locks: &'static Locks, slot: DomainSlot) {
        tx.lock(locks.of(slot));
        let record = self.domain(slot);
        record.clear(tx);
        record.set_life(tx, Life::Free);
        tx.set(&self.numbers.dead, self.numbers.dead.get().saturating_sub(1));
    }
}

impl Domain {
    /// One behind its vCPU slots, if they are among the `count` from `from` on.
    fn in_the_way(&self, from: u32, count: u32) -> Option<u32> {
        let (first, own) = (self.first_vcpu.get().0, self.most_vcpus.get());
        let apart = self.life() == Life::Free || first >= from.saturating_add(count) || first + own <= from;
        (!apart && own != 0).then_some(first + own)
    }

    /// All words as in a slot that was never used, but for `life`.
    fn clear(&self, tx: &mut Tx<'static>) {
        tx.set(&self.privileged, false);
        tx.set(&self.id, DomId(0));
        tx.set(&self.vcpus, 0);
        tx.set(&self.first_vcpu, VcpuSlot(0));
        tx.set(&self.most_vcpus, 0);
        tx.set(&self.pauses, 0);
        tx.set(&self.halting, false);
        self.tsc.iter().for_each(|word| tx.set(word, 0));
        tx.set(&self.began, 0);
        tx.set(&self.shared_info, Mfn(0));
        tx.set(&self.assists, 0);
        tx.set(&self.shutdown, 0);
        tx.set(&self.suspend_port, 0);
        self.handle.iter().for_each(|word| tx.set(word, 0));
        self.charged.set(0);
    }
}

impl Vcpu {
    /// All words as in a slot that was never used.
    fn clear(&self, tx: &mut Tx<'static>) {
        self.set_state(tx, VcpuState::Down);
        tx.set(&self.initialised, false);
        tx.set(&self.domain, DomainSlot(0));
        tx.set(&self.id, VcpuId(0));
        tx.set(&self.time_area, ids::Gva(0));
        tx.set(&self.poll_port, 0);
        tx.set(&self.nmi_pending, false);
        tx.set(&self.pin, 0);
    }
}
