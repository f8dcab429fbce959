//! The walker: an independent audit of a stopped machine, from its raw memory.
//!
//! It shares no code with the hypervisor. What it knows of the hypervisor is the *chart* that first boot leaves at a
//! fixed address (`hypervisor/src/chart.rs`), the layout of one word (a frame's usage, `frames/src/usage.rs`), of port
//! words (`events/src/port.rs`) and the names of records' fields; page tables it reads as the processor does. From that
//! it recomputes what a guest can reach, every reference count, the free lists, and the bindings of event channels and
//! interrupts. A name that is gone from the chart is an error, so the walker cannot silently look at nothing.
#![forbid(unsafe_code)]

mod bindings;
mod chart;
mod counts;
mod events;
mod grants;
mod irqs;
mod isolated;
mod lists;
mod machine;
mod memory;
mod mutation;
mod own;
mod paging;
mod reach;
mod read_only;
mod usage;

pub use machine::Machine;
pub use memory::{FRAME, Memory, word};
pub use mutation::{Mutation, mutations};
pub use paging::{ADDRESS, PRESENT, USER, WRITABLE};

use std::collections::BTreeSet;
use std::fmt;

/// What a walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Broken invariants, in the order of discovery; empty is what is hoped for.
    pub violations: Vec<String>,
    /// Root tables walked.
    pub roots: usize,
    /// Isolated roots that are copies of such.
    pub isolated: usize,
    /// Page tables of guests that the processor can reach.
    pub tables: usize,
    /// Mappings in them.
    pub mappings: usize,
    /// Tables in work: being validated or unvalidated.
    pub in_work: usize,
    /// Frames of the frame table, all checked.
    pub frames: usize,
    /// Event ports bound.
    pub ports: usize,
    /// Interrupts set up.
    pub irqs: usize,
    /// MSI-X tables and their pending bits, found closed to writes.
    pub msix_tables: usize,
}

/// Violations kept: a broken machine would give millions.
const MOST: usize = 50;

impl Report {
    /// Notes a broken invariant.
    pub(crate) fn wrong(&mut self, what: String) {
        if self.violations.len() < MOST {
            self.violations.push(what);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} roots ({} isolated), {} tables ({} in work), {} mappings, {} frames, {} ports, {} interrupts, {} closed tables: {} violations",
            self.roots,
            self.isolated,
            self.tables,
            self.in_work,
            self.mappings,
            self.frames,
            self.ports,
            self.irqs,
            self.msix_tables,
            self.violations.len()
        )
    }
}

/// Checks everything in a machine whose CPUs are stopped with no transaction open ([`Machine::is_quiet`]). `cr3s` are
/// what the CPUs hold.
///
/// # Errors
/// The machine cannot be read at all: no chart, or a record or field that it does not name.
pub fn walk(machine: &Machine<'_>, cr3s: &[u64]) -> Result<Report, String> {
    let mut report = Report::default();
    let table = usage::Table::read(machine)?;
    let own = own::walk(machine, &table, &mut report)?;
    let held = bindings::Held::read(machine)?;
    isolated::check(machine, &table, &own, cr3s, &mut report);
    let mut roots: BTreeSet<u64> = cr3s.iter().map(|cr3| (cr3 & ADDRESS) / FRAME).collect();
    roots.retain(|root| !isolated::is_isolated(machine, *root));
    roots.extend(held.roots.iter().map(|(mfn, _)| *mfn));
    roots.extend(table.all().filter(|(_, f)| f.kind == 4 && f.validated).map(|(mfn, _)| mfn));
    roots.remove(&machine.root());
    reach::walk(machine, &table, &own, &held, &roots, &mut report)?;
    let lists = lists::check(machine, &table, &mut report)?;
    counts::check(machine, &table, &held, &lists, &mut report)?;
    grants::check(machine, &held, &mut report);
    events::check(machine, &mut report)?;
    irqs::check(machine, &mut report)?;
    Ok(report)
}
