//! Delivery by the FIFO ABI: an event word per port, linked into one of a vCPU's sixteen queues.
//!
//! A queue's [`Traced`] word holds its tail (bits 0..17) and the port being linked (17..34, 0 none); a port's
//! holds the queue it was last linked into (vCPU number 0..16, priority 16..20, valid 63) and whether it is
//! pending without an event word or control block to say so (62). All is done under the delivery lock.

use crate::Events;
use crate::deliver::Target;
use crate::layout::{
    CONTROL_HEAD, CONTROL_READY, LINK_BITS, LINK_MASK, LINKED, MASKED, PENDING, QUEUES, WORDS_PER_FRAME,
};
use crate::port::Traced;
use crate::region::{DomainEvents, PortRecord, VcpuEvents};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr, VcpuSlot};

/// Attempts to change a word that the guest keeps changing too. Each failure is a write of the guest's; one
/// that makes all of them fail loses events of its own.
const ATTEMPTS: usize = 1000;

const VALID: u64 = 1 << 63;
const WAITING: u64 = 1 << 62;

/// Names one of a domain's queues, as a port's traced word does.
fn queue_id(vcpu: u16, priority: u8) -> u64 {
    VALID | u64::from(vcpu) | u64::from(priority & 15) << 16
}

/// A vCPU's number in its domain.
fn number_of(domain: &DomainEvents, slot: VcpuSlot) -> u16 {
    slot.0.wrapping_sub(domain.first_vcpu.get()) as u16
}

fn tail_of(queue: u64) -> u32 {
    queue as u32 & LINK_MASK
}

/// The port whose linking is not known to be finished; 0 none.
pub(crate) fn linking_of(queue: u64) -> u32 {
    (queue >> LINK_BITS) as u32 & LINK_MASK
}

fn queue_word(tail: u32, linking: u32) -> u64 {
    u64::from(tail & LINK_MASK) | u64::from(linking & LINK_MASK) << LINK_BITS
}

/// Whether a port is pending but has not been given a word or a queue.
pub(crate) fn is_waiting(record: &PortRecord) -> bool {
    record.link.get() & WAITING != 0
}

/// Notes that a port is pending until there is a word and a queue for it.
pub(crate) fn wait(record: &PortRecord) {
    record.link.put(record.link.get() | WAITING);
}

