//! Damage that a walk must notice: single words of a sound machine, changed. A walker that cannot fail proves nothing.

use crate::bindings::Held;
use crate::grants::GrantTable;
use crate::isolated;
use crate::machine::{Machine, Records};
use crate::memory::{FRAME, word};
use crate::own::SLOTS;
use crate::paging::{ADDRESS, PRESENT, WRITABLE as ENTRY_WRITABLE, translate};
use crate::usage::{Frame, Owner, Table, WRITABLE};

/// One word to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// What it means.
    pub name: &'static str,
    /// Its machine address.
    pub maddr: u64,
    /// What to put there.
    pub value: u64,
}

/// Damage of every sort that this machine can suffer.
///
/// # Errors
/// The machine cannot be read.
pub fn mutations(machine: &Machine<'_>) -> Result<Vec<Mutation>, String> {
    let table = Table::read(machine)?;
    let held = Held::read(machine)?;
    let mut found = Vec::new();
    entries(machine, &table, &held, &mut found);
    foreign(machine, &table, &held, &mut found);
    usage(machine, &table, &mut found)?;
    for (name, region, field) in [
        ("a free frame too many is counted", "frames::Heap", "free"),
        ("a domain's page too many is counted", "frames::PageList", "pages"),
        ("a frame that nobody was promised is counted as claimed", "frames::Heap", "claimed"),
        ("an interrupt's vector is another's", "irqs::Vectors", "irq"),
    ] {
        let at = address(machine, region, field, 0)?;
        found.push(Mutation { name, maddr: at, value: word(machine.memory, at).unwrap_or(0) + 1 });
    }
    if let Some(at) = held.grant_tables.iter().find_map(GrantTable::last_flags) {
        let (at, bit) = (at & !7, 8 << (8 * (at & 7)));
        let value = word(machine.memory, at).unwrap_or(0) ^ bit;
        found.push(Mutation { name: "a grant that nobody uses is marked", maddr: at, value });
    }
    ports(machine, &mut found)?;
    read_only(machine, &table, &mut found)?;
    isolated::mutations(machine, &table, &mut found);
    Ok(found)
}

/// Where a field of a record lies.
fn address(machine: &Machine<'_>, region: &str, field: &str, index: usize) -> Result<u64, String> {
    let missing = || format!("no {region} {field}");
    let region = machine.chart.regions.iter().find(|r| r.name == region).ok_or_else(missing)?;
    let field = region.fields.iter().find(|f| f.name == field).ok_or_else(missing)?;
    let va = region.va + (region.stride * index + field.offset) as u64;
    translate(machine.memory, machine.root(), va & !7).ok_or_else(missing)
}

/// An entry of a level-1 table that maps RAM of its owner writable: its machine address and value.
fn writable_entry(machine: &Machine<'_>, table: &Table, mfn: u64) -> Option<(u64, u64)> {
    let entries = machine.memory.frame(mfn)?;
    let wanted = PRESENT | ENTRY_WRITABLE;
    let plain =
        |entry: u64| table.get((entry & ADDRESS) / FRAME).is_some_and(|f| f.kind == WRITABLE && f.typed > 0);
    let index = entries.iter().position(|entry| entry & wanted == wanted && plain(*entry))?;
    Some((mfn * FRAME + index as u64 * 8, entries[index]))
}

/// Mappings that no guest may have.
fn entries(machine: &Machine<'_>, table: &Table, held: &Held, found: &mut Vec<Mutation>) {
    let level = |level| move |(_, f): &(u64, &Frame)| f.kind == level && f.validated;
    let leaf =
        table.all().filter(level(1)).find_map(|(mfn, _)| Some((mfn, writable_entry(machine, table, mfn)?)));
    if let Some((own, (maddr, entry))) = leaf {
        let mut map = |name, to: u64| found.push(Mutation { name, maddr, value: entry & !ADDRESS | to });
        map("a page table maps itself writable", own * FRAME);
        map("an I/O APIC is mapped", 0xfec0_0000);
        for own in &machine.chart.own {
            map("the hypervisor's memory is mapped", own.start & ADDRESS);
        }
        if let Some(mfn) = held.descriptors.first() {
            map("a descriptor table is mapped writable", mfn * FRAME);
        }
        if let Some((mfn, _)) = table.all().find(|(_, f)| f.owner == Owner::Free) {
            map("a free frame is mapped", mfn * FRAME);
        }
        map("the hypervisor's page table is mapped", machine.chart.root);
        found.push(Mutation { name: "a mapping is gone", maddr, value: 0 });
    }
    if let Some((mfn, _)) = held.roots.first() {
        let maddr = mfn * FRAME + 8 * (SLOTS.end as u64 - 10);
        found.push(Mutation { name: "a root shows another hypervisor", maddr, value: 0x1000 | PRESENT });
        let free =
            machine.memory.frame(*mfn).and_then(|words| words.iter().position(|entry| entry & PRESENT == 0));
        let upper = table.all().find(level(2));
        if let (Some(index), Some((to, _))) = (free, upper) {
            let maddr = mfn * FRAME + 8 * index as u64;
            found.push(Mutation {
                name: "a root names a table of another level",
                maddr,
                value: (to * FRAME) | 7,
            });
        }
    }
    if let Some(mfn) = held.descriptors.first() {
        let value = 0x00af_9b00_0000_ffff;
        found.push(Mutation { name: "a guest has a ring 0 code segment", maddr: mfn * FRAME + 64, value });
    }
}

