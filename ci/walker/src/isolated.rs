//! Isolated page tables: the CPUs' own copies of guests' roots, which show nothing of the hypervisor but what the
//! processor needs at entries (`machine/src/isolation.rs`, `hypervisor/src/cells.rs`).

use crate::Report;
use crate::machine::Machine;
use crate::memory::{FRAME, Memory, word};
use crate::mutation::Mutation;
use crate::own::{M2P_SLOT, Own, PER_CPU, SLOTS};
use crate::paging::{ADDRESS, Leaf, PRESENT, Visitor, WRITABLE, Walker, translate};
use crate::usage::Table;

// `machine/src/percpu.rs`.
const STRIDE: u64 = 0x40_0000;
const SHOWN: u64 = 0x20_0000;
const ENTRY: u64 = 0x2_0000;
// `hypervisor/src/cells.rs`.
const HOST_ROOT: u64 = ENTRY + 0x10;
const COPIED: u64 = ENTRY + 0x20;
const ROOTS: u64 = ENTRY + 0x30;
const COPIES: u64 = SHOWN + 0x80;
const FILLING: u64 = COPIES + 8 * WAYS + 8;
// `machine/src/isolation.rs`.
const WAYS: u64 = 8;
const CODE_TABLES: u64 = 3;
const CPU_TABLES: u64 = 2 + WAYS;
// `machine/src/layout.rs`.
const IMAGE: u64 = 0xffff_82d0_4000_0000;
const IMAGE_END: u64 = IMAGE + (2 << 20);
/// Slots of a CPU's block and of the image.
const OPEN: [usize; 2] = [259, 261];
/// What the processor sets in an entry of a root table.
const ACCESSED: u64 = 1 << 5;
const MAX_CPUS: u64 = 256;

/// The root that the hypervisor uses on a CPU that runs a guest on the isolated one in `cr3`.
pub(crate) fn behind(memory: &dyn Memory, cr3: u64) -> Option<u64> {
    let root = (cr3 & ADDRESS) / FRAME;
    let cells = (0..MAX_CPUS).map(|cpu| PER_CPU + cpu * STRIDE + HOST_ROOT);
    let maddr = cells.into_iter().find_map(|va| translate(memory, root, va))?;
    word(memory, maddr).map(|root| (root & ADDRESS) / FRAME).filter(|root| *root != 0)
}

/// Whether a root is one of the isolated ones.
pub(crate) fn is_isolated(machine: &Machine<'_>, root: u64) -> bool {
    machine.own_memory(root) == Some("isolation")
}

/// One of a CPU's isolated roots.
#[derive(PartialEq, Eq)]
struct Copy {
    cpu: u64,
    /// Its frame.
    root: u64,
    /// The frame of the table it is a copy of; 0: of none.
    of: u64,
    /// It is being filled: the machine stopped in the middle of that.
    in_work: bool,
}

/// All that each CPU keeps; those in use are among them.
fn copies(machine: &Machine<'_>) -> Vec<Copy> {
    let memory = machine.chart.own.iter().find(|own| own.name == "isolation");
    let Some(tables) = memory.map(|own| own.start / FRAME) else { return Vec::new() };
    let cell = |cpu: u64, offset: u64| {
        let va = PER_CPU + cpu * STRIDE + offset;
        word(machine.memory, translate(machine.memory, machine.root(), va)?)
    };
    let mut found = Vec::new();
    for cpu in 0..machine.chart.cpus {
        let used = (0..2).map(|which| (cell(cpu, COPIED + 8 * which), cell(cpu, ROOTS + 8 * which)));
        let filling = cell(cpu, FILLING).unwrap_or(0);
        let first = tables + CODE_TABLES + cpu * CPU_TABLES + 2;
        let kept = (0..WAYS).map(|way| (cell(cpu, COPIES + 8 * way), Some((first + way) * FRAME)));
        for (of, root) in kept.chain(used) {
            if let (Some(of), Some(root)) = (of, root)
                && root != 0
            {
                let copy = Copy { cpu, root: root / FRAME, of: of / FRAME, in_work: root == filling };
                // One that is in use and not kept is checked as well.
                if !found.contains(&copy) {
                    found.push(copy);
                }
            }
        }
    }
    found
}

/// Checks all copies, and that CPUs run on good ones.
pub(crate) fn check(machine: &Machine<'_>, table: &Table, own: &Own, cr3s: &[u64], report: &mut Report) {
    let copies = copies(machine);
    // The copy of a table that is a root no more may be out of date: nobody can load that table.
    let is_root = |mfn| table.get(mfn).is_some_and(|frame| frame.kind == 4 && frame.validated);
    for cr3 in cr3s.iter().map(|cr3| (cr3 & ADDRESS) / FRAME).filter(|root| is_isolated(machine, *root)) {
        if !copies.iter().any(|copy| copy.root == cr3 && is_root(copy.of) && !copy.in_work) {
            report.wrong(format!("a CPU runs on the isolated root {cr3:#x}, which is no copy of a root"));
        }
    }
    for copy in &copies {
        let live = is_root(copy.of) && !copy.in_work;
        report.isolated += usize::from(live);
        check_one(machine, own, copy, live, report);
    }
}

