//! Free ports, and the chunks they come from.

use crate::layout::{CHUNKS_PER_DOMAIN, LINKED, PORTS_PER_CHUNK};
use crate::port::State;
use crate::region::{Chunk, DomainEvents, PortRecord};
use crate::{Error, Events};
use guest_memory::GuestMemory;
use ids::DomainSlot;
use vault::Tx;

impl<'l, M: GuestMemory> Events<'l, M> {
    /// The lowest free port and its record; the caller holds the domain's lock and publishes the binding.
    /// A port whose event word is still linked in a guest's queue is not free yet; a dying domain gets none
    /// (`Invalid`).
    pub(crate) fn allocate(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        domain: &'static DomainEvents,
    ) -> Result<(u32, &'static PortRecord), Error> {
        let locks = self.derived.domain(slot)?;
        if domain.dying.get() {
            return Err(Error::Invalid);
        }
        let mut lowest = None;
        for port in locks.lowest_free()..domain.max_ports.get() {
            let Ok(record) = self.region.port(domain, port) else {
                let chunk = self.take_chunk(tx, slot, domain, port / PORTS_PER_CHUNK)?;
                locks.raise_lowest_free(lowest.unwrap_or(port));
                return Ok((port, &chunk.port[(port % PORTS_PER_CHUNK) as usize]));
            };
            if record.word.get().state() != State::Free {
                continue;
            }
            let lowest = *lowest.get_or_insert(port);
            if !self.is_linked(domain, port) {
                locks.raise_lowest_free(lowest);
                record.link.put(0);
                return Ok((port, record));
            }
        }
        Err(Error::NoSpace)
    }

    fn is_linked(&self, domain: &DomainEvents, port: u32) -> bool {
        self.event_word(domain, port).is_some_and(|at| self.mem.load32(at) & LINKED != 0)
    }

    /// Takes a chunk from the pool for entry `index` of the domain's table.
    fn take_chunk(
        &self,
        tx: &mut Tx<'l>,
        slot: DomainSlot,
        domain: &'static DomainEvents,
        index: u32,
    ) -> Result<&'static Chunk, Error> {
        let shared = self.region.shared;
        tx.lock(&self.derived.pool);
        let number = match shared.free.get() {
            0 => {
                let fresh = shared.fresh.get();
                self.region.chunks.get(fresh as usize).ok_or(Error::NoMemory)?;
                tx.set(&shared.fresh, fresh + 1);
                fresh
            }
            listed => listed - 1,
        };
        let chunk = self.region.chunks.get(number as usize).ok_or(Error::NoMemory)?;
        if shared.free.get() == number + 1 {
            tx.set(&shared.free, chunk.next.get());
            tx.set(&chunk.next, 0);
        }
        tx.set(&chunk.owner, u32::from(slot.0) + 1);
        let entry = domain.chunks.get(index as usize).ok_or(Error::NoSpace)?;
        tx.publish_set(entry, u16::try_from(number + 1).map_err(|_| Error::NoMemory)?);
        Ok(chunk)
    }

    /// Gives back up to `limit` chunks of a domain without bound ports; whether any were left.
    pub(crate) fn return_chunks(&self, tx: &mut Tx<'l>, domain: &'static DomainEvents, limit: usize) -> bool {
        tx.lock(&self.derived.pool);
        let shared = self.region.shared;
        let held = (0..CHUNKS_PER_DOMAIN).filter(|i| domain.chunks[*i].get() != 0);
        let mut any = false;
        for index in held.take(limit) {
            any = true;
            let number = domain.chunks[index].get();
            let Some(chunk) = self.region.chunks.get(usize::from(number) - 1) else { continue };
            for port in chunk.port.iter().filter(|port| port.link.get() != 0) {
                port.link.put(0);
            }
            tx.set(&chunk.owner, 0);
            tx.set(&chunk.next, shared.free.get());
            tx.set(&shared.free, u32::from(number));
            tx.publish_set(&domain.chunks[index], 0);
        }
        any
    }
}
