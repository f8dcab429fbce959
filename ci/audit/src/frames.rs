//! Counts, owners, kinds and lists of all frames, and what is reachable from page tables: recomputed from raw tables
//! and from what those who hold references say.

use crate::{free_frames, page_lists};
use frames::{Frames, Kind, Owner, Usage};
use ids::{DomainSlot, Maddr, Mfn};

/// A reference to a frame that no page table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// A general one: an allocation, a frame of the hypervisor's.
    General,
    /// One for writing.
    Writable,
    /// A root table in use.
    Root,
    /// A descriptor table in use.
    Descriptors,
    /// A typed one of whatever kind.
    Typed,
}

/// A frame as the audit found it.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Which it is.
    pub mfn: Mfn,
    /// What its record says.
    pub usage: Usage,
    /// It is on a free list.
    pub free: bool,
    /// On whose page list it is.
    pub listed: Option<DomainSlot>,
    /// Somebody refers to it, or it is a table or about to be.
    pub alive: bool,
}

/// The machine around the frame table.
pub trait Audited {
    /// A word of memory.
    fn word(&self, at: Maddr) -> u64;
    /// Whether a valid root table may hold `entry` in `slot`, which is one of the hypervisor's.
    fn is_slot_right(&self, root: Mfn, slot: u64, entry: u64) -> bool;
    /// Calls `hold` for each reference that no page table holds.
    fn held(&self, hold: &mut dyn FnMut(Mfn, Held));
    /// Whether a frame is where it belongs, with the M2P entry that it is to have.
    ///
    /// # Errors
    /// What it is instead.
    fn is_placed(&mut self, found: &Found) -> Result<(), String>;
    /// Whether a domain other than Dom0 was granted a frame of another's, to write to it or not.
    fn is_granted(&self, to: Owner, mfn: Mfn, write: bool) -> bool {
        let _ = (to, mfn, write);
        false
    }
    /// Whether Dom0 may map a frame that is no RAM.
    fn may_map_device(&self, mfn: Mfn, write: bool) -> bool;
}

