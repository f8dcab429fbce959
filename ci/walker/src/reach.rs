//! What guests can reach: every mapping outside of the hypervisor's slots, from every root table.

use crate::Report;
use crate::bindings::Held;
use crate::machine::Machine;
use crate::own::{Own, SLOTS};
use crate::paging::{Leaf, PRESENT, USER, Visitor, Walker};
use crate::read_only::ReadOnly;
use crate::usage::{DESCRIPTORS, Frame, Owner, Table, WRITABLE};
use std::collections::{BTreeMap, BTreeSet};

/// Device memory that nobody but the hypervisor may map: the local APICs' page and the first I/O APIC of a PC.
const FORBIDDEN: [u64; 2] = [0xfee00, 0xfec00];

/// Checks the roots; `frames in use as tables` are those met on the way and those the frame table calls so.
pub(crate) fn walk(
    machine: &Machine<'_>,
    table: &Table,
    own: &Own,
    held: &Held,
    roots: &BTreeSet<u64>,
    report: &mut Report,
) -> Result<(), String> {
    report.roots = roots.len();
    let read_only = ReadOnly::read(machine, report)?;
    let mut by_owner: BTreeMap<u64, Reached> = BTreeMap::new();
    for root in roots {
        let kernel = held.kernel_roots.contains(root);
        check_slots(machine, *root, own, kernel, report);
        match table.get(*root).map(|frame| frame.owner) {
            Some(Owner::Domain(slot)) => {
                by_owner.entry(slot).or_default().root(machine, *root);
            }
            other => report.wrong(format!("root table {root:#x} belongs to no domain: {other:?}")),
        }
    }
    let mut tables: BTreeSet<u64> =
        by_owner.values().flat_map(|r| r.tables.iter().map(|(mfn, _)| *mfn)).collect();
    tables.extend(table.all().filter(|(_, frame)| frame.level().is_some()).map(|(mfn, _)| mfn));
    let granted = held.granted.iter().map(|m| (m.mapper, m.mfn, m.writable)).collect();
    let descriptors: BTreeSet<u64> = held.descriptors.iter().copied().collect();
    for (slot, reached) in &by_owner {
        let privileged = held.domains.get(*slot as usize).is_some_and(|(_, privileged)| *privileged);
        let judge = Judge {
            machine,
            table,
            own,
            tables: &tables,
            descriptors: &descriptors,
            read_only: &read_only,
            slot: *slot,
            privileged,
            granted: &granted,
        };
        reached.tables.iter().for_each(|(mfn, level)| judge.table(*mfn, *level, report));
        reached
            .missing
            .iter()
            .for_each(|mfn| report.wrong(format!("table {mfn:#x} of slot {slot} is no RAM")));
        reached.leaves.iter().for_each(|leaf| judge.leaf(leaf, report));
        report.tables += reached.tables.len();
        report.mappings += reached.leaves.len();
    }
    for mfn in &descriptors {
        check_descriptors(machine, *mfn, report);
    }
    Ok(())
}

/// A root that no kernel uses now may lack the M2P: processes do not see it.
fn check_slots(machine: &Machine<'_>, root: u64, own: &Own, kernel: bool, report: &mut Report) {
    let Some(entries) = machine.memory.frame(root) else { return };
    for (slot, (found, wanted)) in SLOTS.zip(entries[SLOTS].iter().zip(&own.slots)) {
        let hidden = slot == SLOTS.start && *found == 0 && !kernel;
        if found != wanted && !hidden {
            report.wrong(format!(
                "root {root:#x}: the hypervisor's slot {slot} holds {found:#x}, not {wanted:#x}"
            ));
        }
    }
}

/// Present descriptors are segments that no guest runs in ring 0: no gates, no TSS, no LDT.
fn check_descriptors(machine: &Machine<'_>, mfn: u64, report: &mut Report) {
    let Some(words) = machine.memory.frame(mfn) else {
        return report.wrong(format!("descriptor table {mfn:#x} is no RAM"));
    };
    for (index, word) in words.iter().enumerate() {
        let (present, segment, dpl) = (word >> 47 & 1 != 0, word >> 44 & 1 != 0, word >> 45 & 3);
        if present && (!segment || dpl == 0) {
            report.wrong(format!("descriptor table {mfn:#x}[{index}] = {word:#x}"));
        }
    }
}

/// What one domain's roots reach.
#[derive(Default)]
struct Reached {
    walker: Walker,
    tables: BTreeSet<(u64, u32)>,
    leaves: Vec<Leaf>,
    missing: BTreeSet<u64>,
}

