//! An auditor that shares no code with the logic: it reads raw page tables, the frame table's getters and
//! what the test itself knows, and recomputes every count and the safety property.

use frames::{Frames, Kind, Owner};
use guest_memory::{FakeMemory, GuestMemory};
use ids::{DomainSlot, Maddr, Mfn};
use std::collections::HashMap;

/// What the test knows and the frame table must agree with.
#[derive(Clone, Default)]
pub(crate) struct Known {
    /// Frames that belong to a domain: allocated, and not yet given up by all.
    pub(crate) owner: HashMap<u64, DomainSlot>,
    /// General references held by the test: allocations.
    pub(crate) refs: HashMap<u64, u64>,
    /// Typed references held by the test: base pointers, descriptor tables.
    pub(crate) typed: HashMap<u64, u64>,
    /// Frames the hypervisor keeps.
    pub(crate) kept: Vec<u64>,
}

pub(crate) struct Auditor<'a> {
    pub(crate) frames: Frames,
    pub(crate) memory: &'a FakeMemory,
    pub(crate) hypervisor_slots: &'a [u64; 16],
    pub(crate) domains: u16,
    /// A device frame that may be mapped read-only, and one that may not be mapped.
    pub(crate) io_rules: (u64, u64),
    /// Machine to physical: the owner's number where the tests allocate, all ones for free frames.
    pub(crate) m2p: &'a [u64],
}

#[derive(Clone, Copy, Default)]
struct Counts {
    refs: u64,
    writable: u64,
    table: [u64; 5],
    other: u64,
}

type Outcome = Result<(), String>;

const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const USER: u64 = 4;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const KERNEL: u64 = 1 << 52;

fn target(entry: u64) -> u64 {
    (entry & 0x000f_ffff_ffff_f000) >> 12
}

fn level_of(kind: Kind) -> usize {
    [Kind::L1, Kind::L2, Kind::L3, Kind::L4].iter().position(|k| *k == kind).map_or(0, |i| i + 1)
}

