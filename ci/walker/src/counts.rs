//! The audit: every count, recomputed from raw page tables and from what records hold.

use crate::Report;
use crate::bindings::Held;
use crate::lists::Lists;
use crate::machine::Machine;
use crate::own::SLOTS;
use crate::paging::{PRESENT, WRITABLE as ENTRY_WRITABLE, target};
use crate::usage::{DESCRIPTORS, Frame, Owner, Table, WRITABLE};
use std::collections::HashSet;

/// References found to a frame.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    refs: u64,
    writable: u64,
    /// By level of the table that is referred to.
    table: [u64; 5],
    descriptors: u64,
}

/// Compares the frame table with what is found.
pub(crate) fn check(
    machine: &Machine<'_>,
    table: &Table,
    held: &Held,
    lists: &Lists,
    report: &mut Report,
) -> Result<(), String> {
    report.frames = table.len() as usize;
    report.in_work = table.all().filter(|(_, frame)| frame.in_work).count();
    let mut counts = vec![Counts::default(); table.len() as usize];
    for (mfn, frame) in table.all() {
        count_table(machine, table, (mfn, frame), &mut counts, report);
    }
    count_records(table, held, &mut counts, report);
    let shared: HashSet<u64> = held.shared.iter().copied().collect();
    for (mfn, frame) in table.all() {
        check_counts(mfn, frame, counts[mfn as usize], report);
        check_place(machine, (mfn, frame), shared.contains(&mfn), lists, held, report);
    }
    Ok(())
}

/// Adds the references that a table's counted entries hold.
fn count_table(
    machine: &Machine<'_>,
    table: &Table,
    (mfn, frame): (u64, &Frame),
    counts: &mut [Counts],
    report: &mut Report,
) {
    let is_table = (1..=4).contains(&frame.kind);
    if frame.validated && frame.in_work
        || frame.pinned && !is_table
        || frame.in_work && !is_table && frame.kind != 5
    {
        report.wrong(format!("frame {mfn:#x} contradicts itself: {frame:?}"));
    }
    if !is_table || frame.counted_entries() == 0 {
        return;
    }
    let Some(entries) = machine.memory.frame(mfn) else {
        return report.wrong(format!("table {mfn:#x} is no RAM"));
    };
    for (index, entry) in entries.into_iter().enumerate().take(frame.counted_entries()) {
        let hypervisor = frame.kind == 4 && SLOTS.contains(&index);
        if hypervisor || entry & PRESENT == 0 {
            continue;
        }
        let to = target(entry);
        if frame.kind == 1 && (table.is_io(to) || table.is_trace(to) || machine.is_shown(to)) {
            continue;
        }
        let Some(count) = counts.get_mut(to as usize) else {
            report.wrong(format!("table {mfn:#x}[{index}] = {entry:#x} is beyond the frame table"));
            continue;
        };
        match frame.kind {
            1 if entry & ENTRY_WRITABLE != 0 => count.writable += 1,
            1 => count.refs += 1,
            level => count.table[level as usize - 1] += 1,
        }
    }
}

/// Adds what records hold.
fn count_records(table: &Table, held: &Held, counts: &mut [Counts], report: &mut Report) {
    for (mfn, frame) in table.all() {
        counts[mfn as usize].refs += u64::from(frame.allocated);
    }
    let mut add = |mfn: u64, what: &str, step: &dyn Fn(&mut Counts)| match counts.get_mut(mfn as usize) {
        Some(count) => step(count),
        None => report.wrong(format!("{what} {mfn:#x} is beyond the frame table")),
    };
    held.shared.iter().for_each(|mfn| add(*mfn, "shared frame", &|c| c.writable += 1));
    held.roots.iter().for_each(|(mfn, _)| add(*mfn, "root table", &|c| c.table[4] += 1));
    held.descriptors.iter().for_each(|mfn| add(*mfn, "descriptor table", &|c| c.descriptors += 1));
    held.granted.iter().for_each(|mapping| {
        let more = mapping.references;
        let step: &dyn Fn(&mut Counts) =
            if mapping.writable { &|c| c.writable += more } else { &|c| c.refs += more };
        add(mapping.mfn, "granted frame", step);
    });
    held.pages.iter().for_each(|mfn| {
        add(*mfn, "event or interrupt page", &|c| {
            c.refs += 1;
            c.writable += 1;
        });
    });
}

fn check_counts(mfn: u64, frame: &Frame, found: Counts, report: &mut Report) {
    let mut wrong =
        |what: String| report.wrong(format!("frame {mfn:#x}: {what}; the frame table says {frame:?}"));
    let tables: u64 = found.table.iter().sum();
    let own = u64::from(frame.pinned || frame.in_work);
    let typed = found.writable + tables + found.descriptors + own;
    if !frame.is_saturated() && (frame.refs, frame.typed) != (found.refs, typed) {
        wrong(format!(
            "found {} general references, {} writable, {tables} as a table, {} as descriptors, {own} of its own",
            found.refs, found.writable, found.descriptors
        ));
    }
    if found.writable > 0 && (tables + found.descriptors + own > 0 || frame.kind != WRITABLE) {
        wrong("writable and something else".into());
    }
    if found.descriptors > 0 && frame.kind != DESCRIPTORS {
        wrong("a descriptor table in use".into());
    }
    let at_level = found.table.get(frame.kind as usize).copied().unwrap_or(0);
    if tables > 0 && (frame.kind > 4 || at_level != tables || !frame.validated) {
        wrong("named as a page table".into());
    }
}

/// Whether a frame is where its owner's frames are.
fn check_place(
    machine: &Machine<'_>,
    (mfn, frame): (u64, &Frame),
    shared: bool,
    lists: &Lists,
    held: &Held,
    report: &mut Report,
) {
    let (free, listed) = (lists.free[mfn as usize], lists.listed[mfn as usize]);
    let referenced = frame.refs + frame.typed > 0 || frame.validated || frame.in_work || frame.pinned;
    let kept = machine.own_memory(mfn).is_some();
    let ram = machine.is_ram(mfn);
    let right = match frame.owner {
        Owner::Io => !ram && !referenced && !free && listed.is_none(),
        Owner::Free => {
            ram && free && !referenced && listed.is_none() && !kept && lists.m2p[mfn as usize] == u64::MAX
        }
        Owner::Hypervisor | Owner::Traces { .. } => {
            ram && !free && listed.is_none() && frame.typed == 0 && !frame.validated
        }
        Owner::Domain(slot) => {
            let alive = held.domains.get(slot as usize).is_some_and(|(alive, _)| *alive);
            ram && alive
                && referenced
                && !free
                && !kept
                && if shared { listed.is_none() } else { listed == Some(slot) }
        }
        Owner::Unknown(_) => false,
    };
    if !right {
        let entry = lists.m2p[mfn as usize];
        let place = format!(
            "RAM {ram}, kept {kept}, free {free}, listed {listed:?}, shared {shared}, M2P {entry:#x}"
        );
        report.wrong(format!("frame {mfn:#x} is in the wrong place ({place}): {frame:?}"));
    }
}
