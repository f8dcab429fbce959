//! The chart: what lies where, as text at a fixed address, for those who look at the machine from outside: the lab's
//! walker, a debugger. First boot writes it; the image never reads it.
//!
//! One fact a line, numbers hexadecimal, ranges with their first byte and the first byte after:
//!
//! ```text
//! revenant chart 1
//! root MADDR                             the hypervisor's own L4 table
//! cpus COUNT
//! ram START END                          every range of RAM
//! configuration START END                memory-mapped configuration space
//! own NAME START END                     memory of the hypervisor's, by purpose
//! word NAME VA                           a word, or a place in the code, that those outside look at
//! region RECORD VA STRIDE COUNT          a region of the vault, followed by its record's fields
//! field NAME OFFSET BYTES
//! end
//! ```
#![expect(unsafe_code, reason = "writes the chart's memory")]

use boot_info::Range;
use core::fmt::{self, Write};
use ids::Maddr;
use machine::direct;
use machine::image::Copy;
use vault::Arena;

use crate::composition;
use crate::console::log;
use crate::sealed::Sealed;
use crate::stop;

/// The version of the format.
const VERSION: u32 = 1;

/// Writes the chart of the sealed record and the vault's regions. Returns what it leaves of its memory, in whole frames.
pub(crate) fn write(record: &Sealed, arena: &Arena) -> Range {
    let mut length = Length(1);
    let counted = text(&mut length, record, arena, record.chart);
    let end = (record.chart.start + length.0).next_multiple_of(ids::FRAME_SIZE).min(record.chart.end);
    let memory = Range { start: record.chart.start, end };
    let mut page = Page { at: memory.start, end };
    if counted.and_then(|()| text(&mut page, record, arena, memory)).is_err() {
        log!("The chart is longer than its memory: it is cut");
    }
    Range { start: end, end: record.chart.end }
}

fn text(page: &mut impl Write, record: &Sealed, arena: &Arena, chart: Range) -> fmt::Result {
    writeln!(page, "revenant chart {VERSION}\nroot {:x}\ncpus {:x}", record.root.0, record.cpus)?;
    for range in record.ram.iter() {
        writeln!(page, "ram {:x} {:x}", range.start, range.end)?;
    }
    for range in record.facts.acpi.config_spaces.iter().map(boot_info::ConfigSpace::range) {
        writeln!(page, "configuration {:x} {:x}", range.start, range.end)?;
    }
    for (name, copy) in [("image-a", Copy::A), ("image-b", Copy::B)] {
        for (start, len) in record.image.runs(copy).into_iter().filter(|(_, len)| *len > 0) {
            writeln!(page, "own {name} {:x} {:x}", start.0, start.0 + len)?;
        }
    }
    let (seals, seal_bytes) = record.image.seals();
    if let Some(isolation) = record.isolation {
        let memory = isolation.memory();
        writeln!(page, "own isolation {:x} {:x}", memory.start, memory.end)?;
    }
    for (name, range) in [
        ("seals", Range::new(seals, seal_bytes)),
        ("per-cpu", record.per_cpu),
        ("vault", composition::vault_memory(record, arena)),
        ("m2p", record.m2p),
        ("log", record.log),
        ("heap", record.heap),
        ("chart", chart),
    ] {
        writeln!(page, "own {name} {:x} {:x}", range.start, range.end)?;
    }
    writeln!(page, "word leader {:x}", stop::LEADER_WORD)?;
    let between = vault::step::between();
    writeln!(page, "word step-exchanged {:x}\nword step-stored {:x}", between.start, between.end)?;
    for region in arena.carved() {
        writeln!(page, "region {} {:x} {:x} {:x}", region.name, region.start, region.stride, region.count)?;
        for field in region.fields {
            writeln!(page, "field {} {:x} {:x}", field.name, field.offset, field.size)?;
        }
    }
    writeln!(page, "end")
}

/// Counts a text's bytes, and the zero behind it.
struct Length(u64);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len() as u64;
        Ok(())
    }
}

/// What is left of the chart's memory.
struct Page {
    at: u64,
    end: u64,
}

impl Write for Page {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.end - self.at < text.len() as u64 {
            return Err(fmt::Error);
        }
        let to = direct::pointer::<u8>(Maddr(self.at));
        // SAFETY: the chart's memory, which boot set aside; only this function writes there, before guests run.
        unsafe { to.copy_from_nonoverlapping(text.as_ptr(), text.len()) };
        self.at += text.len() as u64;
        Ok(())
    }
}
