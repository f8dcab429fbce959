//! The hypervisor's own address space, slots 256 to 271 of its root: what lies there, and what a guest may see of it.

use crate::machine::Machine;
use crate::paging::{Leaf, Visitor, Walker};
use crate::usage::{DESCRIPTORS, Owner, Table};
use crate::{Report, paging};
use std::collections::{BTreeMap, BTreeSet};

/// The hypervisor's slots (public/arch-x86/xen-x86_64.h).
pub(crate) const SLOTS: std::ops::Range<usize> = 256..272;
/// That of the M2P.
pub(crate) const M2P_SLOT: usize = SLOTS.start;

// `machine/src/layout.rs`.
const M2P: u64 = 0xffff_8000_0000_0000;
const M2P_END: u64 = 0xffff_8180_0000_0000;
pub(crate) const PER_CPU: u64 = 0xffff_8180_0000_0000;
const SEALED: u64 = 0xffff_81c0_0000_0000;
const MMIO: u64 = 0xffff_8280_0000_0000;
const IMAGE: u64 = 0xffff_82d0_4000_0000;
const DIRECT_MAP: u64 = 0xffff_8300_0000_0000;

/// What the hypervisor's slots hold.
pub(crate) struct Own {
    /// The entries of slots 256 to 271.
    pub(crate) slots: Vec<u64>,
    /// Frames that are its own because its page tables say so: the tables and what they map but RAM at large.
    pub(crate) frames: BTreeMap<u64, &'static str>,
}

#[derive(Default)]
struct Found {
    tables: BTreeSet<u64>,
    leaves: Vec<Leaf>,
    missing: Vec<u64>,
}

impl Visitor for Found {
    fn table(&mut self, mfn: u64, _level: u32) {
        self.tables.insert(mfn);
    }
    fn leaf(&mut self, leaf: Leaf) {
        self.leaves.push(leaf);
    }
    fn missing(&mut self, mfn: u64, _level: u32) {
        self.missing.push(mfn);
    }
}

/// Reads the slots and checks rights: guests read the M2P and reach nothing else, nothing is writable and executable,
/// and the descriptor windows show descriptor tables alone.
pub(crate) fn walk(machine: &Machine<'_>, table: &Table, report: &mut Report) -> Result<Own, String> {
    let root = machine.memory.frame(machine.root()).ok_or("the hypervisor's root table is no RAM")?;
    let mut found = Found::default();
    Walker::default().root(machine.memory, machine.root(), |slot| SLOTS.contains(&slot), &mut found);
    for mfn in &found.missing {
        report.wrong(format!("the hypervisor's tables name {mfn:#x}, which is no RAM"));
    }
    for (slot, entry) in root.iter().enumerate().filter(|(slot, _)| !SLOTS.contains(slot)) {
        if entry & paging::PRESENT != 0 {
            report.wrong(format!("the hypervisor's own root has an entry in slot {slot}: {entry:#x}"));
        }
    }
    let mut frames: BTreeMap<u64, &'static str> =
        found.tables.iter().map(|mfn| (*mfn, "the hypervisor's page table")).collect();
    for leaf in &found.leaves {
        let what =
            |problem: &str| format!("hypervisor mapping {:#x} of frame {:#x} {problem}", leaf.va, leaf.frame);
        let in_m2p = (M2P..M2P_END).contains(&leaf.va);
        if leaf.user && (!in_m2p || leaf.writable || leaf.executable) {
            report.wrong(what("is open to guests"));
        }
        if leaf.writable && leaf.executable {
            report.wrong(what("can be written and executed"));
        }
        let part = match leaf.va {
            M2P..PER_CPU => "the M2P",
            PER_CPU..SEALED => "a per-CPU block",
            SEALED..MMIO => "the vault or the sealed record",
            IMAGE..DIRECT_MAP => "the image",
            _ => continue,
        };
        for mfn in leaf.frame..leaf.frame + leaf.frames {
            let frame = table.get(mfn);
            if frame.is_some_and(|f| matches!(f.owner, Owner::Domain(_)))
                && (PER_CPU..SEALED).contains(&leaf.va)
            {
                if frame.is_some_and(|f| f.kind != DESCRIPTORS || f.typed == 0) {
                    report.wrong(what(&format!("is a window on no descriptor table: {frame:?}")));
                }
            } else {
                frames.insert(mfn, part);
            }
        }
    }
    for (mfn, part) in &frames {
        if table.get(*mfn).is_none_or(|frame| frame.owner != Owner::Hypervisor) {
            report.wrong(format!("frame {mfn:#x} is {part} and not the hypervisor's: {:?}", table.get(*mfn)));
        }
    }
    Ok(Own { slots: root[SLOTS].to_vec(), frames })
}
