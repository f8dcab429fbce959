//! MSI-X tables: device memory that guests may read only.
//!
//! A table is *guarded* before the first message of its device is mapped: from then on no new mapping of its frames is
//! writable. Those made before are found by a sweep over all page tables, whose cursor is here; when every processor
//! has forgotten them the table is *closed*, and messages are mapped. A record outlives its messages: the device gets
//! it back with its next ones, and another device only if no record was never used. Writes that a guard keeps from a
//! table without messages go on to the device.
//!
//! State class: *durable*. A guard that comes too early, or is left by a call that nobody repeated, costs time alone.

use crate::map::source_of;
use crate::{Error, Irqs, Kind};
use core::ops::Range;
use ids::{FRAME_SIZE, Maddr, Mfn};
use vault::{Arena, Durable, Tx, record};

/// Bytes of an entry (PCI local bus specification 3.0, 6.8.2).
const ENTRY: u64 = 16;

record! {
    /// A guarded table. Lock: the mapping lock; who only asks what is guarded takes none. Rebuild: nothing.
    pub struct TableRecord {
        /// Machine address of the first entry; 0: not in use, and no record behind it either.
        pub(crate) at: Durable<u64>,
        /// Machine address of the pending bits; 0: not known.
        pub(crate) pending: Durable<u64>,
        /// Frames that the sweep has looked at.
        pub(crate) swept: Durable<u64>,
        /// PCI segment.
        pub(crate) segment: Durable<u16>,
        /// Bus and device function.
        pub(crate) bdf: Durable<u16>,
        /// Entries.
        pub(crate) entries: Durable<u16>,
        /// No writable mapping is left.
        pub(crate) closed: Durable<bool>,
    }
}

/// Where a device's table and its pending bits lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixTable {
    /// PCI segment.
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device and function.
    pub devfn: u8,
    /// The first entry; not 0.
    pub at: Maddr,
    /// Entries, 1 to 2048.
    pub entries: u16,
    /// The pending bits.
    pub pending: Option<Maddr>,
}

impl MsixTable {
    /// The bytes of table and pending bits.
    fn parts(&self) -> [Range<u64>; 2] {
        let entries = u64::from(self.entries);
        let pending = self.pending.map_or(0, |at| at.0);
        let bytes = if pending == 0 { 0 } else { entries.div_ceil(64) * 8 };
        [self.at.0..self.at.0.saturating_add(entries * ENTRY), pending..pending.saturating_add(bytes)]
    }

    /// Whether bytes of it are among those of `range`.
    fn touches(&self, range: &Range<u64>) -> bool {
        self.parts().iter().any(|part| part.start < range.end && range.start < part.end)
    }

    fn bdf(&self) -> u16 {
        u16::from(self.bus) << 8 | u16::from(self.devfn)
    }
}

impl TableRecord {
    /// `None` if the record is not in use.
    fn table(&self) -> Option<MsixTable> {
        let (at, pending, bdf) = (self.at.get(), self.pending.get(), self.bdf.get());
        (at != 0).then_some(MsixTable {
            segment: self.segment.get(),
            bus: (bdf >> 8) as u8,
            devfn: bdf as u8,
            at: Maddr(at),
            entries: self.entries.get(),
            pending: (pending != 0).then_some(Maddr(pending)),
        })
    }

    fn is_of(&self, segment: u16, bdf: u16) -> bool {
        self.at.get() != 0 && (self.segment.get(), self.bdf.get()) == (segment, bdf)
    }
}

/// All records, for who asks what is guarded.
#[derive(Clone, Copy)]
pub struct Tables(pub(crate) &'static [TableRecord]);

impl core::fmt::Debug for Tables {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Tables {
    /// Carves records out; `None` when the arena is too small.
    pub fn carve(arena: &mut Arena, count: usize) -> Option<Self> {
        Some(Self(arena.carve(count)?))
    }

    fn iter(self) -> impl Iterator<Item = MsixTable> {
        self.0.iter().map_while(TableRecord::table)
    }

    /// Whether guests may only read a frame of device memory, for a table's sake.
    pub fn is_guarded(self, mfn: Mfn) -> bool {
        let frame = mfn.maddr().0..mfn.maddr().0.saturating_add(FRAME_SIZE);
        self.iter().any(|table| table.touches(&frame))
    }

    /// Whether no mapping of a frame is writable, for the sake of a closed table (for audits).
    pub fn is_closed(self, mfn: Mfn) -> bool {
        let frame = mfn.maddr().0..mfn.maddr().0.saturating_add(FRAME_SIZE);
        let closed = self.0.iter().filter(|record| record.closed.get());
        closed.filter_map(TableRecord::table).any(|table| table.touches(&frame))
    }
}

/// How far a table is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Old mappings may still be writable in tables from this frame on; in none, but known to processors, if there is
    /// no such frame.
    Open(u64),
    /// No mapping is writable.
    Closed,
}

/// What a guest's write to a guarded frame meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// A table with messages in use, or its pending bits: nothing is written.
    Messages,
    /// Registers that only share the frame, or a table without messages: the device's.
    Registers,
}

