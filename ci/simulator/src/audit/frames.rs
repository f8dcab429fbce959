//! Counts, owners, kinds, lists of all frames; what is reachable from page tables.

use crate::world::{World, hypervisor_slots};
use frames::{Kind, Owner, Usage};
use ids::{DomainSlot, Maddr, Mfn, VcpuSlot};

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
/// Only its own slot is alive.
const DOM0: DomainSlot = DomainSlot(0);

fn target(entry: u64) -> u64 {
    (entry & 0x000f_ffff_ffff_f000) >> 12
}

fn level_of(kind: Kind) -> usize {
    [Kind::L1, Kind::L2, Kind::L3, Kind::L4].iter().position(|k| *k == kind).map_or(0, |i| i + 1)
}

impl World {
    pub(super) fn audit_frames(&self) -> Outcome {
        let frames = &self.system.state.frames;
        let free = ::audit::free_frames(frames)?;
        let listed = ::audit::page_lists(frames, 2)?;
        let mut counts = vec![Counts::default(); frames.len() as usize];
        for mfn in 0..frames.len() {
            self.count_table(mfn, &mut counts)?;
        }
        self.count_records(&mut counts)?;
        for mfn in 0..frames.len() {
            self.check_frame(mfn, counts[mfn as usize], free[mfn as usize], listed[mfn as usize])?;
        }
        let mut seen = vec![false; frames.len() as usize];
        for mfn in 0..frames.len() {
            let usage = self.usage(mfn)?;
            let level = level_of(usage.kind());
            if usage.is_validated() && level > 0 {
                self.walk(mfn, level, usage.owner(), &mut seen)?;
            }
        }
        Ok(())
    }

    fn usage(&self, mfn: u64) -> Result<Usage, String> {
        Ok(self.system.state.frames.frame(Mfn(mfn)).ok_or_else(|| format!("no frame {mfn:#x}"))?.usage())
    }

    fn is_kernel_root(&self, mfn: u64) -> bool {
        let contexts = &self.system.state.contexts;
        (0..self.size.vcpus).any(|vcpu| contexts.context(VcpuSlot(vcpu)).root_kernel.get().0 == mfn)
    }

    fn is_ram(&self, mfn: u64) -> bool {
        mfn < self.system.state.frames.len()
    }

    /// Whether every entry of a table is counted and it must stay a table: it is validated, or was until a
    /// crash undid its completion after somebody else had taken a reference.
    fn is_good(&self, mfn: u64) -> bool {
        self.system.state.frames.frame(Mfn(mfn)).is_some_and(|f| {
            let u = f.usage();
            u.is_validated() || u.is_in_work() && u.typed() > 1 && f.cursor.get() == 512
        })
    }

    fn entry(&self, table: u64, index: u64) -> u64 {
        self.machine.memory.get(Maddr(table * 4096 + index * 8))
    }

    /// Adds the references that a table's counted entries hold.
    fn count_table(&self, mfn: u64, counts: &mut [Counts]) -> Outcome {
        let usage = self.usage(mfn)?;
        let level = level_of(usage.kind());
        let bound = match (usage.is_validated(), usage.is_in_work()) {
            (true, true) => return Err(format!("frame {mfn:#x} validated and in work: {usage:?}")),
            (true, false) => 512,
            (false, true) => self.system.state.frames.frame(Mfn(mfn)).map_or(0, |f| f.cursor.get()).into(),
            (false, false) => return Ok(()),
        };
        for index in 0..if level == 0 { 0 } else { bound } {
            let entry = self.entry(mfn, index);
            let hypervisor = level == 4 && (256..272).contains(&index);
            // The M2P appears with a kernel's use of a root.
            let hidden = index == 256 && entry == 0 && !self.is_kernel_root(mfn);
            let wanted = |slot: usize| hypervisor_slots()[slot - 256];
            if hypervisor && usage.is_validated() && !hidden && entry != wanted(index as usize) {
                return Err(format!("root {mfn:#x} slot {index} holds {entry:#x}"));
            }
            if entry & PRESENT == 0 || hypervisor || level == 1 && !self.is_ram(target(entry)) {
                continue;
            }
            let to = target(entry);
            let c =
                counts.get_mut(to as usize).ok_or_else(|| format!("table {mfn:#x}[{index}] = {entry:#x}"))?;
            match level {
                1 if entry & WRITE != 0 => c.writable += 1,
                1 => c.refs += 1,
                _ => c.table[level - 1] += 1,
            }
        }
        Ok(())
    }

