//! Device memory that a guest may read only: configuration space, and MSI-X tables with messages.

use crate::Report;
use crate::machine::Machine;
use crate::memory::FRAME;
use std::ops::RangeInclusive;

/// A message-signalled interrupt's `kind`.
const MESSAGE: u64 = 2;

/// The frames.
pub(crate) struct ReadOnly {
    configuration: Vec<RangeInclusive<u64>>,
    tables: Vec<RangeInclusive<u64>>,
}

impl ReadOnly {
    /// Reads chart and records; a table with messages that is not closed is a violation by itself.
    pub(crate) fn read(machine: &Machine<'_>, report: &mut Report) -> Result<Self, String> {
        let records = machine.records("irqs::TableRecord")?;
        let (at, pending) = (records.column("at", 8)?, records.column("pending", 8)?);
        let (entries, closed) = (records.column("entries", 2)?, records.column("closed", 1)?);
        let device = [records.column("segment", 2)?, records.column("bdf", 2)?];
        let irqs = machine.records("irqs::IrqRecord")?;
        let (kind, base) = (irqs.column("kind", 1)?, irqs.column("table_base", 8)?);
        let source = [irqs.column("segment", 2)?, irqs.column("bdf", 2)?];
        let in_use: Vec<[u64; 2]> = (0..irqs.count)
            .filter(|irq| kind.at(*irq, 0) == MESSAGE && base.at(*irq, 0) != 0)
            .map(|irq| [source[0].at(irq, 0), source[1].at(irq, 0)])
            .collect();
        let mut tables = Vec::new();
        for record in (0..records.count).filter(|record| at.at(*record, 0) != 0) {
            let name = [device[0].at(record, 0), device[1].at(record, 0)];
            if closed.at(record, 0) == 0 {
                if in_use.contains(&name) {
                    report.wrong(format!("the MSI-X table of device {name:x?} has messages, but is open"));
                }
                continue;
            }
            let count = entries.at(record, 0);
            let part = |at: u64, bytes: u64| at / FRAME..=(at + bytes - 1) / FRAME;
            tables.push(part(at.at(record, 0), count.max(1) * 16));
            if pending.at(record, 0) != 0 {
                tables.push(part(pending.at(record, 0), count.div_ceil(64).max(1) * 8));
            }
        }
        report.msix_tables = tables.len();
        let configuration = machine.chart.configuration.iter();
        let configuration = configuration.map(|(start, end)| start / FRAME..=(end - 1) / FRAME).collect();
        Ok(Self { configuration, tables })
    }

    /// What a frame of device memory is, if it may only be read.
    pub(crate) fn what(&self, mfn: u64) -> Option<&'static str> {
        let is_in = |ranges: &[RangeInclusive<u64>]| ranges.iter().any(|range| range.contains(&mfn));
        if is_in(&self.configuration) {
            Some("configuration space")
        } else {
            is_in(&self.tables).then_some("an MSI-X table or its pending bits")
        }
    }
}
