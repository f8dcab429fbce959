//! The free lists, the domains' page lists, and the M2P.

use crate::Report;
use crate::machine::Machine;
use crate::memory::FRAME;
use crate::usage::{NO_BLOCK, Owner, Table};

/// Orders of free blocks (`frames/src/buddy.rs`).
const ORDERS: usize = 19;
/// The list after them: single frames that were not joined with their buddies yet.
const LOOSE: usize = ORDERS;
const LISTS: usize = ORDERS + 1;

/// Where frames are listed.
pub(crate) struct Lists {
    pub(crate) free: Vec<bool>,
    /// The domain slot on whose page list a frame is.
    pub(crate) listed: Vec<Option<u64>>,
    /// The M2P's entries.
    pub(crate) m2p: Vec<u64>,
}

/// Follows every list.
pub(crate) fn check(machine: &Machine<'_>, table: &Table, report: &mut Report) -> Result<Lists, String> {
    let count = table.len() as usize;
    let mut lists =
        Lists { free: vec![false; count], listed: vec![None; count], m2p: read_m2p(machine, count)? };
    free_lists(machine, table, &mut lists.free, report)?;
    page_lists(machine, table, &mut lists.listed, report)?;
    Ok(lists)
}

fn read_m2p(machine: &Machine<'_>, count: usize) -> Result<Vec<u64>, String> {
    let range = machine.chart.own.iter().find(|own| own.name == "m2p").ok_or("the chart has no M2P")?;
    let frames = range.start / FRAME..range.end / FRAME;
    let mut words = Vec::with_capacity(count);
    for mfn in frames {
        words.extend(machine.memory.frame(mfn).ok_or("the M2P is no RAM")?);
    }
    if words.len() < count { Err("the M2P is shorter than the frame table".into()) } else { Ok(words) }
}

/// Every free frame is on one list once, in an aligned block of its zone; the counter and the bitmaps agree.
fn free_lists(
    machine: &Machine<'_>,
    table: &Table,
    free: &mut [bool],
    report: &mut Report,
) -> Result<(), String> {
    let heap = machine.records("frames::Heap")?;
    let (counter, orders, heads) =
        (heap.column("free", 8)?, heap.column("orders", 4)?, heap.column("heads", 4)?);
    if heads.len != orders.len * LISTS {
        return Err("the heap's lists have another shape".into());
    }
    let mut count = 0;
    for zone in 0..orders.len {
        for order in 0..LISTS {
            let first = heads.at(0, zone * LISTS + order);
            if (first != 0) != (orders.at(0, zone) >> order & 1 != 0) {
                report.wrong(format!("zone {zone}: the bit of order {order} is wrong"));
            }
            count += free_list(table, (zone, order), first, free, report);
        }
    }
    let claimed = heap.column("claimed", 8)?.at(0, 0);
    let claims = machine.records("frames::PageList")?;
    let each = claims.column("claimed", 8)?;
    let all: u64 = (0..claims.count).map(|slot| each.at(slot, 0)).sum();
    if claimed != all || claimed > count {
        report.wrong(format!("{claimed} frames are promised, to domains {all}, of {count} free ones"));
    }
    if count != counter.at(0, 0) {
        report.wrong(format!("{count} frames are on free lists, the counter says {}", counter.at(0, 0)));
    }
    Ok(())
}

/// Follows one list; returns its frames.
fn free_list(
    table: &Table,
    (zone, list): (usize, usize),
    first: u64,
    free: &mut [bool],
    report: &mut Report,
) -> u64 {
    let order = if list == LOOSE { 0 } else { list };
    let (mut at, mut before, mut count) = (first, 0, 0);
    while at != 0 {
        let place = format!("free block {at:#x} on list {list}");
        let Some(head) = table.get(at) else {
            report.wrong(format!("{place} is beyond the frame table"));
            return count;
        };
        let aligned = at.trailing_zeros() as usize >= order;
        if head.order != list as u64 || head.prev != before || !aligned {
            report.wrong(format!("{place} behind {before:#x}: {head:?}"));
        }
        let buddy = table.get(at ^ 1 << order).filter(|_| order + 1 < ORDERS);
        if buddy.is_some_and(|b| b.owner == Owner::Free && b.order == list as u64 && list != LOOSE) {
            report.wrong(format!("{place} is not joined with its buddy"));
        }
        for mfn in at..at + (1 << order) {
            let fits = (64 - mfn.leading_zeros()) as usize == zone;
            let member =
                table.get(mfn).is_some_and(|f| f.owner == Owner::Free && (mfn == at || f.order == NO_BLOCK));
            match free.get_mut(mfn as usize) {
                Some(seen) if fits && member && !*seen => *seen = true,
                _ => {
                    report.wrong(format!(
                        "{place}: frame {mfn:#x} does not belong there: {:?}",
                        table.get(mfn)
                    ));
                    return count;
                }
            }
        }
        count += 1 << order;
        (before, at) = (at, head.next);
    }
    count
}

/// Every frame of a domain is on its list once; the counts agree and keep their limits.
fn page_lists(
    machine: &Machine<'_>,
    table: &Table,
    listed: &mut [Option<u64>],
    report: &mut Report,
) -> Result<(), String> {
    let lists = machine.records("frames::PageList")?;
    let heads = [lists.column("head", 4)?, lists.column("leaving", 4)?];
    let (pages, most) = (lists.column("pages", 8)?, lists.column("max_pages", 8)?);
    for slot in 0..lists.count {
        let mut count = 0;
        for head in &heads {
            let (mut at, mut before) = (head.at(slot, 0), 0);
            while at != 0 {
                let right =
                    table.get(at).filter(|f| f.owner == Owner::Domain(slot as u64) && f.prev == before);
                let Some(frame) = right.filter(|_| listed[at as usize].replace(slot as u64).is_none()) else {
                    let frame = table.get(at);
                    report.wrong(format!("slot {slot}'s list: {at:#x} behind {before:#x}: {frame:?}"));
                    break;
                };
                count += 1;
                (before, at) = (at, frame.next);
            }
        }
        if count != pages.at(slot, 0) {
            report
                .wrong(format!("slot {slot} has {count} frames on its list, counted {}", pages.at(slot, 0)));
        }
        // A domain that ends may have none.
        if count > most.at(slot, 0) && heads[1].at(slot, 0) == 0 {
            report.wrong(format!("slot {slot} has {count} frames and may have {}", most.at(slot, 0)));
        }
    }
    Ok(())
}