impl Auditor<'_> {
    /// Checks everything; says what is wrong first.
    pub(crate) fn check(&self, known: &mut Known) -> Outcome {
        let free = ::audit::free_frames(&self.frames)?;
        let listed = ::audit::page_lists(&self.frames, self.domains)?;
        let mut counts = vec![Counts::default(); self.frames.len() as usize];
        for mfn in 0..self.frames.len() {
            self.count_table(mfn, &mut counts)?;
        }
        for (mfn, n) in &known.refs {
            counts[*mfn as usize].refs += n;
        }
        for (mfn, n) in &known.typed {
            counts[*mfn as usize].other += n;
        }
        for mfn in 0..self.frames.len() {
            self.check_frame(mfn, counts[mfn as usize], free[mfn as usize], listed[mfn as usize], known)?;
        }
        for mfn in 0..self.frames.len() {
            let usage = self.usage(mfn)?;
            let level = level_of(usage.kind());
            if usage.is_validated() && level > 0 {
                self.walk(mfn, level, usage.owner())?;
            }
        }
        Ok(())
    }

    fn usage(&self, mfn: u64) -> Result<frames::Usage, String> {
        Ok(self.frames.frame(Mfn(mfn)).ok_or_else(|| format!("no frame {mfn:#x}"))?.usage())
    }

    /// Whether every entry of a table is counted and it must stay a table: it is validated, or was until a
    /// crash undid its completion after somebody else had taken a reference.
    fn is_good(&self, mfn: u64) -> bool {
        self.frames.frame(Mfn(mfn)).is_some_and(|f| {
            let u = f.usage();
            u.is_validated() || u.is_in_work() && u.typed() > 1 && f.cursor.get() == 512
        })
    }

    fn entry(&self, table: u64, index: u64) -> u64 {
        self.memory.load64(Maddr(table * 4096 + index * 8))
    }

    fn is_io(&self, mfn: u64) -> bool {
        self.frames.frame(Mfn(mfn)).is_none_or(|f| f.usage().owner() == Owner::IO)
    }

    /// Adds the references that a table's counted entries hold.
    fn count_table(&self, mfn: u64, counts: &mut [Counts]) -> Outcome {
        let usage = self.usage(mfn)?;
        let level = level_of(usage.kind());
        let bound = match (usage.is_validated(), usage.is_in_work()) {
            (true, true) => return Err(format!("frame {mfn:#x} validated and in work: {usage:?}")),
            (true, false) => 512,
            (false, true) => self.frames.frame(Mfn(mfn)).map_or(0, |f| f.cursor.get()).into(),
            (false, false) => return Ok(()),
        };
        if level == 0 && usage.is_in_work() {
            return Err(format!("frame {mfn:#x} in work as no table: {usage:?}"));
        }
        for index in 0..if level == 0 { 0 } else { bound } {
            let entry = self.entry(mfn, index);
            let hypervisor = level == 4 && (256..272).contains(&index);
            // No kernel uses a root here: none shows the M2P.
            let wanted =
                |index: u64| if index == 256 { 0 } else { self.hypervisor_slots[index as usize - 256] };
            if hypervisor && usage.is_validated() && entry != wanted(index) {
                return Err(format!("root {mfn:#x} slot {index} holds {entry:#x}"));
            }
            if entry & PRESENT == 0 || hypervisor {
                continue;
            }
            let to = target(entry);
            if level == 1 {
                if !self.is_io(to) {
                    let c = &mut counts[to as usize];
                    *(if entry & WRITE != 0 { &mut c.writable } else { &mut c.refs }) += 1;
                }
            } else {
                let c = counts
                    .get_mut(to as usize)
                    .ok_or_else(|| format!("table {mfn:#x}[{index}] = {entry:#x}"))?;
                c.table[level - 1] += 1;
            }
        }
        Ok(())
    }

    fn check_frame(
        &self,
        mfn: u64,
        c: Counts,
        free: bool,
        listed: Option<DomainSlot>,
        known: &mut Known,
    ) -> Outcome {
        let usage = self.usage(mfn)?;
        let wrong = |what: &str| Err(format!("frame {mfn:#x}: {what}; found {usage:?}"));
        let tables: u64 = c.table.iter().sum();
        let level = level_of(usage.kind());
        let own = u64::from(usage.is_pinned()) + u64::from(usage.is_in_work() && !usage.is_pinned());
        if usage.refs() != c.refs {
            return wrong(&format!("{} general references expected", c.refs));
        }
        if usage.typed() != c.writable + tables + c.other + own {
            return wrong(&format!(
                "{} + {tables} + {} + {own} typed references expected",
                c.writable, c.other
            ));
        }
        if c.writable > 0 && (tables + c.other + own > 0 || usage.kind() != Kind::Writable) {
            return wrong("writable and something else");
        }
        if tables > 0 && (level == 0 || c.table[level] != tables || !self.is_good(mfn)) {
            return wrong("named by tables but not as a valid table of that level");
        }
        if usage.is_pinned() && level == 0 {
            return wrong("pinned but no table");
        }
        let busy = usage.is_in_work() || usage.is_validated() && level > 0;
        let alive = !usage.is_unreferenced() || busy;
        if !alive && !known.kept.contains(&mfn) {
            known.owner.remove(&mfn);
        }
        let owner = known.owner.get(&mfn);
        let right = match owner {
            Some(slot) => usage.owner() == Owner::domain(*slot) && listed == Some(*slot) && !free,
            None if known.kept.contains(&mfn) => usage.owner() == Owner::HYPERVISOR && !free,
            None if usage.owner() == Owner::IO => !free && !alive,
            None => free && !alive,
        };
        let wanted = owner.map_or(u64::MAX, |slot| slot.0.into());
        if self.m2p[mfn as usize] != wanted {
            return wrong(&format!("its M2P entry is {:#x}", self.m2p[mfn as usize]));
        }
        if right { Ok(()) } else { wrong(&format!("owner {owner:?}, free {free}, listed {listed:?}")) }
    }

    /// The safety property, along every path from a root (or any other valid table).
    fn walk(&self, table: u64, level: usize, owner: Owner) -> Outcome {
        let usage = self.usage(table)?;
        let bad = |what: &str| Err(format!("table {table:#x} of level {level}: {what}; {usage:?}"));
        if level_of(usage.kind()) != level || usage.owner() != owner || !self.is_good(table) {
            return bad("reachable but not a valid table of its owner");
        }
        for index in 0..512 {
            let entry = self.entry(table, index);
            if entry & PRESENT == 0 || level == 4 && (256..272).contains(&index) {
                continue;
            }
            if entry & USER == 0 || level > 1 && entry & LARGE != 0 {
                return bad(&format!("[{index}] = {entry:#x}"));
            }
            if level > 1 {
                self.walk(target(entry), level - 1, owner)?;
                continue;
            }
            if (entry & KERNEL != 0) == (entry & GLOBAL != 0) {
                return bad(&format!("[{index}] = {entry:#x} not adjusted"));
            }
            self.check_leaf(entry, owner).or_else(|e| bad(&format!("[{index}] = {entry:#x}: {e}")))?;
        }
        Ok(())
    }

    fn check_leaf(&self, entry: u64, owner: Owner) -> Outcome {
        let to = target(entry);
        let privileged = owner == Owner::domain(DomainSlot(0));
        if self.is_io(to) {
            let ruled = to == self.io_rules.1 || to == self.io_rules.0 && entry & WRITE != 0;
            return if privileged && !ruled { Ok(()) } else { Err("device memory".into()) };
        }
        let usage = self.usage(to)?;
        match usage.owner().slot() {
            None => return Err(format!("maps {usage:?}")),
            Some(_) if usage.owner() != owner && !privileged => return Err(format!("foreign {usage:?}")),
            Some(_) => {}
        }
        let plain = usage.kind() == Kind::Writable && usage.typed() > 0;
        if entry & WRITE != 0 && !plain { Err(format!("writable {usage:?}")) } else { Ok(()) }
    }
}
