//! Grants: what mappings hold, and whether each entry says that it is in use exactly if it is.

use crate::Report;
use crate::bindings::Held;
use crate::machine::Machine;
use crate::memory::{FRAME, word};
use std::collections::HashMap;

/// Flags of an entry in use: for reading, for writing.
const READING: u64 = 8;
const WRITING: u64 = 16;
/// What stands above a track's reference and granter: its use is for reading only.
const READ_ONLY: u64 = 4;
/// The type of an entry, and the one that accepts a frame.
const TYPE: u64 = 3;
const ACCEPTS: u64 = 2;
/// It holds two references.
const BOTH: u64 = 1 << 14;

/// A mapping of a grant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) granter: usize,
    pub(crate) gref: u64,
    pub(crate) mapper: u64,
    pub(crate) mfn: u64,
    pub(crate) writable: bool,
    /// References to the frame that it holds.
    pub(crate) references: u64,
}

/// A domain's table.
#[derive(Debug, Default)]
pub(crate) struct GrantTable {
    pub(crate) frames: Vec<u64>,
    pub(crate) status: Vec<u64>,
    pub(crate) is_v2: bool,
}

impl GrantTable {
    /// Where an entry's flags for use are.
    fn flags_at(&self, gref: u64) -> Option<u64> {
        if self.is_v2 {
            return Some(self.status.get((gref / 2048) as usize)? * FRAME + gref % 2048 * 2);
        }
        Some(self.frames.get((gref / 512) as usize)? * FRAME + gref % 512 * 8)
    }

    fn entries(&self) -> u64 {
        self.frames.len() as u64 * if self.is_v2 { 256 } else { 512 }
    }

    /// The address of the flags of the last entry, for damage.
    pub(crate) fn last_flags(&self) -> Option<u64> {
        self.flags_at(self.entries().checked_sub(1)?)
    }
}

pub(crate) fn tables(machine: &Machine<'_>) -> Result<Vec<GrantTable>, String> {
    let tables = machine.records("grants::Table")?;
    let (count, frames) = (tables.column("count", 4)?, tables.column("frames", 8)?);
    let (status_count, status) = (tables.column("status_count", 4)?, tables.column("status", 8)?);
    let is_v2 = tables.column("is_v2", 1)?;
    let read = |slot| GrantTable {
        frames: frames.all(slot).take(count.at(slot, 0) as usize).collect(),
        status: status.all(slot).take(status_count.at(slot, 0) as usize).collect(),
        is_v2: is_v2.at(slot, 0) != 0,
    };
    Ok((0..tables.count).map(read).collect())
}

pub(crate) fn mappings(machine: &Machine<'_>) -> Result<Vec<Mapping>, String> {
    let tracks = machine.records("grants::Track")?;
    let (grant, frame) = (tracks.column("grant", 8)?, tracks.column("frame", 8)?);
    let taken = (0..tracks.count).map(|index| (grant.at(index, 0), frame.at(index, 0)));
    let read = |(grant, frame): (u64, u64)| Mapping {
        granter: (grant >> 32 & 0xffff) as usize,
        gref: grant & 0xffff_ffff,
        mapper: frame >> 48,
        mfn: frame & 0xffff_ffff_ffff,
        writable: grant >> 48 & READ_ONLY == 0,
        references: if grant >> 48 & BOTH == 0 { 1 } else { 2 },
    };
    Ok(taken.filter(|(grant, _)| *grant != 0).map(read).collect())
}

/// Compares the flags of every entry with the mappings there are.
pub(crate) fn check(machine: &Machine<'_>, held: &Held, report: &mut Report) {
    let mut wanted: HashMap<(usize, u64), u64> = HashMap::new();
    for mapping in &held.granted {
        let flags = if mapping.writable { READING | WRITING } else { READING };
        *wanted.entry((mapping.granter, mapping.gref)).or_default() |= flags;
    }
    for (slot, table) in held.grant_tables.iter().enumerate() {
        for gref in 0..table.entries() {
            let Some(at) = table.flags_at(gref) else {
                report.wrong(format!("the table of slot {slot} lacks the status of {gref}"));
                break;
            };
            let flags = word(machine.memory, at & !7).unwrap_or(0) >> (8 * (at & 7));
            let (found, wanted) =
                (flags & (READING | WRITING), wanted.get(&(slot, gref)).copied().unwrap_or(0));
            // One that accepts a frame says with the same bits how far that is.
            if !table.is_v2 && wanted == 0 && flags & TYPE == ACCEPTS {
                continue;
            }
            if found != wanted {
                report.wrong(format!("grant {gref} of slot {slot} is marked {found:#x}, not {wanted:#x}"));
            }
        }
    }
}
