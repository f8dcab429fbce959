//! Grants: each entry says that it is in use exactly if somebody maps it.

use crate::world::{DOMAINS, World};
use ids::{DomainSlot, Maddr, VcpuSlot};

/// Flags for reading and for writing.
const READING: u64 = 8;
const WRITING: u64 = 16;

impl World {
    pub(super) fn audit_grants(&self) -> Result<(), String> {
        let (grants, memory) = (&self.system.state.grants, &self.machine.memory);
        for slot in (0..DOMAINS).map(DomainSlot) {
            let is_v2 = grants.version(slot) == 2;
            let frames: Vec<_> = grants.frames(slot).collect();
            let status: Vec<_> = grants.status(slot).collect();
            if is_v2 && status.len() < frames.len().div_ceil(8) {
                return Err(format!("{slot:?} lacks status frames"));
            }
            let mut wanted = std::collections::HashMap::new();
            for mapped in grants.mappings().filter(|m| m.granter == slot) {
                let flags = if mapped.usage.writes() { READING | WRITING } else { READING };
                *wanted.entry(u64::from(mapped.gref)).or_insert(0) |= flags;
            }
            let entries = frames.len() as u64 * if is_v2 { 256 } else { 512 };
            for gref in 0..entries {
                let at = if is_v2 {
                    status[gref as usize / 2048].maddr().0 + gref % 2048 * 2
                } else {
                    frames[gref as usize / 512].maddr().0 + gref % 512 * 8
                };
                let flags = memory.get(Maddr(at & !7)) >> (at % 8 * 8);
                let (found, wanted) = (flags & (READING | WRITING), wanted.get(&gref).copied().unwrap_or(0));
                // One that accepts a frame says with the same bits how far that is.
                if !is_v2 && wanted == 0 && flags & 3 == 2 {
                    continue;
                }
                if found != wanted {
                    return Err(format!("grant {gref} of {slot:?} is marked {found:#x}, not {wanted:#x}"));
                }
            }
        }
        let waits = (0..self.size.vcpus).find(|vcpu| grants.is_waiting(VcpuSlot(*vcpu)));
        waits.map_or(Ok(()), |vcpu| Err(format!("mappings of vCPU {vcpu} were not given up")))
    }
}
