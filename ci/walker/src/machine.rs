//! The machine: its memory, its chart, and records by name.

use crate::chart::{Chart, Region};
use crate::isolated;
use crate::memory::{FRAME, Memory};
use crate::paging::{ADDRESS, translate};

/// Where the chart is mapped (`machine/src/layout.rs`, `CHART`).
const CHART: u64 = 0xffff_81c0_0010_0000;

/// A stopped machine.
pub struct Machine<'m> {
    pub(crate) memory: &'m dyn Memory,
    pub(crate) chart: Chart,
}

impl core::fmt::Debug for Machine<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Machine({} regions)", self.chart.regions.len())
    }
}

impl<'m> Machine<'m> {
    /// Finds the chart through the page tables that a CPU uses.
    ///
    /// # Errors
    /// There is none, or it cannot be understood.
    pub fn find(memory: &'m dyn Memory, cr3: u64) -> Result<Self, String> {
        let used = (cr3 & ADDRESS) / FRAME;
        let shown = translate(memory, used, CHART).is_some();
        let root = if shown { used } else { isolated::behind(memory, cr3).unwrap_or(used) };
        let text = text(memory, root, CHART).map_err(|e| format!("no chart: {e}"))?;
        let text = String::from_utf8(text).map_err(|_| "the chart is no text")?;
        Ok(Machine { memory, chart: Chart::parse(&text)? })
    }

    /// The frame of the hypervisor's own root table.
    pub fn root(&self) -> u64 {
        self.chart.root / FRAME
    }

    /// Whether no CPU has durable changes under way: every log is closed, or open with nothing in it.
    ///
    /// # Errors
    /// The logs cannot be read.
    pub fn is_quiet(&self) -> Result<bool, String> {
        let logs = self.records("vault::Log")?;
        let head = logs.column("head", 8)?;
        // Bits 0 and 1: phase (1: undo); bits 3 to 15: entries; the rest: effects and progress.
        Ok((0..logs.count).map(|cpu| head.at(cpu, 0)).all(|head| head == 0 || head & 0xffff_ffff == 1))
    }

    /// The machine address of a field in each record of a region.
    ///
    /// # Errors
    /// The chart does not name it, or it is not mapped.
    pub fn places(&self, region: &str, field: &str) -> Result<Vec<u64>, String> {
        let missing = || format!("the chart has no {field} in {region}");
        let found = self.chart.regions.iter().find(|r| r.name == region).ok_or_else(missing)?;
        let field = found.fields.iter().find(|f| f.name == field).ok_or_else(missing)?;
        (0..found.count)
            .map(|index| self.maddr(found.va + (index * found.stride + field.offset) as u64))
            .collect()
    }

    /// The machine address of a word that the chart names by itself.
    ///
    /// # Errors
    /// As for [`places`](Self::places).
    pub fn word(&self, name: &str) -> Result<u64, String> {
        let found = self.chart.words.iter().find(|(word, _)| word == name);
        self.maddr(found.ok_or_else(|| format!("the chart has no word {name}"))?.1)
    }

    /// Whether a CPU that stopped at `rip` may have changed a word and not its log: then [`is_quiet`](Self::is_quiet)
    /// does not see it.
    ///
    /// # Errors
    /// The chart does not say where that is.
    pub fn is_between(&self, rip: u64) -> Result<bool, String> {
        let place = |name: &str| {
            let found = self.chart.words.iter().find(|(word, _)| word == name);
            found.map(|(_, va)| *va).ok_or_else(|| format!("the chart has no place {name}"))
        };
        Ok((place("step-exchanged")?..place("step-stored")?).contains(&rip))
    }

    fn maddr(&self, va: u64) -> Result<u64, String> {
        translate(self.memory, self.root(), va).ok_or_else(|| format!("{va:#x} is not mapped"))
    }

    /// The name of the hypervisor's memory that a frame is part of.
    pub(crate) fn own_memory(&self, mfn: u64) -> Option<&str> {
        let at = mfn * FRAME;
        let found = self.chart.own.iter().find(|own| own.start < at + FRAME && at < own.end);
        found.map(|own| own.name.as_str())
    }

