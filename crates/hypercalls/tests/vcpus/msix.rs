//! MSI-X tables become read-only before their messages are mapped, whatever crashes.

use crate::physdev::{Crash, UNANSWERED, message, op, quiet_crashes, result};
use crate::world::World;
use domain::{InBar, Msix, PciDevices};
use guest_memory::GuestMemory;
use hypercalls::Outcome;
use ids::{DomainSlot, Maddr, Mfn, VcpuSlot};
use irqs::Met;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use vault::step;
use xen_abi::hypercall::{MMU_UPDATE, MMUEXT_OP, PHYSDEV_OP};
use xen_abi::physdev::{MAP_PIRQ_TYPE_MSI_SEG, PHYSDEVOP_MAP_PIRQ, PHYSDEVOP_UNMAP_PIRQ, PhysdevUnmapPirq};
use xen_abi::xen::{DOMID_SELF, MMUEXT_PIN_L1_TABLE, MmuUpdate, MmuextOp};

/// Where the devices of bus 2 have their memory: a table over the first two pages, pending bits in the fourth.
const MEMORY: u64 = 0xfebd_0000;
const GUARDED: [u64; 3] = [0xfebd0, 0xfebd1, 0xfebd3];
const OTHER: u64 = 0xfebd2;
/// A device whose base address register says so, and one without an address there.
const DEVICE: i32 = 8;
const VIRTUAL: i32 = 16;
const WRITABLE: u64 = 0x8000_0000_0000_0067;

/// Every device has the capability; those of bus 2 have a table.
#[derive(Debug)]
pub(crate) struct Devices;

impl PciDevices for Devices {
    fn exists(&self, _: u16, _: u8, _: u8) -> bool {
        true
    }
    fn capability(&self, _: u16, _: u8, _: u8, _: u8) -> Option<(u16, u32)> {
        Some((0x40, 0x8001_0011))
    }
    fn msix(&self, _: u16, bus: u8, devfn: u8) -> Option<Msix> {
        let base = (i32::from(devfn) == DEVICE).then_some(Maddr(MEMORY));
        let part = |offset| InBar { register: 0x10, wide: false, base, offset };
        (bus == 2).then_some(Msix { entries: 2, table: part(0xff0), pending: part(0x3000) })
    }
}

/// A pinned table of Dom0's that maps all of the devices' memory writable.
fn mapping(w: &mut World) -> Mfn {
    let table = w.frame(DomainSlot(0));
    for (index, mfn) in (0..).zip([GUARDED[0], GUARDED[1], OTHER, GUARDED[2]]) {
        w.memory.store64(Maddr(table.maddr().0 + 8 * index), mfn << 12 | WRITABLE);
    }
    let at = w.argument(&MmuextOp { cmd: MMUEXT_PIN_L1_TABLE, _pad0: [0; 4], arg1: table.0, arg2: 0 });
    assert_eq!(w.value(MMUEXT_OP, &[at, 1, 0, DOMID_SELF.into()]), 0);
    table
}

/// The frames that a table maps writable.
fn writable(w: &World, table: Mfn) -> Vec<u64> {
    let entries = (0..512).map(|index| w.memory.load64(Maddr(table.maddr().0 + 8 * index)));
    entries.filter(|entry| entry & 3 == 3).map(|entry| entry >> 12 & 0xff_ffff).collect()
}

fn map(w: &mut World, devfn: i32, entry: i32) -> i64 {
    let argument = message(MAP_PIRQ_TYPE_MSI_SEG, devfn, entry, MEMORY);
    op(w, PHYSDEVOP_MAP_PIRQ, xen_abi::physdev::PhysdevMapPirq { bus: 2, ..argument }).0
}

fn update(w: &mut World, table: Mfn, index: u64, value: u64) -> i64 {
    let at = w.argument(&MmuUpdate { ptr: table.maddr().0 + 8 * index, val: value });
    w.value(MMU_UPDATE, &[at, 1, 0, DOMID_SELF.into()])
}

