//! Ports get bound, moved to another vCPU, queried and used.

use crate::layout::MAX_PRIORITY;
use crate::port::{PortWord, State};
use crate::region::{DomainEvents, FIFO, PortRecord};
use crate::{Error, Events, deliver, is_global};
use guest_memory::GuestMemory;
use ids::{DomId, DomainSlot};
use vault::Tx;

/// What a port is bound to, as `EVTCHNOP_status` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not in use (`EVTCHNSTAT_closed`, 0).
    Closed,
    /// Waiting for a domain (1).
    Unbound {
        /// Who may connect.
        domain: DomId,
    },
    /// Connected (2).
    Interdomain {
        /// The other domain.
        domain: DomId,
        /// Its port.
        port: u32,
    },
    /// Bound to a physical interrupt (3).
    Pirq(u32),
    /// Bound to a virtual interrupt (4).
    Virq(u32),
    /// Bound as a vCPU's doorbell (5).
    Ipi,
}

impl<'l, M: GuestMemory> Events<'l, M> {
    /// Takes a domain's lock and finds its record.
    pub(crate) fn lock(&self, tx: &mut Tx<'l>, slot: DomainSlot) -> Result<&'static DomainEvents, Error> {
        tx.lock(&self.derived.domain(slot)?.records);
        self.region.domain(slot)
    }

    /// Takes two domains' locks in order, whether or not they have event channels.
    pub(crate) fn lock_both(&self, tx: &mut Tx<'l>, a: DomainSlot, b: DomainSlot) -> Result<(), Error> {
        tx.lock(&self.derived.domain(a.min(b))?.records);
        tx.lock(&self.derived.domain(a.max(b))?.records);
        Ok(())
    }

    /// `EVTCHNOP_alloc_unbound`: a port of `slot` to which `remote` may connect. The caller has resolved
    /// `DOMID_SELF`; whether `remote` exists does not matter.
    ///
    /// # Errors
    /// `NoSuchDomain`, `NoSpace`, `NoMemory`.
    pub fn alloc_unbound(&self, tx: &mut Tx<'l>, slot: DomainSlot, remote: DomId) -> Result<u32, Error> {
        let domain = self.lock(tx, slot)?;
        let (port, record) = self.allocate(tx, slot, domain)?;
        tx.publish_set(&record.word, PortWord::new(State::Unbound, 0, 0, remote.0));
        Ok(port)
    }

    /// An unbound port of `slot` whose events the hypervisor consumes on behalf of vCPU `id` (device-model
    /// channels): [`raise`](Self::raise) names that vCPU and leaves guest memory alone.
    ///
    /// # Errors
    /// `NoSuchDomain`, `NoSuchVcpu`, `NoSpace`, `NoMemory`.
    pub fn alloc_consumed(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        id: u32,
        remote: DomId,
    ) -> Result<u32, Error> {
        let domain = self.lock(tx, slot)?;
        let vcpu = self.vcpu_number(domain, id)?;
        let (port, record) = self.allocate(tx, slot, domain)?;
        tx.publish_set(&record.word, PortWord::new(State::Unbound, vcpu, 0, remote.0).consumed_here());
        Ok(port)
    }

    /// `EVTCHNOP_bind_interdomain`: connects a fresh port of `slot` to `remote_port` of `remote`. The fresh
    /// port is raised, since a notification may have been dropped while the other was unbound.
    ///
    /// # Errors
    /// `NoSuchDomain`, `NoSpace`, `NoMemory`; `Invalid`: the remote port does not wait for this domain.
    pub fn bind_interdomain(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        remote: DomainSlot,
        remote_port: u32,
    ) -> Result<u32, Error> {
        self.lock_both(tx, slot, remote)?;
        let (domain, other) = (self.region.domain(slot)?, self.region.domain(remote)?);
        let (port, record) = self.allocate(tx, slot, domain)?;
        let peer = self.region.port(other, remote_port)?;
        let word = peer.word.get();
        if word.state() != State::Unbound || word.domain() != domain.domid.get() {
            return Err(Error::Invalid);
        }
        tx.publish_set(&record.word, PortWord::new(State::Interdomain, 0, remote_port, remote.0));
        tx.publish_set(&peer.word, word.rebound(State::Interdomain, port, slot.0));
        tx.publish(deliver::raised(slot, port));
        Ok(port)
    }

    /// `EVTCHNOP_bind_virq`.
    ///
    /// # Errors
    /// `Invalid`: no such VIRQ, or a global one on another vCPU than 0; `NoSuchVcpu`; `Exists`: it is bound
    /// on that vCPU; `NoSuchDomain`, `NoSpace`, `NoMemory`.
    pub fn bind_virq(&self, tx: &mut Tx<'l>, slot: DomainSlot, virq: u32, id: u32) -> Result<u32, Error> {
        if virq as usize >= crate::VIRQS || is_global(virq) && id != 0 {
            return Err(Error::Invalid);
        }
        let domain = self.lock(tx, slot)?;
        let number = self.vcpu_number(domain, id)?;
        let (_, vcpu) = self.region.vcpu(domain, id)?;
        let bound = &vcpu.virq[virq as usize];
        if bound.get() != 0 {
            return Err(Error::Exists);
        }
        let (port, record) = self.allocate(tx, slot, domain)?;
        tx.publish_set(&record.word, PortWord::new(State::Virq, number, virq, 0));
        tx.publish_set(bound, port);
        Ok(port)
    }

    /// `EVTCHNOP_bind_ipi`.
    ///
    /// # Errors
    /// `NoSuchVcpu`, `NoSuchDomain`, `NoSpace`, `NoMemory`.
    pub fn bind_ipi(&self, tx: &mut Tx<'l>, slot: DomainSlot, id: u32) -> Result<u32, Error> {
        let domain = self.lock(tx, slot)?;
        let vcpu = self.vcpu_number(domain, id)?;
        let (port, record) = self.allocate(tx, slot, domain)?;
        tx.publish_set(&record.word, PortWord::new(State::Ipi, vcpu, 0, 0));
        Ok(port)
    }

    /// The event side of `EVTCHNOP_bind_pirq`: a port bound to `pirq`. That the interrupt exists, may be
    /// used and is not bound yet (`-EEXIST`) is checked by the owner of interrupts in the same transaction.
    ///
    /// # Errors
    /// `Invalid`: the number does not fit; `NoSuchDomain`, `NoSpace`, `NoMemory`.
    pub fn bind_pirq(&self, tx: &mut Tx<'l>, slot: DomainSlot, pirq: u32) -> Result<u32, Error> {
        if pirq > PortWord::MAX_PEER {
            return Err(Error::Invalid);
        }
        let domain = self.lock(tx, slot)?;
        let (port, record) = self.allocate(tx, slot, domain)?;
        tx.publish_set(&record.word, PortWord::new(State::Pirq, 0, pirq, 0));
        Ok(port)
    }

    /// `EVTCHNOP_bind_vcpu`: which vCPU the port notifies from now on. An event already linked in a FIFO
    /// queue stays there. For a PIRQ the interrupt's affinity is its owner's matter.
    ///
    /// # Errors
    /// `NoSuchVcpu`; `Invalid`: no valid port, one bound for good, or one the hypervisor consumes.
    pub fn bind_vcpu(&self, tx: &mut Tx<'l>, slot: DomainSlot, port: u32, id: u32) -> Result<(), Error> {
        let domain = self.lock(tx, slot)?;
        let vcpu = self.vcpu_number(domain, id)?;
        let record = self.region.port(domain, port)?;
        let word = record.word.get();
        let movable = match word.state() {
            State::Virq => is_global(word.peer()),
            State::Unbound | State::Interdomain | State::Pirq => true,
            State::Free | State::Reserved | State::Ipi => false,
        };
        if !movable || word.is_consumed_here() {
            return Err(Error::Invalid);
        }
        tx.publish_set(&record.word, word.with_vcpu(vcpu));
        Ok(())
    }

    /// `EVTCHNOP_set_priority`. Linked events stay in their queue.
    ///
    /// # Errors
    /// `Invalid`: no valid port, or a priority above 15; `NoOperation` under the two-level ABI.
    pub fn set_priority(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        port: u32,
        priority: u32,
    ) -> Result<(), Error> {
        let domain = self.lock(tx, slot)?;
        let record = self.region.port(domain, port)?;
        if domain.abi.get() != FIFO {
            return Err(Error::NoOperation);
        }
        let priority = u8::try_from(priority).map_err(|_| Error::Invalid)?;
        if priority > MAX_PRIORITY {
            return Err(Error::Invalid);
        }
        let word = record.word.get();
        if word.state() != State::Free {
            tx.publish_set(&record.word, word.with_priority(priority));
        }
        Ok(())
    }

    /// `EVTCHNOP_send`: publishes the event for whom the port leads to. Takes no lock. An unbound port
    /// swallows it.
    ///
    /// # Errors
    /// `NoSuchDomain`; `Invalid`: no valid port, or one that cannot be sent on.
    pub fn send(&self, tx: &mut Tx<'l>, slot: DomainSlot, port: u32) -> Result<(), Error> {
        let word = self.region.port(self.region.domain(slot)?, port)?.word.get();
        if word.is_consumed_here() {
            return Err(Error::Invalid);
        }
        match word.state() {
            State::Interdomain => tx.publish(deliver::raised(DomainSlot(word.domain()), word.peer())),
            State::Ipi => tx.publish(deliver::raised(slot, port)),
            State::Unbound => {}
            State::Free | State::Reserved | State::Pirq | State::Virq => return Err(Error::Invalid),
        }
        Ok(())
    }

    /// `EVTCHNOP_status`: the binding and the number of the vCPU notified.
    ///
    /// # Errors
    /// `NoSuchDomain`; `Invalid`: no valid port.
    pub fn status(&self, slot: DomainSlot, port: u32) -> Result<(Status, u32), Error> {
        let word = self.region.port(self.region.domain(slot)?, port)?.word.get();
        let status = match word.state() {
            State::Free | State::Reserved => return Ok((Status::Closed, 0)),
            State::Unbound => Status::Unbound { domain: DomId(word.domain()) },
            State::Interdomain => {
                let peer = self.region.domain(DomainSlot(word.domain()));
                let domain = DomId(peer.map_or(u16::MAX, |peer| peer.domid.get()));
                Status::Interdomain { domain, port: word.peer() }
            }
            State::Pirq => Status::Pirq(word.peer()),
            State::Virq => Status::Virq(word.peer()),
            State::Ipi => Status::Ipi,
        };
        Ok((status, u32::from(word.vcpu())))
    }

    /// The record of a bound port.
    pub(crate) fn bound(&self, domain: &DomainEvents, port: u32) -> Result<&'static PortRecord, Error> {
        let record = self.region.port(domain, port)?;
        match record.word.get().state() {
            State::Free | State::Reserved => Err(Error::Invalid),
            _ => Ok(record),
        }
    }

    /// An existing vCPU's number, as a port stores it.
    fn vcpu_number(&self, domain: &DomainEvents, id: u32) -> Result<u16, Error> {
        self.region.vcpu(domain, id)?;
        u16::try_from(id).map_err(|_| Error::NoSuchVcpu)
    }
}
