//! Invariants of the durable records, checked from the records alone and by code of their own.

use crate::record::Region;
use ids::{Maddr, Mfn};

/// A broken invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A vector and its irq do not name each other.
    Vector(usize),
    /// An irq's fields contradict each other.
    Irq(usize),
    /// A PIRQ and its irq do not name each other.
    Pirq(usize, usize),
    /// A table is held twice or by nobody.
    Table(usize),
    /// A device's MSI-X table has two records, lies behind an unused one, or is open with messages in use.
    MsixTable(usize),
}

/// The frames of end-of-interrupt bitmaps, each held by a typed and a general reference.
pub fn held_frames(region: &Region, each: impl FnMut(Mfn)) {
    let pages = region.domains.iter().map(|domain| domain.eoi_page.get());
    pages.filter(|page| *page != 0).map(|page| Maddr(page).mfn()).for_each(each);
}

/// Checks every record of the region, with all outboxes empty. Bounded by its size.
///
/// # Errors
/// The first violation found.
pub fn audit(region: &Region) -> Result<(), Violation> {
    for (vector, word) in region.vectors.irq.iter().enumerate() {
        let irq = word.get() as usize;
        let sound =
            irq == 0 || region.irqs.get(irq - 1).is_some_and(|r| usize::from(r.vector.get()) == vector);
        if !sound {
            return Err(Violation::Vector(vector));
        }
    }
    for irq in 0..region.irqs.len() {
        if !irq_is_sound(region, irq) {
            return Err(Violation::Irq(irq));
        }
    }
    msix_tables(region)?;
    for (number, table) in region.tables.iter().enumerate() {
        let owner = table.owner.get() as usize;
        let back = owner.checked_sub(1).and_then(|slot| region.domains.get(slot));
        if owner != 0 && !back.is_some_and(|d| d.table.get() as usize == number + 1 && d.nr_pirqs.get() != 0)
        {
            return Err(Violation::Table(number));
        }
        for (pirq, word) in table.irq.iter().enumerate().filter(|(_, word)| word.get() != 0) {
            let record = region.irqs.get(word.get() as usize - 1);
            if !record.is_some_and(|r| r.domain.get() as usize == owner && r.pirq.get() as usize == pirq)
                || owner == 0
            {
                return Err(Violation::Pirq(number, pirq));
            }
        }
    }
    for (slot, domain) in region.domains.iter().enumerate() {
        let table = (domain.table.get() as usize).checked_sub(1);
        let held =
            table.is_some_and(|t| region.tables.get(t).is_some_and(|t| t.owner.get() as usize == slot + 1));
        if held != (domain.nr_pirqs.get() != 0) || table.is_some() != held {
            return Err(Violation::Table(slot));
        }
    }
    Ok(())
}

fn msix_tables(region: &Region) -> Result<(), Violation> {
    let records = region.msix_tables.0;
    let name = |index: usize| (records[index].segment.get(), records[index].bdf.get());
    let used = |index: &usize| records[*index].at.get() != 0;
    for index in (0..records.len()).filter(used) {
        let twice = (0..index).any(|other| !used(&other) || name(other) == name(index));
        let in_use = region.irqs.iter().any(|irq| {
            irq.kind.get() == 2
                && irq.table_base.get() != 0
                && (irq.segment.get(), irq.bdf.get()) == name(index)
        });
        if twice || in_use && !records[index].closed.get() {
            return Err(Violation::MsixTable(index));
        }
    }
    Ok(())
}

fn irq_is_sound(region: &Region, irq: usize) -> bool {
    let r = &region.irqs[irq];
    let (kind, vector) = (r.kind.get(), usize::from(r.vector.get()));
    let pin = irq < region.gsis as usize;
    let kind_fits = if pin { kind == 0 || kind == 1 || kind == 3 } else { kind == 0 || kind == 2 };
    let vector_fits =
        (kind != 0) == (vector != 0) && (vector == 0 || region.vectors.irq[vector].get() as usize == irq + 1);
    let named = match (r.domain.get() as usize).checked_sub(1) {
        None => r.pirq.get() == 0 && r.port.get() == 0,
        Some(slot) => region.domains.get(slot).is_some_and(|d| {
            let table = (d.table.get() as usize).checked_sub(1).and_then(|t| region.tables.get(t));
            let word = table.and_then(|t| t.irq.get(r.pirq.get() as usize));
            word.is_some_and(|word| word.get() as usize == irq + 1)
        }),
    };
    let owed = !r.awaiting.get() || r.masked.get() && r.level.get() && r.port.get() != 0;
    let quiet = r.port.get() != 0 || r.masked.get() || kind != 1 && kind != 2;
    kind_fits && vector_fits && named && owed && quiet && (r.port.get() == 0 || kind != 0)
}