    /// Whether a frame is one of the hypervisor's that Dom0 may read: an entry that names it holds no reference.
    pub(crate) fn is_shown(&self, mfn: u64) -> bool {
        let at = mfn * FRAME;
        self.chart.own.iter().any(|own| own.name == "m2p" && (own.start..own.end).contains(&at))
    }

    /// Whether all of a frame is RAM and not the firmware's: memory below 1 MiB stays the firmware's.
    pub(crate) fn is_ram(&self, mfn: u64) -> bool {
        let at = mfn * FRAME;
        at >= 0x10_0000 && self.chart.ram.iter().any(|(start, end)| *start <= at && at + FRAME <= *end)
    }

    /// All records of a region.
    pub(crate) fn records(&self, name: &str) -> Result<Records<'_>, String> {
        let found = self.chart.regions.iter().find(|region| region.name == name);
        let region = found.ok_or_else(|| format!("the chart has no region {name}"))?;
        let bytes = bytes(self.memory, self.root(), region.va, region.stride * region.count)
            .map_err(|e| format!("{name}: {e}"))?;
        Ok(Records { region, bytes, count: region.count })
    }
}

/// What is mapped at `va` and the pages behind, up to a zero.
fn text(memory: &dyn Memory, root: u64, mut va: u64) -> Result<Vec<u8>, String> {
    let mut found = Vec::new();
    loop {
        let page = bytes(memory, root, va, FRAME as usize)?;
        found.extend(page.iter().take_while(|byte| **byte != 0));
        if page.contains(&0) {
            return Ok(found);
        }
        va += FRAME;
    }
}

fn bytes(memory: &dyn Memory, root: u64, va: u64, len: usize) -> Result<Vec<u8>, String> {
    let mut result = Vec::with_capacity(len);
    let mut at = va;
    while result.len() < len {
        let maddr = translate(memory, root, at).ok_or_else(|| format!("{at:#x} is not mapped"))?;
        let frame = memory.frame(maddr / FRAME).ok_or_else(|| format!("{maddr:#x} is no RAM"))?;
        let skip = (at % FRAME) as usize;
        let page = frame.iter().flat_map(|word| word.to_le_bytes()).skip(skip);
        result.extend(page.take(len - result.len()));
        at += FRAME - at % FRAME;
    }
    Ok(result)
}

/// The records of a region, read once.
pub(crate) struct Records<'c> {
    region: &'c Region,
    bytes: Vec<u8>,
    pub(crate) count: usize,
}

/// One field of all records of a region: numbers of `width` bytes, one or several a record.
pub(crate) struct Column<'r> {
    records: &'r Records<'r>,
    offset: usize,
    width: usize,
    /// Numbers in the field.
    pub(crate) len: usize,
}

impl Records<'_> {
    /// A field by name.
    pub(crate) fn column(&self, name: &str, width: usize) -> Result<Column<'_>, String> {
        let wanted =
            || format!("the chart has no field {name} of {width}-byte numbers in {}", self.region.name);
        let field = self.region.fields.iter().find(|field| field.name == name).ok_or_else(wanted)?;
        if field.bytes % width != 0 || field.offset + field.bytes > self.region.stride {
            return Err(wanted());
        }
        Ok(Column { records: self, offset: field.offset, width, len: field.bytes / width })
    }
}

impl Column<'_> {
    /// Number `element` of record `index`; 0 outside.
    pub(crate) fn at(&self, index: usize, element: usize) -> u64 {
        if element >= self.len {
            return 0;
        }
        let at = index * self.records.region.stride + self.offset + element * self.width;
        let Some(bytes) = self.records.bytes.get(at..at + self.width) else { return 0 };
        bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// The numbers of one record.
    pub(crate) fn all(&self, index: usize) -> impl Iterator<Item = u64> {
        (0..self.len).map(move |element| self.at(index, element))
    }
}