impl<M: GuestMemory> Events<'_, M> {
    /// The machine address of a port's event word, if the guest has given the frame.
    pub(crate) fn event_word(&self, domain: &DomainEvents, port: u32) -> Option<Maddr> {
        let index = port / WORDS_PER_FRAME;
        if domain.abi.get() != crate::region::FIFO || index >= domain.frames.get() {
            return None;
        }
        let frame = domain.array.get(index as usize)?.get();
        Some(Maddr((frame << ids::FRAME_SHIFT) + u64::from(port % WORDS_PER_FRAME) * 4))
    }

    pub(crate) fn raise_fifo(&self, target: &Target) -> Option<VcpuSlot> {
        let Some(at) = self.event_word(target.domain, target.port) else {
            wait(target.record);
            return None;
        };
        let word = self.change(at, |word| Some(word | PENDING))?;
        self.link(target, word)
    }

    /// Links a pending event into its queue unless it is masked or linked. `word` is its event word's value.
    fn link(&self, target: &Target, word: u32) -> Option<VcpuSlot> {
        if word & (MASKED | LINKED) != 0 {
            return None;
        }
        if target.vcpu.control.get() == 0 {
            wait(target.record);
            return None;
        }
        let binding = target.record.word.get();
        let queue = &target.vcpu.queue[usize::from(binding.priority()) % QUEUES];
        debug_assert_eq!(linking_of(queue.get()), 0, "recovery repairs before it raises");
        queue.put(queue_word(tail_of(queue.get()), target.port));
        self.finish(target.domain, target.slot, target.vcpu, binding.priority())
    }

    /// Completes the link that a queue's traced word notes, if any: the event gets linked behind the tail
    /// if that is still in this queue, else it becomes the head. May stop anywhere and be run again.
    fn finish(
        &self,
        domain: &DomainEvents,
        slot: VcpuSlot,
        vcpu: &VcpuEvents,
        priority: u8,
    ) -> Option<VcpuSlot> {
        let queue: &Traced = &vcpu.queue[usize::from(priority) % QUEUES];
        let (tail, port) = (tail_of(queue.get()), linking_of(queue.get()));
        if port == 0 {
            return None;
        }
        if let Ok(record) = self.region.port(domain, port) {
            // Here, so that a repair notes it too: who is linked behind this port later goes by it.
            record.link.put(queue_id(number_of(domain, slot), priority));
        }
        let mut kick = None;
        if let Some(at) = self.event_word(domain, port) {
            self.change(at, |word| Some((word | LINKED) & !LINK_MASK));
            if !self.link_behind(domain, slot, priority, tail, port) {
                kick = self.become_head(slot, vcpu, priority, port);
            }
        }
        queue.put(queue_word(port, 0));
        kick
    }

    /// Writes `port` as the tail's successor, if the tail is still linked, and in this queue.
    fn link_behind(&self, domain: &DomainEvents, slot: VcpuSlot, priority: u8, tail: u32, port: u32) -> bool {
        if tail == 0 || tail == port {
            return false;
        }
        let Ok(record) = self.region.port(domain, tail) else { return false };
        if record.link.get() & !WAITING != queue_id(number_of(domain, slot), priority) {
            return false;
        }
        let Some(at) = self.event_word(domain, tail) else { return false };
        let successor = |word| (word & LINKED != 0).then_some(word & !LINK_MASK | port);
        self.change(at, successor).is_some()
    }

    /// An empty queue starts with `port`: head, then ready, then upcall.
    fn become_head(&self, slot: VcpuSlot, vcpu: &VcpuEvents, priority: u8, port: u32) -> Option<VcpuSlot> {
        let control = vcpu.control.get();
        if control == 0 {
            return None;
        }
        self.mem.store32(Maddr(control + CONTROL_HEAD + 4 * u64::from(priority)), port);
        self.change(Maddr(control + CONTROL_READY), |ready| Some(ready | 1 << priority));
        self.upcall(slot, vcpu)
    }

    /// The named repair of the FIFO words: links that were cut in the middle are completed. Recovery runs it
    /// for every vCPU when all logs are rolled back and *before* any outbox is drained: an event raised again
    /// may go to another queue by now, and must not be in two. Returns the vCPU if it must look at its events.
    pub fn repair_fifo(&self, slot: VcpuSlot) -> Option<VcpuSlot> {
        let vcpu = self.region.vcpu_at(slot).ok()?;
        let owner = DomainSlot(vcpu.domain.get());
        let _delivery = self.derived.domain(owner).ok()?.delivery.hold();
        let domain = self.region.domain(owner).ok()?;
        let mut kick = None;
        for priority in 0..QUEUES as u8 {
            kick = self.finish(domain, slot, vcpu, priority).or(kick);
        }
        kick
    }

    pub(crate) fn unmask_fifo(&self, target: &Target) -> Option<VcpuSlot> {
        let at = self.event_word(target.domain, target.port)?;
        let word = self.change(at, |word| Some(word & !MASKED))?;
        if word & PENDING == 0 { None } else { self.link(target, word & !MASKED) }
    }

    pub(crate) fn clear_fifo(&self, domain: &DomainEvents, port: u32) {
        if let Ok(record) = self.region.port(domain, port)
            && is_waiting(record)
        {
            record.link.put(record.link.get() & !WAITING);
        }
        if let Some(at) = self.event_word(domain, port) {
            self.change(at, |word| Some(word & !PENDING));
        }
    }

    pub(crate) fn is_pending_fifo(&self, domain: &DomainEvents, port: u32) -> bool {
        self.event_word(domain, port).is_some_and(|at| self.mem.load32(at) & PENDING != 0)
    }

    /// Changes a 32-bit word that the guest may change too; the value before. `None`: `new` refused, or all
    /// attempts failed.
    fn change(&self, at: Maddr, new: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        let mut old = self.mem.load32(at);
        for _ in 0..ATTEMPTS {
            let wanted = new(old)?;
            if wanted == old {
                return Some(old);
            }
            match self.mem.exchange32(at, old, wanted) {
                Ok(()) => return Some(old),
                Err(found) => old = found,
            }
        }
        None
    }
}
