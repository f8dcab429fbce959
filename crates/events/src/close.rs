//! Ports get closed.

use crate::port::{PortWord, State};
use crate::region::DomainEvents;
use crate::{Error, Events, deliver, is_global};
use guest_memory::GuestMemory;
use ids::DomainSlot;
use vault::Tx;

/// What else has to happen, in the same transaction, for a port that was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Closed {
    /// The physical interrupt it was bound to, to be unbound by the owner of interrupts.
    pub pirq: Option<u32>,
}

impl<'l, M: GuestMemory> Events<'l, M> {
    /// `EVTCHNOP_close`: frees the port; the other end becomes unbound and waits for this domain.
    ///
    /// # Errors
    /// `NoSuchDomain`; `Invalid`: no valid port, not in use, or consumed by the hypervisor; `Again`.
    pub fn close(&self, tx: &mut Tx<'l>, slot: DomainSlot, port: u32) -> Result<Closed, Error> {
        let word = self.bound(self.region.domain(slot)?, port)?.word.get();
        if word.is_consumed_here() {
            return Err(Error::Invalid);
        }
        self.close_any(tx, slot, port)
    }

    /// Closes a port whoever consumes it: the hypervisor's own channels, reset and teardown.
    ///
    /// # Errors
    /// `NoSuchDomain`; `Invalid`: no valid port, or not in use; `Again`: it was reconnected meanwhile.
    pub fn close_any(&self, tx: &mut Tx<'l>, slot: DomainSlot, port: u32) -> Result<Closed, Error> {
        let seen = self.bound(self.region.domain(slot)?, port)?.word.get();
        if seen.state() == State::Interdomain {
            self.lock_both(tx, slot, DomainSlot(seen.domain()))?;
        }
        let domain = self.lock(tx, slot)?;
        let record = self.bound(domain, port)?;
        let word = record.word.get();
        let same_locks = word.domain() == seen.domain();
        if word.state() == State::Interdomain && !(same_locks && seen.state() == State::Interdomain) {
            return Err(Error::Again);
        }
        self.derived.domain(slot)?.lower_lowest_free(port);
        // Order: nobody raises the port from here on; then the pending bit goes, and the delivery lock waits for whoever is
        // raising it. Until the lock of the records is free, nobody else gets the port.
        tx.publish_set(&record.word, PortWord::FREE);
        tx.publish(deliver::cleared(slot, port));
        match word.state() {
            State::Interdomain => self.free_peer(tx, domain, word),
            State::Virq => self.free_virq(tx, domain, word, port),
            State::Pirq => return Ok(Closed { pirq: Some(word.peer()) }),
            _ => {}
        }
        Ok(Closed::default())
    }

    fn free_peer(&self, tx: &mut Tx<'l>, domain: &DomainEvents, word: PortWord) {
        let peer = self.region.domain(DomainSlot(word.domain()));
        if let Ok(record) = peer.and_then(|peer| self.region.port(peer, word.peer())) {
            let freed = record.word.get().rebound(State::Unbound, 0, domain.domid.get());
            tx.publish_set(&record.word, freed);
        }
    }

    fn free_virq(&self, tx: &mut Tx<'l>, domain: &DomainEvents, word: PortWord, port: u32) {
        let holder = if is_global(word.peer()) { 0 } else { u32::from(word.vcpu()) };
        if let Ok((_, vcpu)) = self.region.vcpu(domain, holder)
            && let Some(bound) = vcpu.virq.get(word.peer() as usize)
            && bound.get() == port
        {
            tx.publish_set(bound, 0);
        }
    }
}