    /// Adds what records hold: allocations, roots in use, descriptor tables, frames shared with the guest.
    fn count_records(&self, counts: &mut [Counts]) -> Outcome {
        let state = self.system.state;
        for mfn in 0..state.frames.len() {
            let usage = self.usage(mfn)?;
            let shared = state.domains.domain(DOM0).shared_info.get().0 == mfn;
            let kept = usage.owner() == Owner::HYPERVISOR || shared;
            counts[mfn as usize].refs += u64::from(usage.is_allocated() || kept);
        }
        for vcpu in 0..self.size.vcpus {
            let context = state.contexts.context(VcpuSlot(vcpu));
            for root in [&context.root_kernel, &context.root_user]
                .map(|word| word.get().0)
                .into_iter()
                .filter(|r| *r != 0)
            {
                counts[root as usize].table[4] += 1;
            }
            let tables = context.gdt.iter().chain(&context.ldt).map(|word| word.get().0);
            tables.filter(|mfn| *mfn != 0).for_each(|mfn| counts[mfn as usize].other += 1);
        }
        let mut hold = |mfn: Mfn| {
            counts[mfn.0 as usize].refs += 1;
            counts[mfn.0 as usize].writable += 1;
        };
        events::held_frames(&state.events, &mut hold);
        irqs::held_frames(&state.irqs, &mut hold);
        Ok(())
    }

    fn check_frame(&self, mfn: u64, c: Counts, free: bool, listed: Option<DomainSlot>) -> Outcome {
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
                "{} writable, {tables} tables', {} descriptors', {own} own typed references expected",
                c.writable, c.other
            ));
        }
        if c.writable > 0 && (tables + c.other + own > 0 || usage.kind() != Kind::Writable) {
            return wrong("writable and something else");
        }
        if c.other > 0 && usage.kind() != Kind::Descriptors {
            return wrong("a descriptor table of another kind");
        }
        if tables > 0 && (level == 0 || c.table[level] != tables || !self.is_good(mfn)) {
            return wrong("named by tables but not as a valid table of that level");
        }
        if usage.is_pinned() && level == 0 {
            return wrong("pinned but no table");
        }
        let shared = self.system.state.domains.domain(DOM0).shared_info.get().0 == mfn;
        let alive = !usage.is_unreferenced() || usage.is_in_work() || usage.is_validated() && level > 0;
        let right = match usage.owner() {
            owner if owner == Owner::domain(DOM0) => !free && alive && (listed == Some(DOM0)) != shared,
            Owner::HYPERVISOR => !free && alive && listed.is_none(),
            _ => free && !alive && listed.is_none(),
        };
        let m2p = self.machine.devices.borrow().m2p[mfn as usize];
        if free && m2p != u64::MAX {
            return wrong(&format!("free, but its M2P entry is {m2p:#x}"));
        }
        if right { Ok(()) } else { wrong(&format!("free {free}, listed {listed:?}")) }
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
            self.check_leaf(entry).or_else(|e| bad(&format!("[{index}] = {entry:#x}: {e}")))?;
        }
        Ok(())
    }

    /// A leaf of Dom0's: devices but the forbidden one, its own frames, writable only where that is their kind.
    fn check_leaf(&self, entry: u64) -> Outcome {
        let to = target(entry);
        if !self.is_ram(to) {
            let kept = entry & WRITE != 0 && self.system.state.irqs.msix_tables.is_closed(Mfn(to));
            let refused = to == crate::world::FORBIDDEN || kept;
            return if refused { Err("device memory".into()) } else { Ok(()) };
        }
        let usage = self.usage(to)?;
        if usage.owner() != Owner::domain(DOM0) {
            return Err(format!("maps {usage:?}"));
        }
        let plain = usage.kind() == Kind::Writable && usage.typed() > 0;
        if entry & WRITE != 0 && !plain { Err(format!("writable {usage:?}")) } else { Ok(()) }
    }
}