/// A guest maps what Dom0 has not granted to it.
fn foreign(machine: &Machine<'_>, table: &Table, held: &Held, found: &mut Vec<Mutation>) {
    let privileged = |slot: u64| held.domains.get(slot as usize).is_some_and(|(_, privileged)| *privileged);
    let of_guest = |f: &Frame| matches!(f.owner, Owner::Domain(slot) if !privileged(slot));
    let mut tables = table.all().filter(|(_, f)| f.kind == 1 && f.validated && of_guest(f));
    let leaf = tables.find_map(|(mfn, _)| writable_entry(machine, table, mfn));
    let plain = |f: &Frame| {
        f.kind == WRITABLE && f.typed > 0 && matches!(f.owner, Owner::Domain(slot) if privileged(slot))
    };
    if let (Some((maddr, entry)), Some((mfn, _))) = (leaf, table.all().find(|(_, f)| plain(f))) {
        let value = (entry & !ADDRESS) | (mfn * FRAME);
        found.push(Mutation { name: "a guest maps another domain's frame", maddr, value });
    }
}

/// Configuration space and a table with messages can be written.
fn read_only(machine: &Machine<'_>, table: &Table, found: &mut Vec<Mutation>) -> Result<(), String> {
    let mut tables = table.all().filter(|(_, f)| f.kind == 1 && f.validated);
    let leaf = tables.find_map(|(mfn, _)| writable_entry(machine, table, mfn));
    let tables = machine.records("irqs::TableRecord")?;
    let (at, closed) = (tables.column("at", 8)?.at(0, 0), tables.column("closed", 1)?.at(0, 0));
    let mut map = |name, to: u64| {
        let Some((maddr, entry)) = leaf else { return };
        found.push(Mutation { name, maddr, value: entry & !ADDRESS | to & ADDRESS });
    };
    if let Some((start, _)) = machine.chart.configuration.first() {
        map("configuration space is mapped writable", *start);
    }
    if closed != 0 {
        map("an MSI-X table is mapped writable", at);
    }
    Ok(())
}

/// Words of the frame table.
fn usage(machine: &Machine<'_>, table: &Table, found: &mut Vec<Mutation>) -> Result<(), String> {
    let mut change = |name, pick: &dyn Fn(&Frame) -> bool, step: &dyn Fn(u64) -> u64| {
        let Some((mfn, _)) = table.all().find(|(_, frame)| pick(frame)) else { return Ok(()) };
        let maddr = address(machine, "frames::Frame", "usage", mfn as usize)?;
        let old = word(machine.memory, maddr).ok_or("the frame table is no RAM")?;
        found.push(Mutation { name, maddr, value: step(old) });
        Ok::<(), String>(())
    };
    let owned = |f: &Frame| matches!(f.owner, Owner::Domain(_));
    let plain = |f: &Frame| owned(f) && f.kind == WRITABLE && f.typed > 0;
    change("a general reference too many", &plain, &|word| word + 1)?;
    change("a general reference too few", &plain, &|word| word - 1)?;
    change("a writable reference too few", &plain, &|word| word - (1 << 24))?;
    change("a writable page is called a page table", &plain, &|word| word | 1 << 46)?;
    change("a page belongs to another domain", &plain, &|word| word + (1 << 52))?;
    for (name, level) in [("an L1 table is not validated", 1), ("an L3 table is not validated", 3)] {
        change(name, &|f| f.kind == level && f.validated, &|word| word & !(1 << 49))?;
    }
    change("a table lost a reference", &|f| f.kind == 2 && f.validated, &|word| word - (1 << 24))?;
    change("a pin is forgotten", &|f| f.pinned, &|word| word & !(1 << 51))?;
    change("a free frame has an owner", &|f| f.owner == Owner::Free, &|word| {
        word & 0xf_ffff_ffff_ffff | 16 << 52
    })?;
    change("the hypervisor's frame is free", &|f| f.owner == Owner::Hypervisor, &|_| 1 << 52)
}

/// A bound port names another peer.
fn ports(machine: &Machine<'_>, found: &mut Vec<Mutation>) -> Result<(), String> {
    let chunks: Records<'_> = machine.records("events::Chunk")?;
    let port = chunks.column("port", 8)?;
    for (name, state) in [("a VIRQ's port names another", 5), ("an interrupt's port names another", 4)] {
        let bound = (0..chunks.count).find_map(|chunk| {
            let element = port.all(chunk).step_by(2).position(|word| word & 7 == state)?;
            Some((chunk, element * 2))
        });
        if let Some((chunk, element)) = bound {
            let maddr = address(machine, "events::Chunk", "port", chunk)? + 8 * element as u64;
            found.push(Mutation { name, maddr, value: port.at(chunk, element) + (1 << 24) });
        }
    }
    Ok(())
}