#[test]
fn mappings_lose_the_right_to_write() {
    for devfn in [DEVICE, VIRTUAL] {
        let mut w = World::new();
        let tables = [mapping(&mut w), mapping(&mut w)];
        assert_eq!(tables.map(|table| writable(&w, table).len()), [4, 4]);
        assert_eq!(map(&mut w, devfn, 0), 0);
        assert_eq!(tables.map(|table| writable(&w, table)), [[OTHER], [OTHER]]);
        // Nor do new ones get it: by an update, or in a new table.
        assert_eq!(update(&mut w, tables[0], 7, GUARDED[0] << 12 | WRITABLE), 0);
        assert_eq!(update(&mut w, tables[0], 8, OTHER << 12 | WRITABLE), 0);
        assert_eq!(writable(&w, tables[0]), [OTHER, OTHER]);
        let late = mapping(&mut w);
        assert_eq!(writable(&w, late), [OTHER]);
        assert_eq!(map(&mut w, devfn, 1), 0);
        let met = |w: &World, at| w.state.irqs().met(Maddr(MEMORY + at), 4);
        assert_eq!(met(&w, 0xffc), Some(Met::Messages));
        for pirq in [415, 414] {
            let unmap = PhysdevUnmapPirq { domid: 0, _pad0: [0; 2], pirq };
            assert_eq!(op(&mut w, PHYSDEVOP_UNMAP_PIRQ, unmap).0, 0);
        }
        assert_eq!(met(&w, 0xffc), Some(Met::Registers), "the device's again");
        assert_eq!(irqs::audit(&w.state.irqs), Ok(()));
    }
}

#[test]
fn the_sweep_goes_on_in_the_next_entry() {
    let mut w = World::new();
    let tables = [0; 5].map(|_| mapping(&mut w));
    w.budget = 1;
    let argument = message(MAP_PIRQ_TYPE_MSI_SEG, DEVICE, 0, MEMORY);
    let at = w.argument(&xen_abi::physdev::PhysdevMapPirq { bus: 2, ..argument });
    let mut entries = 1;
    while w.run(0, PHYSDEV_OP, &[PHYSDEVOP_MAP_PIRQ.into(), at]).1 == Outcome::Again {
        assert_eq!(w.state.irqs().route(24), None, "not before the end");
        entries += 1;
    }
    assert!(entries > 2, "{entries}");
    assert!(w.state.irqs().route(24).is_some());
    assert!(tables.iter().all(|table| writable(&w, *table) == [OTHER]));
}

/// Maps a message, crashing at step `at`. Whether that was reached.
fn crashed(at: u64) -> bool {
    let mut w = World::new();
    let tables = [mapping(&mut w), mapping(&mut w)];
    w.state.contexts.context(VcpuSlot(0)).registers.set(pv_cpu::Reg::Rax, UNANSWERED);
    let left = Rc::new(Cell::new(at));
    let counter = Rc::clone(&left);
    step::arm(move || {
        counter.set(counter.get().wrapping_sub(1));
        if counter.get() == u64::MAX {
            std::panic::panic_any(Crash);
        }
    });
    let done = catch_unwind(AssertUnwindSafe(|| map(&mut w, DEVICE, 0)));
    step::disarm();
    let closed = |w: &World| tables.iter().all(|table| writable(w, *table) == [OTHER]);
    match done {
        Ok(value) => assert_eq!(value, 0),
        Err(payload) if payload.is::<Crash>() => {
            let committed = w.recover() && result(&w) != UNANSWERED;
            let mapped = w.state.irqs().route(24).is_some();
            assert!(!mapped || closed(&w), "a message without a closed table, crashed at {at}");
            assert_eq!(committed, mapped, "crashed at {at}");
            if !committed {
                assert_eq!(map(&mut w, DEVICE, 0), 0, "again after a crash at {at}");
            }
        }
        Err(payload) => std::panic::resume_unwind(payload),
    }
    assert!(closed(&w), "crashed at {at}");
    assert!(w.state.irqs().route(24).is_some() && w.state.irqs().route(25).is_none());
    assert_eq!(irqs::audit(&w.state.irqs), Ok(()));
    left.get() > at
}

#[test]
fn no_crash_leaves_a_message_beside_a_writable_table() {
    quiet_crashes();
    let steps = (0..).find(|at| !crashed(*at)).unwrap();
    assert!(steps > 40, "{steps} steps");
}
