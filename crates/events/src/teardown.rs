//! Reset and teardown: bounded steps, resumable by a durable cursor.
//!
//! The cursor counts ports, then (from [`MAX_PORTS`]) vCPUs whose control block is given back, then
//! (a `max_vcpus` further) vCPUs that are removed.

use crate::layout::{MAX_PORTS, VIRQS};
use crate::port::State;
use crate::region::{DomainEvents, FIFO, RETIRING, TWO_LEVEL, VcpuEvents};
use crate::{Error, Events, deliver};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr};
use vault::{Effect, Tx, kind};

/// Ports looked at in a step.
const PORTS_PER_STEP: u32 = 512;
/// Frames, chunks or vCPUs given up in a step: few enough for one transaction.
const ITEMS_PER_STEP: usize = 16;

/// What a step leaves to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another step.
    More,
    /// In the same transaction: the owner of interrupts unbinds this one. Then another step.
    Pirq(u32),
    /// Nothing.
    Done,
}

impl<'l, M: GuestMemory> Events<'l, M> {
    /// One step of `EVTCHNOP_reset`: closes all ports and returns to the two-level ABI. Repeat it, one
    /// transaction each, until `Done`.
    ///
    /// # Errors
    /// `NoSuchDomain`; `Again`.
    pub fn reset_step(&self, tx: &mut Tx<'l>, slot: DomainSlot) -> Result<Step, Error> {
        let step = self.wind_down(tx, slot)?;
        if step == Step::Done {
            tx.set(&self.region.domain(slot)?.cursor, 0);
        }
        Ok(step)
    }

    /// One step of a domain's end. No vCPU of it runs any more. Repeat it, one transaction each, until `Done`;
    /// then the slot has no event channels and its shared_info may go.
    ///
    /// # Errors
    /// `Again`. A slot without event channels is `Done`.
    pub fn teardown_step(&self, tx: &mut Tx<'l>, slot: DomainSlot) -> Result<Step, Error> {
        let Ok(domain) = self.region.domain(slot) else { return Ok(Step::Done) };
        if !domain.dying.get() {
            self.lock(tx, slot)?;
            // A reset may have been under way: start over, which is harmless.
            tx.set(&domain.dying, true);
            tx.set(&domain.cursor, 0);
            self.return_handlers(tx, slot);
            return Ok(Step::More);
        }
        match self.wind_down(tx, slot)? {
            Step::Done => self.remove(tx, slot, domain),
            step => Ok(step),
        }
    }

    fn return_handlers(&self, tx: &mut Tx<'l>, slot: DomainSlot) {
        tx.lock(&self.derived.pool);
        let handlers = &self.region.shared.handler;
        for handler in handlers.iter().filter(|handler| handler.get() == slot.0 && slot.0 != 0) {
            tx.publish_set(handler, 0);
        }
    }

    fn wind_down(&self, tx: &mut Tx<'l>, slot: DomainSlot) -> Result<Step, Error> {
        let seen = self.region.domain(slot)?;
        if seen.cursor.get() < MAX_PORTS {
            return self.close_next(tx, slot);
        }
        let domain = self.lock(tx, slot)?;
        match domain.abi.get() {
            TWO_LEVEL => Ok(Step::Done),
            FIFO => {
                // From here on nobody reads the frames; the next steps give them back.
                tx.publish_set(&domain.abi, RETIRING);
                tx.publish(deliver::settle(slot));
                Ok(Step::More)
            }
            _ => Ok(self.retire_step(tx, domain)),
        }
    }

    /// Closes the next bound port.
    fn close_next(&self, tx: &mut Tx<'l>, slot: DomainSlot) -> Result<Step, Error> {
        let domain = self.region.domain(slot)?;
        let from = domain.cursor.get();
        let end = from.saturating_add(PORTS_PER_STEP).min(MAX_PORTS);
        let mut port = from;
        while port < end {
            match self.region.port(domain, port) {
                Ok(record) if record.word.get().state() != State::Free => {
                    // Locks come in order only if the port is closed before anything else is locked.
                    let closed = self.close_any(tx, slot, port)?;
                    tx.set(&domain.cursor, port + 1);
                    return Ok(closed.pirq.map_or(Step::More, Step::Pirq));
                }
                Ok(_) => port += 1,
                // Chunks are taken in order: nothing lies behind the first that is missing.
                Err(_) => port = end.max(MAX_PORTS),
            }
        }
        self.lock(tx, slot)?;
        tx.set(&domain.cursor, port.min(MAX_PORTS));
        Ok(Step::More)
    }