impl Reached {
    fn root(&mut self, machine: &Machine<'_>, root: u64) {
        let mut walker = std::mem::take(&mut self.walker);
        walker.root(machine.memory, root, |slot| !SLOTS.contains(&slot), self);
        self.walker = walker;
    }
}

impl Visitor for Reached {
    fn table(&mut self, mfn: u64, level: u32) {
        self.tables.insert((mfn, level));
    }
    fn leaf(&mut self, leaf: Leaf) {
        self.leaves.push(leaf);
    }
    fn missing(&mut self, mfn: u64, _level: u32) {
        self.missing.insert(mfn);
    }
}

/// The rules for one domain.
struct Judge<'a> {
    machine: &'a Machine<'a>,
    table: &'a Table,
    own: &'a Own,
    tables: &'a BTreeSet<u64>,
    descriptors: &'a BTreeSet<u64>,
    read_only: &'a ReadOnly,
    slot: u64,
    privileged: bool,
    /// What was granted, and is mapped: mapper, frame, writable.
    granted: &'a BTreeSet<(u64, u64, bool)>,
}

impl Judge<'_> {
    /// A table that the processor reaches is one of its level, complete, and the domain's.
    fn table(&self, mfn: u64, level: u32, report: &mut Report) {
        let Some(frame) = self.table.get(mfn) else {
            return report.wrong(format!("table {mfn:#x} is beyond the frame table"));
        };
        let right =
            frame.kind == u64::from(level) && frame.validated && frame.owner == Owner::Domain(self.slot);
        if !right {
            report.wrong(format!("reached as a table of level {level}: frame {mfn:#x}, {frame:?}"));
        }
        self.adjusted(mfn, level, report);
    }

    /// Entries stand as PV guests need them: open to ring 3, no large pages.
    fn adjusted(&self, mfn: u64, level: u32, report: &mut Report) {
        let entries = self.machine.memory.frame(mfn).unwrap_or([0; 512]);
        for (index, entry) in entries.into_iter().enumerate() {
            let skipped = entry & PRESENT == 0 || level == 4 && SLOTS.contains(&index);
            if !skipped && (entry & USER == 0 || level > 1 && entry & 1 << 7 != 0) {
                report.wrong(format!("table {mfn:#x} of level {level}: [{index}] = {entry:#x}"));
            }
        }
    }

    fn leaf(&self, leaf: &Leaf, report: &mut Report) {
        for mfn in leaf.frame..leaf.frame + leaf.frames {
            if let Some(problem) = self.problem(mfn, leaf.writable) {
                let how = if leaf.writable { "writable" } else { "readable" };
                report.wrong(format!(
                    "slot {} maps {:#x} {how} to frame {mfn:#x}: {problem}",
                    self.slot, leaf.va
                ));
            }
        }
    }

    fn problem(&self, mfn: u64, writable: bool) -> Option<String> {
        if self.machine.is_shown(mfn) && self.privileged && !writable {
            return None;
        }
        if let Some(name) = self.machine.own_memory(mfn).or_else(|| self.own.frames.get(&mfn).copied()) {
            return Some(format!("the hypervisor's {name}"));
        }
        let Some(frame) = self.table.get(mfn).filter(|_| self.machine.is_ram(mfn)) else {
            if writable && let Some(what) = self.read_only.what(mfn) {
                return Some(what.into());
            }
            let refused = !self.privileged || FORBIDDEN.contains(&mfn);
            return refused.then(|| "device memory that it may not reach".to_string());
        };
        match frame.owner {
            Owner::Domain(slot) if slot == self.slot || self.privileged => {}
            Owner::Traces { buffer } if self.privileged && (buffer || !writable) => return None,
            Owner::Domain(_) if self.granted.contains(&(self.slot, mfn, writable)) => {}
            _ => return Some(format!("not its own: {frame:?}")),
        }
        if !writable {
            return None;
        }
        self.writable_problem(mfn, frame)
    }

    fn writable_problem(&self, mfn: u64, frame: &Frame) -> Option<String> {
        if self.tables.contains(&mfn) {
            return Some(format!("in use as a page table: {frame:?}"));
        }
        if self.descriptors.contains(&mfn) || frame.kind == DESCRIPTORS {
            return Some(format!("in use as a descriptor table: {frame:?}"));
        }
        (frame.kind != WRITABLE || frame.typed == 0).then(|| format!("not counted as writable: {frame:?}"))
    }
}