/// Checks everything.
///
/// # Errors
/// What is wrong first.
pub fn check_frames(frames: Frames, domains: u16, world: &mut impl Audited) -> Result<(), String> {
    let free = free_frames(&frames)?;
    let listed = page_lists(&frames, domains)?;
    let mut audit = Audit { frames, counts: vec![Counts::default(); frames.len() as usize], world };
    for mfn in 0..frames.len() {
        audit.count_table(mfn)?;
    }
    audit.count_held()?;
    for mfn in 0..frames.len() {
        audit.check_frame(mfn, free[mfn as usize], listed[mfn as usize])?;
    }
    let mut seen = vec![false; frames.len() as usize];
    for mfn in 0..frames.len() {
        let usage = audit.usage(mfn)?;
        let level = level_of(usage.kind());
        if usage.is_validated() && level > 0 {
            audit.walk(mfn, level, usage.owner(), &mut seen)?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Counts {
    refs: u64,
    writable: u64,
    table: [u64; 5],
    descriptors: u64,
    other: u64,
}

struct Audit<'a, W> {
    frames: Frames,
    counts: Vec<Counts>,
    world: &'a mut W,
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

impl<W: Audited> Audit<'_, W> {
    fn usage(&self, mfn: u64) -> Result<Usage, String> {
        Ok(self.frames.frame(Mfn(mfn)).ok_or_else(|| format!("no frame {mfn:#x}"))?.usage())
    }

    /// Whether every entry of a table is counted and it must stay a table.
    fn is_good(&self, mfn: u64) -> bool {
        self.frames.frame(Mfn(mfn)).is_some_and(|f| f.usage().is_validated())
    }

    fn entry(&self, table: u64, index: u64) -> u64 {
        self.world.word(Maddr(table * 4096 + index * 8))
    }

    fn is_device(&self, mfn: u64) -> bool {
        self.frames.frame(Mfn(mfn)).is_none_or(|f| f.usage().owner() == Owner::IO)
    }

    /// Adds the references that a table's counted entries hold.
    fn count_table(&mut self, mfn: u64) -> Outcome {
        let usage = self.usage(mfn)?;
        let level = level_of(usage.kind());
        let bound = match (usage.is_validated(), usage.is_in_work()) {
            (true, true) => return Err(format!("frame {mfn:#x} validated and in work: {usage:?}")),
            (true, false) => 512,
            (false, true) => usage.cursor().into(),
            (false, false) => return Ok(()),
        };
        if level == 0 && usage.is_in_work() && usage.kind() != Kind::Descriptors {
            return Err(format!("frame {mfn:#x} in work as no table: {usage:?}"));
        }
        for index in 0..if level == 0 { 0 } else { bound } {
            let entry = self.entry(mfn, index);
            if level == 4 && (256..272).contains(&index) {
                if usage.is_validated() && !self.world.is_slot_right(Mfn(mfn), index, entry) {
                    return Err(format!("root {mfn:#x} slot {index} holds {entry:#x}"));
                }
                continue;
            }
            let to = target(entry);
            if entry & PRESENT == 0 || level == 1 && self.is_device(to) {
                continue;
            }
            let named = self.counts.get_mut(to as usize);
            let c = named.ok_or_else(|| format!("table {mfn:#x}[{index}] = {entry:#x}"))?;
            match level {
                1 if entry & WRITE != 0 => c.writable += 1,
                1 => c.refs += 1,
                _ => c.table[level - 1] += 1,
            }
        }
        Ok(())
    }

    /// Adds what records hold.
    fn count_held(&mut self) -> Outcome {
        let (counts, mut nowhere) = (&mut self.counts, None);
        self.world.held(&mut |mfn, how| {
            let Some(c) = counts.get_mut(mfn.0 as usize) else {
                nowhere = Some(mfn);
                return;
            };
            *match how {
                Held::General => &mut c.refs,
                Held::Writable => &mut c.writable,
                Held::Root => &mut c.table[4],
                Held::Descriptors => &mut c.descriptors,
                Held::Typed => &mut c.other,
            } += 1;
        });
        nowhere.map_or(Ok(()), |mfn| Err(format!("a record holds {mfn:?}, which is no RAM")))
    }

    fn check_frame(&mut self, mfn: u64, free: bool, listed: Option<DomainSlot>) -> Outcome {
        let (usage, c) = (self.usage(mfn)?, self.counts[mfn as usize]);
        let wrong = |what: &str| Err(format!("frame {mfn:#x}: {what}; found {usage:?}"));
        let tables: u64 = c.table.iter().sum();
        let level = level_of(usage.kind());
        let own = u64::from(usage.is_pinned()) + u64::from(usage.is_in_work() && !usage.is_pinned());
        let special = tables + c.descriptors + c.other + own;
        if usage.refs() != c.refs {
            return wrong(&format!("{} general references expected", c.refs));
        }
        if usage.typed() != c.writable + special {
            return wrong(&format!(
                "{} writable, {tables} tables', {} descriptors', {} other, {own} own typed references expected",
                c.writable, c.descriptors, c.other
            ));
        }
        if c.writable > 0 && (special > 0 || usage.kind() != Kind::Writable) {
            return wrong("writable and something else");
        }
        if c.descriptors > 0 && usage.kind() != Kind::Descriptors {
            return wrong("a descriptor table of another kind");
        }
        if tables > 0 && (level == 0 || c.table[level] != tables || !self.is_good(mfn)) {
            return wrong("named by tables but not as a valid table of that level");
        }
        if usage.is_pinned() && level == 0 {
            return wrong("pinned but no table");
        }
        let alive = !usage.is_unreferenced() || usage.is_in_work() || usage.is_validated() && level > 0;
        let found = Found { mfn: Mfn(mfn), usage, free, listed, alive };
        self.world.is_placed(&found).or_else(|e| wrong(&e))
    }

    /// The safety property, along every path from a valid table.
    fn walk(&self, table: u64, level: usize, owner: Owner, seen: &mut [bool]) -> Outcome {
        let usage = self.usage(table)?;
        let bad = |what: &str| Err(format!("table {table:#x} of level {level}: {what}; {usage:?}"));
        if level_of(usage.kind()) != level || usage.owner() != owner || !self.is_good(table) {
            return bad("reachable but not a valid table of its owner");
        }
        if std::mem::replace(&mut seen[table as usize], true) {
            return Ok(());
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
                self.walk(target(entry), level - 1, owner, seen)?;
                continue;
            }
            if (entry & KERNEL != 0) == (entry & GLOBAL != 0) {
                return bad(&format!("[{index}] = {entry:#x} not adjusted"));
            }
            self.check_leaf(entry, owner).or_else(|e| bad(&format!("[{index}] = {entry:#x}: {e}")))?;
        }
        Ok(())
    }

    /// A leaf: Dom0's may name devices and frames of others; writable only where that is the frame's kind.
    fn check_leaf(&self, entry: u64, owner: Owner) -> Outcome {
        let (to, write) = (target(entry), entry & WRITE != 0);
        let privileged = owner == Owner::domain(DomainSlot(0));
        if self.is_device(to) {
            let may = privileged && self.world.may_map_device(Mfn(to), write);
            return if may { Ok(()) } else { Err("device memory".into()) };
        }
        let usage = self.usage(to)?;
        match usage.owner().slot() {
            None => return Err(format!("maps {usage:?}")),
            Some(_)
                if usage.owner() != owner && !privileged && !self.world.is_granted(owner, Mfn(to), write) =>
            {
                return Err(format!("foreign {usage:?}"));
            }
            Some(_) => {}
        }
        let plain = usage.kind() == Kind::Writable && usage.typed() > 0;
        if write && !plain { Err(format!("writable {usage:?}")) } else { Ok(()) }
    }
}