impl<'l> Irqs<'l> {
    /// Guards a table, if it is not guarded yet. One that has messages in use stays where it was.
    ///
    /// # Errors
    /// `NoSpace`: all records belong to devices with messages in use.
    pub fn guard(&self, tx: &mut Tx<'l>, table: &MsixTable) -> Result<Guard, Error> {
        self.lock_mapping(tx);
        let records = self.region.msix_tables.0;
        let record = match self.table_record(table) {
            Some(own) if own.table() == Some(*table) || self.has_messages(own) => return Ok(stage(own)),
            Some(own) => own,
            None => {
                let fresh = records.iter().find(|record| record.at.get() == 0);
                let left = || records.iter().find(|record| !self.has_messages(record));
                fresh.or_else(left).ok_or(Error::NoSpace)?
            }
        };
        tx.set(&record.closed, false);
        tx.set(&record.swept, 0);
        tx.set(&record.segment, table.segment);
        tx.set(&record.bdf, table.bdf());
        tx.set(&record.entries, table.entries);
        tx.set(&record.pending, table.pending.map_or(0, |at| at.0));
        tx.set(&record.at, table.at.0);
        Ok(stage(record))
    }

    /// Notes that page tables in frames below `end` map the table read-only.
    pub fn note_swept(&self, tx: &mut Tx<'l>, table: &MsixTable, end: u64) {
        self.lock_mapping(tx);
        if let Some(record) = self.table_record(table) {
            tx.set(&record.swept, end);
        }
    }

    /// Notes that no processor remembers a writable mapping of a table whose sweep is over.
    pub fn close(&self, tx: &mut Tx<'l>, table: &MsixTable) {
        self.lock_mapping(tx);
        if let Some(record) = self.table_record(table) {
            tx.set(&record.closed, true);
        }
    }

    /// Whether messages of the device may be mapped; stable while the mapping lock is held.
    pub fn is_closed(&self, table: &MsixTable) -> bool {
        self.table_record(table).is_some_and(|record| record.closed.get())
    }

    /// Where the table of a device lies that has messages in use; of another it may be out of date.
    pub fn table_of(&self, segment: u16, bus: u8, devfn: u8) -> Option<MsixTable> {
        let bdf = u16::from(bus) << 8 | u16::from(devfn);
        let records = self.region.msix_tables.0.iter();
        records.take_while(|record| record.at.get() != 0).find(|r| r.is_of(segment, bdf))?.table()
    }

    /// What `bytes` written at a device's address meet; `None`: no guarded frame.
    pub fn met(&self, at: Maddr, bytes: u64) -> Option<Met> {
        let tables = self.region.msix_tables;
        if !tables.is_guarded(at.mfn()) {
            return None;
        }
        let written = at.0..at.0.saturating_add(bytes);
        let records = tables.0.iter().take_while(|record| record.at.get() != 0);
        let mut touched = records.filter(|r| r.table().is_some_and(|table| table.touches(&written)));
        Some(if touched.any(|record| self.has_messages(record)) { Met::Messages } else { Met::Registers })
    }

    fn table_record(&self, table: &MsixTable) -> Option<&'static TableRecord> {
        self.region.msix_tables.0.iter().find(|record| record.is_of(table.segment, table.bdf()))
    }

    /// Whether a message of the record's device is mapped.
    fn has_messages(&self, record: &TableRecord) -> bool {
        let messages = self.region.irqs.iter().skip(self.region.gsis as usize);
        messages.filter(|irq| irq.kind() == Kind::Msi).map(source_of).any(|source| {
            source.table_base != 0
                && record.is_of(source.segment, u16::from(source.bus) << 8 | u16::from(source.devfn))
        })
    }
}

fn stage(record: &TableRecord) -> Guard {
    if record.closed.get() { Guard::Closed } else { Guard::Open(record.swept.get()) }
}
