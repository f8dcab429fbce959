//! Recomputes the free lists and the page lists from the records' public getters.

use frames::{Frames, LOOSE, MAX_ORDER, Owner};
use ids::{DomainSlot, Mfn};
use std::collections::HashSet;

const ZONES: usize = 33;

/// Which free frames the lists hold: every one once, blocks aligned and inside one zone, buddies joined, counter right.
///
/// # Errors
/// The first violation.
pub fn free_frames(frames: &Frames) -> Result<Vec<bool>, String> {
    let len = frames.len() as usize;
    let mut free = vec![false; len];
    let mut count = 0;
    let mut blocks = HashSet::new();
    for zone in 0..ZONES {
        for list in 0..=LOOSE {
            let order = if list == LOOSE { 0 } else { list };
            let mut at = frames.heap().first(zone, list as usize);
            let mut before = None;
            while let Some(Mfn(mfn)) = at {
                let frame = frames.frame(Mfn(mfn)).ok_or_else(|| format!("free list names {mfn:#x}"))?;
                if !mfn.is_multiple_of(1 << order) {
                    return Err(format!("block {mfn:#x} of order {order} is not aligned"));
                }
                if frame.block_order() != Some(list) {
                    return Err(format!(
                        "block {mfn:#x} on list {list} says order {:?}",
                        frame.block_order()
                    ));
                }
                if frame.preceding() != before {
                    return Err(format!(
                        "free block {mfn:#x}: before it {:?}, not {before:?}",
                        frame.preceding()
                    ));
                }
                if list < MAX_ORDER && !blocks.insert((list, mfn))
                    || blocks.contains(&(list, mfn ^ 1 << order))
                {
                    return Err(format!("block {mfn:#x} of order {order} and its buddy are apart"));
                }
                for member in mfn..mfn + (1 << order) {
                    let bits = (64 - member.leading_zeros()) as usize;
                    if bits != zone {
                        return Err(format!("frame {member:#x} on zone {zone}"));
                    }
                    let slot = free
                        .get_mut(member as usize)
                        .ok_or_else(|| format!("block past the end {member:#x}"))?;
                    if std::mem::replace(slot, true) {
                        return Err(format!("frame {member:#x} is free twice"));
                    }
                    count += 1;
                }
                before = at;
                at = frame.following();
            }
        }
    }
    for (mfn, listed) in free.iter().enumerate() {
        let usage = frames.frame(Mfn(mfn as u64)).ok_or("hole")?.usage();
        if *listed != (usage.owner() == Owner::FREE) {
            return Err(format!("frame {mfn:#x} listed as free: {listed}, but it is {usage:?}"));
        }
        if *listed && !usage.is_unreferenced() {
            return Err(format!("free frame {mfn:#x} has references: {usage:?}"));
        }
    }
    if count != frames.heap().free_frames() {
        return Err(format!("{count} frames on lists, the counter says {}", frames.heap().free_frames()));
    }
    Ok(free)
}

/// The domain on whose page list each frame is; links and counts consistent.
///
/// # Errors
/// The first violation.
pub fn page_lists(frames: &Frames, domains: u16) -> Result<Vec<Option<DomainSlot>>, String> {
    let mut on = vec![None; frames.len() as usize];
    let mut claimed = 0;
    for slot in (0..domains).map(DomainSlot) {
        let list = frames.list(slot);
        let mut count = 0;
        for first in [list.first(), list.first_leaving()] {
            let (mut at, mut before) = (first, None);
            while let Some(mfn) = at {
                let frame = frames.frame(mfn).ok_or_else(|| format!("page list names {mfn:?}"))?;
                if frame.usage().owner() != Owner::domain(slot) {
                    return Err(format!("{mfn:?} on the list of {slot:?}: {:?}", frame.usage()));
                }
                if frame.preceding() != before {
                    return Err(format!("{mfn:?}: before it {:?}, not {before:?}", frame.preceding()));
                }
                if on[mfn.0 as usize].replace(slot).is_some() {
                    return Err(format!("{mfn:?} is on page lists twice"));
                }
                count += 1;
                before = at;
                at = frame.following();
            }
        }
        if count != list.pages() {
            return Err(format!("{slot:?} has {count} frames on its list, counted {}", list.pages()));
        }
        claimed += list.claimed();
    }
    let heap = frames.heap();
    if claimed != heap.claimed_frames() || claimed > heap.free_frames() {
        return Err(format!("domains have claims on {claimed} frames, counted {}", heap.claimed_frames()));
    }
    Ok(on)
}
