//! `XENMEM_machine_memory_map`: the firmware's map, and in its holes what Dom0 must not touch. `XENMEM_set_memory_map`:
//! a domain's own map.

use crate::call::{Call, CallResult, fault};
use crate::event_channel::copy_back;
use boot_info::E820Entry as Fact;
use domain::{MAP_ENTRIES, MapEntry};
use guest_memory::GuestMemory;
use ids::{FRAME_SHIFT, FRAME_SIZE, Gva, Mfn};
use vault::Apply;
use xen_abi::Errno;
use xen_abi::e820::{E820_RESERVED, E820Entry};
use xen_abi::hypercall::MEMORY_OP;
use xen_abi::memory::{ForeignMemoryMap, MemoryMap, XENMEM_SET_MEMORY_MAP};

const ENTRY_BYTES: u64 = 20;
/// Entries that Xen has room for.
const MAX_ENTRIES: u32 = 1024;

/// Where the next entry goes.
struct Writer<'a, M> {
    memory: &'a M,
    buffer: u64,
    room: u64,
    count: u64,
}

impl<M: GuestMemory> Writer<'_, M> {
    /// Writes one entry. One more than there are must fit, as in Xen.
    fn put(&mut self, addr: u64, size: u64, kind: u32) -> Result<(), Errno> {
        if self.room <= self.count + 1 {
            return Err(Errno::EINVAL);
        }
        let at = self.buffer.checked_add(ENTRY_BYTES * self.count).ok_or(Errno::EFAULT)?;
        self.memory.write(Gva(at), &E820Entry { addr, size, type_: kind }).map_err(fault)?;
        self.count += 1;
        Ok(())
    }
}

/// The hypercall's part.
pub(crate) fn machine<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    call.privileged()?;
    let at = Gva(call.args[1]);
    let mut map: MemoryMap = call.memory.read(at).map_err(fault)?;
    let facts = &call.state.facts.memory;
    if (map.nr_entries as usize) < facts.iter().count() {
        return Err(Errno::EINVAL);
    }
    let mut out = Writer { memory: call.memory, buffer: map.buffer, room: map.nr_entries.into(), count: 0 };
    let mut next = 0;
    for fact in facts.iter() {
        let first = fact.start.0 >> FRAME_SHIFT;
        if first > next {
            hole(call, &mut out, next, first - 1)?;
        }
        out.put(fact.start.0, fact.len, fact.kind.0)?;
        next = next.max(frame_after(fact));
    }
    hole(call, &mut out, next, call.state.io.max_mfn().saturating_sub(1))?;
    map.nr_entries = out.count as u32;
    // With the reply: the number of entries is also an argument, which a repetition reads again.
    call.reply_after(|tx| copy_back(tx, at.0, &map))
}

/// `XENMEM_set_memory_map`: what a PV domain finds of it is what it is told.
pub(crate) fn set<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let ForeignMemoryMap { domid, map, .. } = call.memory.read(Gva(call.args[1])).map_err(fault)?;
    if map.nr_entries > MAX_ENTRIES {
        return Err(Errno::EINVAL);
    }
    let slot = call.domain_slot(domid)?;
    let mut entries = [MapEntry { start: 0, len: 0, kind: 0 }; MAP_ENTRIES];
    for index in 0..map.nr_entries as usize {
        let at = map.buffer.checked_add(index as u64 * ENTRY_BYTES).ok_or(Errno::EFAULT)?;
        let given: E820Entry = call.memory.read(Gva(at)).map_err(fault)?;
        if let Some(entry) = entries.get_mut(index) {
            *entry = MapEntry { start: given.addr, len: given.size, kind: given.type_ };
        }
    }
    let Some(entries) = entries.get(..map.nr_entries as usize) else {
        return call.unsupported(MEMORY_OP, XENMEM_SET_MEMORY_MAP.into(), Errno::EOPNOTSUPP);
    };
    let (of, lock) = (&call.state.maps[usize::from(slot.0)], call.state.domain_locks.of(slot));
    call.reply_after(|tx| {
        tx.lock(lock);
        if of.set(tx, entries) { Ok(()) } else { Err(Errno::EINVAL) }
    })
}

/// `XENMEM_memory_map`: what was set, as much as there is room for.
pub(crate) fn get<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let at = Gva(call.args[1]);
    let mut map: MemoryMap = call.memory.read(at).map_err(fault)?;
    let entries = call.state.maps[usize::from(call.domain.0)].entries();
    if entries.len() == 0 {
        return Err(Errno::ENOSYS);
    }
    let count = map.nr_entries.min(entries.len() as u32);
    for (entry, offset) in entries.take(count as usize).zip((0..).step_by(ENTRY_BYTES as usize)) {
        let to = map.buffer.checked_add(offset).ok_or(Errno::EFAULT)?;
        let shown = E820Entry { addr: entry.start, size: entry.len, type_: entry.kind };
        call.memory.write(Gva(to), &shown).map_err(fault)?;
    }
    map.nr_entries = count;
    call.reply_after(|tx| copy_back(tx, at.0, &map))
}

fn frame_after(fact: &Fact) -> u64 {
    fact.start.0.saturating_add(fact.len).div_ceil(FRAME_SIZE)
}

/// Reserved entries for the frames of a hole that Dom0 may not map.
fn hole<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    out: &mut Writer<'_, M>,
    mut from: u64,
    last: u64,
) -> Result<(), Errno> {
    while from <= last
        && let Some((start, end)) = call.state.io.forbidden_in(Mfn(from), Mfn(last))
    {
        // A run up to the end of the address space is no hole: nothing comes behind it.
        if end.0 + 1 >= call.state.io.max_mfn() {
            return Ok(());
        }
        out.put(start.0 << FRAME_SHIFT, (end.0 - start.0 + 1) << FRAME_SHIFT, E820_RESERVED)?;
        from = end.0 + 1;
    }
    Ok(())
}