fn check_one(machine: &Machine<'_>, own: &Own, copy: &Copy, live: bool, report: &mut Report) {
    let root = copy.root;
    if !is_isolated(machine, root) {
        report.wrong(format!("the isolated root {root:#x} is not where isolated roots are"));
    }
    let Some(entries) = machine.memory.frame(root) else {
        return report.wrong(format!("the isolated root {root:#x} is no RAM"));
    };
    if live {
        let original = machine.memory.frame(copy.of).unwrap_or([0; 512]);
        for (slot, (found, wanted)) in entries.iter().zip(original).enumerate() {
            let copied = !SLOTS.contains(&slot) || slot == M2P_SLOT;
            if copied && (found ^ wanted) & !ACCESSED != 0 {
                report.wrong(format!(
                    "isolated root {root:#x}[{slot}] holds {found:#x}, root {:#x} {wanted:#x}",
                    copy.of
                ));
            }
        }
    }
    for slot in SLOTS.filter(|slot| *slot != M2P_SLOT && !OPEN.contains(slot)) {
        if entries[slot] & PRESENT != 0 {
            report.wrong(format!("isolated root {root:#x} shows the hypervisor's slot {slot}"));
        }
    }
    if entries[M2P_SLOT] & PRESENT != 0 && (entries[M2P_SLOT] ^ own.slots[0]) & !ACCESSED != 0 {
        report.wrong(format!("isolated root {root:#x} has an M2P of its own"));
    }
    let mut shown = Shown::default();
    Walker::default().root(machine.memory, root, |slot| OPEN.contains(&slot), &mut shown);
    for leaf in &shown.0 {
        if let Some(problem) = leaf_problem(machine, copy.cpu, leaf) {
            report.wrong(format!(
                "isolated root {root:#x} maps {:#x} to {:#x}: {problem}",
                leaf.va, leaf.frame
            ));
        }
    }
    if shown.0.is_empty() {
        report.wrong(format!("isolated root {root:#x} has no entry code"));
    }
}

/// A page is the hypervisor's at that address: a constant page of code, or of the shown half of the CPU's own block.
fn leaf_problem(machine: &Machine<'_>, cpu: u64, leaf: &Leaf) -> Option<&'static str> {
    let block = PER_CPU + cpu * STRIDE;
    let image = machine.own_memory(leaf.frame).is_some_and(|name| name.starts_with("image-"));
    if leaf.user || leaf.frames != 1 {
        return Some("open to guests, or a large page");
    }
    if translate(machine.memory, machine.root(), leaf.va).map(|maddr| maddr / FRAME) != Some(leaf.frame) {
        return Some("not as the hypervisor's own root does");
    }
    match leaf.va {
        va if (block..block + SHOWN).contains(&va) => leaf.executable.then_some("executable"),
        IMAGE..IMAGE_END if image && leaf.executable && !leaf.writable => None,
        _ => Some("nothing that entries need"),
    }
}

#[derive(Default)]
struct Shown(Vec<Leaf>);

impl Visitor for Shown {
    fn table(&mut self, _mfn: u64, _level: u32) {}
    fn leaf(&mut self, leaf: Leaf) {
        self.0.push(leaf);
    }
    fn missing(&mut self, _mfn: u64, _level: u32) {}
}

/// Damage of a copy.
pub(crate) fn mutations(machine: &Machine<'_>, table: &Table, found: &mut Vec<Mutation>) {
    let is_root = |mfn| table.get(mfn).is_some_and(|frame| frame.kind == 4 && frame.validated);
    let Some(copy) = copies(machine).into_iter().find(|copy| is_root(copy.of) && !copy.in_work) else {
        return;
    };
    let at = |slot: usize| copy.root * FRAME + 8 * slot as u64;
    let own = machine.memory.frame(machine.root()).unwrap_or([0; 512]);
    found.push(Mutation { name: "an isolated root shows the direct map", maddr: at(262), value: own[262] });
    found.push(Mutation { name: "an isolated root shows the vault", maddr: at(260), value: own[260] });
    found.push(Mutation { name: "an isolated root shows all blocks", maddr: at(259), value: own[259] });
    found.push(Mutation {
        name: "an isolated root is out of date",
        maddr: at(300),
        value: PRESENT | WRITABLE,
    });
}
