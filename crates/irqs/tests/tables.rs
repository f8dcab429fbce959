//! Guarded MSI-X tables: what they cover, who gets a record, and what is left of them.

use ids::{DomainSlot, Maddr, Mfn};
use irqs::{Counts, Derived, Error, Guard, Irqs, Met, MsiSource, MsixTable, Region, Source, audit, rebuild};
use vault::{Apply, Arena, Effect, Log, Once};

const MSIS: u32 = 4;
const DOMAIN: DomainSlot = DomainSlot(0);

struct Nothing;

impl Apply for Nothing {
    fn apply(&mut self, _: &Effect, _: &mut Once<'_, '_>) {}
}

struct World {
    log: &'static Log,
    region: Region,
    derived: &'static Derived,
}

impl World {
    fn new() -> Self {
        let mut arena = Arena::leak(1 << 15);
        let log = &arena.carve::<Log>(1).unwrap()[0];
        let counts = Counts { domains: 1, tables: 1, gsis: 24, msis: MSIS };
        let region = Region::carve(&mut arena, counts).unwrap();
        let world = Self { log, region, derived: Box::leak(Box::new(rebuild(&region))) };
        world.tx(|i, tx| i.create_domain(tx, DOMAIN, 64)).unwrap();
        world
    }

    fn irqs(&self) -> Irqs<'static> {
        Irqs { region: self.region, derived: self.derived }
    }

    fn tx<O>(
        &self,
        f: impl FnOnce(&Irqs<'static>, &mut vault::Tx<'static>) -> Result<O, Error>,
    ) -> Result<O, Error> {
        self.log.begin();
        let result = self.log.transaction(&mut Nothing, |tx| f(&self.irqs(), tx));
        self.log.end();
        assert_eq!(audit(&self.region), Ok(()));
        result
    }

    fn guard(&self, table: &MsixTable) -> Result<Guard, Error> {
        self.tx(|i, tx| i.guard(tx, table))
    }

    fn close(&self, table: &MsixTable) {
        self.tx(|i, tx| {
            i.note_swept(tx, table, 9);
            i.close(tx, table);
            Ok(())
        })
        .unwrap();
    }

    /// Maps a message of the table's device; its PIRQ.
    fn map(&self, table: &MsixTable, entry: u16) -> u32 {
        let (segment, bus, devfn) = (table.segment, table.bus, table.devfn);
        let message = MsiSource { segment, bus, devfn, entry, table_base: table.at.0 };
        self.tx(|i, tx| i.map_pirq(tx, DOMAIN, Source::Msi(message), None, 0)).unwrap().pirq
    }

    fn unmap(&self, pirq: u32) {
        self.tx(|i, tx| i.unmap_pirq(tx, DOMAIN, pirq)).unwrap();
    }

    fn guarded(&self, mfns: core::ops::Range<u64>) -> Vec<u64> {
        mfns.filter(|mfn| self.region.msix_tables.is_guarded(Mfn(*mfn))).collect()
    }
}

/// A table of two entries that begins in frame `mfn` and ends in the next; its pending bits are in the fourth.
fn table(devfn: u8, mfn: u64) -> MsixTable {
    let (at, pending) = (Maddr((mfn << 12) + 0xff0), Some(Maddr((mfn + 3) << 12)));
    MsixTable { segment: 0, bus: 1, devfn, at, entries: 2, pending }
}

#[test]
fn the_pages_of_table_and_pending_bits_are_guarded() {
    let w = World::new();
    assert_eq!(w.guarded(0xff..0x108), []);
    let t = table(8, 0x100);
    assert_eq!(w.guard(&t), Ok(Guard::Open(0)));
    assert_eq!(w.guarded(0xff..0x108), [0x100, 0x101, 0x103]);
    w.tx(|i, tx| {
        i.note_swept(tx, &t, 5);
        Ok(())
    })
    .unwrap();
    assert_eq!(w.guard(&t), Ok(Guard::Open(5)), "the sweep goes on");
    assert!(!w.irqs().is_closed(&t));
    w.close(&t);
    assert_eq!((w.guard(&t), w.irqs().is_closed(&t)), (Ok(Guard::Closed), true));
    assert_eq!(w.guarded(0xff..0x108), [0x100, 0x101, 0x103]);
    // Nothing known of the pending bits; a table at the end of all addresses.
    w.guard(&MsixTable { pending: None, ..table(16, 0x200) }).unwrap();
    assert_eq!(w.guarded(0..0x300), [0x100, 0x101, 0x103, 0x200, 0x201]);
    w.guard(&MsixTable { at: Maddr(u64::MAX - 15), entries: 2048, ..table(24, 0x280) }).unwrap();
    assert_eq!(w.guarded(0..0x300), [0x100, 0x101, 0x103, 0x200, 0x201, 0x283]);
}

#[test]
fn only_messages_in_use_are_kept() {
    let w = World::new();
    let t = table(8, 0x100);
    w.guard(&t).unwrap();
    w.close(&t);
    let met = |at, bytes| w.irqs().met(Maddr(at), bytes);
    assert_eq!(met(0x10_0ff0, 4), Some(Met::Registers), "no messages");
    let pirq = w.map(&t, 0);
    for (at, bytes) in [(0x10_0ff0, 4), (0x10_0ffc, 1), (0x10_1008, 8), (0x10_3000, 8), (0x10_3007, 1)] {
        assert_eq!(met(at, bytes), Some(Met::Messages), "{at:#x}");
    }
    for (at, bytes) in [(0x10_0fe8, 8), (0x10_0fef, 1), (0x10_1010, 4), (0x10_3008, 8)] {
        assert_eq!(met(at, bytes), Some(Met::Registers), "{at:#x}: other registers of the page");
    }
    assert_eq!((met(0x10_2000, 4), met(0xf_f000, 4)), (None, None));
    w.unmap(pirq);
    assert_eq!(met(0x10_0ff0, 4), Some(Met::Registers));
}

#[test]
fn a_table_moves_while_it_has_no_messages() {
    let w = World::new();
    let (here, there) = (table(8, 0x100), table(8, 0x200));
    w.guard(&here).unwrap();
    w.close(&here);
    let pirq = w.map(&here, 0);
    assert_eq!(w.guard(&there), Ok(Guard::Closed), "the place is that of the messages in use");
    assert_eq!(w.irqs().table_of(0, 1, 8), Some(here));
    w.unmap(pirq);
    assert_eq!(w.guard(&there), Ok(Guard::Open(0)));
    assert_eq!(w.guarded(0x100..0x204), [0x200, 0x201, 0x203]);
    assert_eq!(w.irqs().table_of(0, 1, 8), Some(there));
}

#[test]
fn records_of_devices_without_messages_are_used_again() {
    let w = World::new();
    let tables: Vec<_> = (0..5).map(|n| table(n, 0x100 * u64::from(n + 1))).collect();
    for t in &tables[..4] {
        w.guard(t).unwrap();
        w.close(t);
    }
    let pirqs: Vec<_> = [0, 1, 3].map(|n| w.map(&tables[n], 0)).to_vec();
    assert_eq!(w.guard(&tables[4]), Ok(Guard::Open(0)));
    assert_eq!((w.irqs().is_closed(&tables[2]), w.irqs().is_closed(&tables[3])), (false, true));
    w.close(&tables[4]);
    w.map(&tables[4], 0);
    assert_eq!(w.guard(&tables[2]), Err(Error::NoSpace));
    w.unmap(pirqs[0]);
    assert_eq!(w.guard(&tables[2]), Ok(Guard::Open(0)));
    assert_eq!(w.irqs().table_of(0, 1, 0), None);
}