    /// Gives back array frames, then control blocks.
    fn retire_step(&self, tx: &mut Tx<'l>, domain: &'static DomainEvents) -> Step {
        let frames = domain.frames.get();
        if frames > 0 {
            let left = frames.saturating_sub(ITEMS_PER_STEP as u32);
            for entry in &domain.array[left as usize..frames as usize] {
                put_frame(tx, entry.get());
                tx.set(entry, 0);
            }
            tx.set(&domain.frames, left);
            return Step::More;
        }
        let first = domain.cursor.get() - MAX_PORTS;
        let end = first.saturating_add(ITEMS_PER_STEP as u32).min(domain.max_vcpus.get());
        for id in first..end {
            if let Ok((_, vcpu)) = self.region.vcpu(domain, id) {
                release_control(tx, vcpu);
            }
        }
        tx.set(&domain.cursor, MAX_PORTS + end);
        if end == domain.max_vcpus.get() {
            tx.publish_set(&domain.abi, TWO_LEVEL);
        }
        Step::More
    }

    /// Removes chunks, vCPUs and the domain itself.
    fn remove(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        domain: &'static DomainEvents,
    ) -> Result<Step, Error> {
        if self.return_chunks(tx, domain, ITEMS_PER_STEP) {
            tx.publish(deliver::settle(slot));
            return Ok(Step::More);
        }
        let vcpus = domain.max_vcpus.get();
        // Backwards by looking at who lives: the cursor is not needed, vCPUs removed are not found again.
        let mut removed = 0;
        for id in 0..vcpus {
            let Ok((_, vcpu)) = self.region.vcpu(domain, id) else { continue };
            if removed == ITEMS_PER_STEP / 2 {
                return Ok(Step::More);
            }
            self.remove_vcpu(tx, slot, vcpu);
            removed += 1;
        }
        if removed > 0 {
            return Ok(Step::More);
        }
        for word in [&domain.max_ports, &domain.first_vcpu, &domain.max_vcpus, &domain.cursor] {
            tx.publish_set(word, 0);
        }
        tx.publish_set(&domain.shared_info, 0);
        tx.publish_set(&domain.domid, 0);
        tx.publish_set(&domain.dying, false);
        tx.publish(deliver::settle(slot));
        Ok(Step::Done)
    }

    fn remove_vcpu(&self, tx: &mut Tx<'l>, slot: DomainSlot, vcpu: &'static VcpuEvents) {
        tx.publish_set(&vcpu.live, false);
        tx.publish(deliver::settle(slot));
        if vcpu.registered.get() {
            put_frame(tx, Maddr(vcpu.info.get()).mfn().0);
        }
        tx.set(&vcpu.registered, false);
        tx.set(&vcpu.domain, 0);
        tx.publish_set(&vcpu.info, 0);
        debug_assert!((0..VIRQS).all(|virq| vcpu.virq[virq].get() == 0), "all ports are closed");
    }
}

/// Drops the references that a frame given by the guest was held by.
fn put_frame(tx: &mut Tx<'_>, mfn: u64) {
    tx.publish(Effect { kind: kind::PUT_TYPED, x: 0, a: mfn, b: 0 });
    tx.publish(Effect { kind: kind::PUT_REF, x: 0, a: mfn, b: 0 });
}

fn release_control(tx: &mut Tx<'_>, vcpu: &'static VcpuEvents) {
    let control = vcpu.control.get();
    if control == 0 {
        return;
    }
    put_frame(tx, Maddr(control).mfn().0);
    tx.publish_set(&vcpu.control, 0);
    for queue in &vcpu.queue {
        queue.put(0);
    }
}
