//! `physdev_op`, and the ports of physical interrupts.

use crate::world::{World, error};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Maddr, VcpuSlot};
use irqs::{Action, Kind};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use vault::step;
use xen_abi::Errno;
use xen_abi::event_channel::*;
use xen_abi::hypercall::{EVENT_CHANNEL_OP, PHYSDEV_OP};
use xen_abi::physdev::*;
use xen_abi::xen::DOMID_SELF;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const DOM0: DomainSlot = DomainSlot(0);
/// A vCPU of the guest that is not Dom0.
const OTHER: u32 = 3;

fn run<T: FromBytes + IntoBytes + Immutable>(
    world: &mut World,
    vcpu: u32,
    number: u64,
    command: u32,
    argument: T,
) -> (i64, T) {
    let at = world.argument(&argument);
    let (value, _) = world.run(vcpu, number, &[command.into(), at]);
    (value, world.memory.read(Gva(at)).unwrap())
}

/// An operation of Dom0: the result and the argument afterwards.
pub(crate) fn op<T: FromBytes + IntoBytes + Immutable>(
    world: &mut World,
    command: u32,
    argument: T,
) -> (i64, T) {
    run(world, 0, PHYSDEV_OP, command, argument)
}

fn setup(gsi: i32, triggering: u8, polarity: u8) -> PhysdevSetupGsi {
    PhysdevSetupGsi { gsi, triggering, polarity, _pad0: [0; 2] }
}

fn gsi(index: i32, pirq: i32) -> PhysdevMapPirq {
    PhysdevMapPirq {
        domid: DOMID_SELF,
        _pad0: [0; 2],
        type_: MAP_PIRQ_TYPE_GSI,
        index,
        pirq,
        bus: 0,
        devfn: 0,
        entry_nr: 0,
        _pad1: [0; 4],
        table_base: 0,
    }
}

pub(crate) fn message(type_: i32, devfn: i32, entry_nr: i32, table_base: u64) -> PhysdevMapPirq {
    PhysdevMapPirq { type_, bus: 1, devfn, entry_nr, table_base, ..gsi(-1, -1) }
}

fn bind(world: &mut World, pirq: u32, flags: u32) -> (i64, u32) {
    let argument = EvtchnBindPirq { pirq, flags, port: 0 };
    let (value, answer) = run(world, 0, EVENT_CHANNEL_OP, EVTCHNOP_BIND_PIRQ, argument);
    (value, answer.port)
}

fn close(world: &mut World, port: u32) -> i64 {
    run(world, 0, EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, EvtchnClose { port }).0
}

fn eoi(world: &mut World, irq: u32) -> i64 {
    op(world, PHYSDEVOP_EOI, PhysdevEoi { irq }).0
}

/// What the composition does when an irq's vector comes.
fn interrupt(world: &mut World, irq: u32) -> Action {
    let state = world.state;
    let vector = state.irqs().route(irq).unwrap().vector;
    world.change(|tx| {
        tx.last();
        state.irqs().on_interrupt(tx, vector)
    })
}

fn pending(world: &World, port: u32) -> bool {
    world.state.events(world.memory).is_pending(DOM0, port).unwrap()
}

fn route(world: &World, irq: u32) -> irqs::RouteWord {
    world.state.irqs().route(irq).unwrap()
}

#[test]
fn ports_and_levels_of_a_vcpu() {
    let mut w = World::new();
    let context = w.state.contexts.context(VcpuSlot(0));
    assert_eq!(op(&mut w, PHYSDEVOP_SET_IOPL, PhysdevSetIopl { iopl: 1 }).0, 0);
    assert_eq!(op(&mut w, PHYSDEVOP_SET_IOPL, PhysdevSetIopl { iopl: 4 }).0, error(Errno::EINVAL));
    assert_eq!(context.iopl.get(), 1);
    let bitmap = |bitmap, nr_ports| PhysdevSetIobitmap { bitmap, nr_ports, _pad0: [0; 4] };
    assert_eq!(op(&mut w, PHYSDEVOP_SET_IOBITMAP, bitmap(0x7000, 65536)).0, 0);
    assert_eq!(op(&mut w, PHYSDEVOP_SET_IOBITMAP, bitmap(0x7000, 65537)).0, error(Errno::EINVAL));
    let hypervisor = bitmap(0xffff_8000_0000_0000, 8);
    assert_eq!(op(&mut w, PHYSDEVOP_SET_IOBITMAP, hypervisor).0, error(Errno::EINVAL));
    assert_eq!((context.io_bitmap.get(), context.io_ports.get()), (Gva(0x7000), 65536));
    assert_eq!(w.value(PHYSDEV_OP, &[PHYSDEVOP_SET_IOPL.into(), 0x1000_0000]), error(Errno::EFAULT));
    assert_eq!(w.value(PHYSDEV_OP, &[99, 0]), error(Errno::ENOSYS));
}

#[test]
fn the_boot_of_dom0() {
    let mut w = World::new();
    let mut read = |reg| {
        let (value, answer) =
            op(&mut w, PHYSDEVOP_APIC_READ, PhysdevApic { apic_physbase: 0xfec0_0000, reg, value: 7 });
        (value, answer.value)
    };
    assert_eq!(
        [0, 1, 0x10, 0x99].map(&mut read),
        [(0, 2 << 24), (0, 23 << 16 | 0x11), (0, 1 << 16), (0, !0)]
    );
    for irq in (0..16).filter(|irq| *irq != 2) {
        let (value, answer) = op(&mut w, PHYSDEVOP_MAP_PIRQ, gsi(irq, irq));
        assert_eq!((value, answer.pirq, answer.index), (0, irq, irq));
        let irq = irq as u32;
        let (value, answer) = op(&mut w, PHYSDEVOP_ALLOC_IRQ_VECTOR, PhysdevIrq { irq, vector: 0 });
        assert_eq!((value, answer.vector), (0, irq));
        let query = PhysdevIrqStatusQuery { irq, flags: 9 };
        assert_eq!(op(&mut w, PHYSDEVOP_IRQ_STATUS_QUERY, query).1.flags, XENIRQSTAT_NEEDS_EOI);
    }
    assert_eq!(op(&mut w, PHYSDEVOP_SETUP_GSI, setup(9, 1, 1)).0, 0);
    assert_eq!(op(&mut w, PHYSDEVOP_SETUP_GSI, setup(9, 1, 1)).0, error(Errno::EEXIST));
    assert_eq!(op(&mut w, PHYSDEVOP_SETUP_GSI, setup(4, 0, 0)).0, error(Errno::EEXIST), "the console's");
    assert_eq!(op(&mut w, PHYSDEVOP_SETUP_GSI, setup(24, 0, 0)).0, error(Errno::EINVAL));
    assert_eq!(op(&mut w, PHYSDEVOP_SETUP_GSI, setup(-1, 0, 0)).0, error(Errno::EINVAL));
    assert_eq!(bind(&mut w, 9, 1), (0, 1));
    assert_eq!(bind(&mut w, 8, 0), (0, 2), "an ISA pin needs no set-up");
    assert_eq!(bind(&mut w, 4, 0).0, error(Errno::EBUSY), "the console's");
    assert_eq!(bind(&mut w, 9, 0).0, error(Errno::EEXIST));
    assert_eq!(bind(&mut w, 17, 0).0, error(Errno::EINVAL), "not mapped");
    assert_eq!((route(&w, 8).dest, route(&w, 9).dest), (5, 5), "the first CPU's");
    let region =
        |address| PhysdevPciMmcfgReserved { address, segment: 0, start_bus: 0, end_bus: 255, flags: 1 };
    assert_eq!(op(&mut w, PHYSDEVOP_PCI_MMCFG_RESERVED, region(0xb000_0000)).0, 0);
    assert_eq!(op(&mut w, PHYSDEVOP_PCI_MMCFG_RESERVED, region(0xc000_0000)).0, error(Errno::ENODEV));
    let flags = XEN_PCI_DEV_PXM;
    let physfn = PciPhysfn { bus: 0, devfn: 0 };
    let device = PhysdevPciDeviceAdd { seg: 0, bus: 0, devfn: 8, flags, physfn, _pad: [0; 2] };
    assert_eq!(op(&mut w, PHYSDEVOP_PCI_DEVICE_ADD, device).0, 0);
    assert_eq!(irqs::audit(&w.state.irqs), Ok(()));
}

#[test]
fn a_level_interrupt_comes_and_is_ended() {
    let mut w = World::new();
    let page = w.frame(DOM0);
    let eoi_page = PhysdevPirqEoiGmfn { gmfn: page.0 };
    assert_eq!(
        op(&mut w, PHYSDEVOP_PIRQ_EOI_GMFN_V2, PhysdevPirqEoiGmfn { gmfn: 2 }).0,
        error(Errno::EINVAL)
    );
    assert_eq!(op(&mut w, PHYSDEVOP_PIRQ_EOI_GMFN_V2, eoi_page).0, 0);
    assert_eq!(w.references(page), (2, 1));
    assert_eq!(op(&mut w, PHYSDEVOP_PIRQ_EOI_GMFN_V2, eoi_page).0, error(Errno::EBUSY));
    assert_eq!(w.references(page), (2, 1), "as before");
    op(&mut w, PHYSDEVOP_SETUP_GSI, setup(17, 1, 1));
    assert_eq!(op(&mut w, PHYSDEVOP_MAP_PIRQ, gsi(17, -1)).1.pirq, 16);
    assert_eq!(eoi(&mut w, 17), error(Errno::EINVAL));
    assert_eq!(bind(&mut w, 16, BIND_PIRQ__WILL_SHARE), (0, 1));
    assert_eq!(w.routes, [17, 17][..w.routes.len()]);
    assert_eq!(w.memory.load64(page.maddr()), 1 << 16, "it needs the hypercall");
    let raised = Action::Raised { irq: 17, domain: DOM0, port: 1, masked: true };
    assert_eq!(interrupt(&mut w, 17), raised);
    assert_eq!(w.routes, [17], "masked");
    assert!(pending(&w, 1) && route(&w, 17).masked);
    assert_eq!(eoi(&mut w, 16), 0);
    assert!(!route(&w, 17).masked);
    assert_eq!(close(&mut w, 1), 0);
    assert!(route(&w, 17).masked);
    assert_eq!(w.memory.load64(page.maddr()), 0);
    assert_eq!(interrupt(&mut w, 17), Action::Unbound(17));
    let unmap = PhysdevUnmapPirq { domid: DOMID_SELF, _pad0: [0; 2], pirq: 16 };
    assert_eq!(op(&mut w, PHYSDEVOP_UNMAP_PIRQ, unmap).0, 0);
    assert_eq!(op(&mut w, PHYSDEVOP_UNMAP_PIRQ, unmap).0, error(Errno::EINVAL));
    assert_eq!(irqs::audit(&w.state.irqs), Ok(()));
}

#[test]
fn an_old_port_does_not_unbind_a_new_one() {
    let mut w = World::new();
    op(&mut w, PHYSDEVOP_MAP_PIRQ, gsi(1, 1));
    assert_eq!(bind(&mut w, 1, 0), (0, 1));
    let unmap = PhysdevUnmapPirq { domid: 0, _pad0: [0; 2], pirq: 1 };
    assert_eq!(op(&mut w, PHYSDEVOP_UNMAP_PIRQ, unmap).0, 0);
    op(&mut w, PHYSDEVOP_MAP_PIRQ, gsi(1, 1));
    assert_eq!(bind(&mut w, 1, 0), (0, 2));
    assert_eq!(close(&mut w, 1), 0);
    assert!(!route(&w, 1).masked);
    assert_eq!(run(&mut w, 0, EVENT_CHANNEL_OP, EVTCHNOP_RESET, EvtchnReset { dom: DOMID_SELF }).0, 0);
    assert!(route(&w, 1).masked);
    assert_eq!(w.state.irqs().port_of(DOM0, 1), None);
}

#[test]
fn an_end_of_interrupt_unmasks_by_the_first_form() {
    let mut w = World::new();
    let page = w.frame(DOM0);
    assert_eq!(op(&mut w, PHYSDEVOP_PIRQ_EOI_GMFN_V1, PhysdevPirqEoiGmfn { gmfn: page.0 }).0, 0);
    op(&mut w, PHYSDEVOP_MAP_PIRQ, gsi(12, 12));
    assert_eq!(bind(&mut w, 12, 0), (0, 1));
    let shared = w.state.domains.domain(DOM0).shared_info.get().maddr().0;
    let mask = Maddr(shared + 64 * 32 + 512);
    w.memory.store64(mask, 1 << 1);
    interrupt(&mut w, 12);
    assert!(pending(&w, 1));
    assert_eq!(eoi(&mut w, 12), 0);
    assert_eq!(w.memory.load64(mask), 0);
    assert_eq!(w.kicked, [0]);
}

#[test]
fn messages() {
    let mut w = World::new();
    let (value, msi) = op(&mut w, PHYSDEVOP_MAP_PIRQ, message(MAP_PIRQ_TYPE_MSI, 8, 3, 0));
    assert_eq!((value, msi.index, msi.pirq), (0, 24, 415));
    assert_eq!(w.routes, [24]);
    let word = route(&w, 24);
    let source = irqs::MsiSource { segment: 0, bus: 1, devfn: 8, entry: 0, table_base: 0 };
    assert_eq!((word.kind, word.dest, word.masked, word.msi), (Kind::Msi, 5, true, Some(source)));
    let again = op(&mut w, PHYSDEVOP_MAP_PIRQ, message(MAP_PIRQ_TYPE_MSI_SEG, 8, 0, 0)).0;
    assert_eq!(again, error(Errno::EEXIST));
    for entry in 0..2 {
        let x = message(MAP_PIRQ_TYPE_MSI_SEG, 16, entry, 0xfeb0_0000);
        let (value, answer) = op(&mut w, PHYSDEVOP_MAP_PIRQ, x);
        assert_eq!((value, answer.index, answer.pirq), (0, 25 + entry, 414 - entry));
    }
    let several = message(MAP_PIRQ_TYPE_MULTI_MSI, 24, 4, 0);
    assert_eq!(op(&mut w, PHYSDEVOP_MAP_PIRQ, several).0, error(Errno::EOPNOTSUPP));
    let unknown = message(9, 24, 4, 0);
    assert_eq!(op(&mut w, PHYSDEVOP_MAP_PIRQ, unknown).0, error(Errno::EINVAL));

    let device = PhysdevPciDevice { seg: 0, bus: 1, devfn: 16 };
    assert_eq!(op(&mut w, PHYSDEVOP_PREPARE_MSIX, device).0, error(Errno::EBUSY));
    assert_eq!(op(&mut w, PHYSDEVOP_RESTORE_MSI_EXT, device).0, 0);
    assert_eq!(w.routes, [25, 26]);
    assert_eq!(bind(&mut w, 415, 0), (0, 1));
    assert!(!route(&w, 24).masked);
    assert_eq!(interrupt(&mut w, 24), Action::Raised { irq: 24, domain: DOM0, port: 1, masked: false });
    let unmap = PhysdevUnmapPirq { domid: DOMID_SELF, _pad0: [0; 2], pirq: 415 };
    assert_eq!(op(&mut w, PHYSDEVOP_UNMAP_PIRQ, unmap).0, 0);
    assert_eq!((w.state.irqs().route(24), w.state.irqs().device(24)), (None, Some(source)));
    assert_eq!(w.routes, [24], "switched off at the device");
    assert_eq!(irqs::audit(&w.state.irqs), Ok(()));
}

#[test]
fn only_dom0_has_devices() {
    let mut w = World::new();
    let refused = error(Errno::EPERM);
    assert_eq!(run(&mut w, OTHER, PHYSDEV_OP, PHYSDEVOP_MAP_PIRQ, gsi(1, 1)).0, refused);
    assert_eq!(run(&mut w, OTHER, PHYSDEV_OP, PHYSDEVOP_SETUP_GSI, setup(1, 0, 0)).0, refused);
    let device = PhysdevPciDevice { seg: 0, bus: 1, devfn: 16 };
    assert_eq!(run(&mut w, OTHER, PHYSDEV_OP, PHYSDEVOP_PCI_DEVICE_REMOVE, device).0, refused);
    let apic = PhysdevApic { apic_physbase: 0xfec0_0000, reg: 0, value: 0 };
    assert_eq!(run(&mut w, OTHER, PHYSDEV_OP, PHYSDEVOP_APIC_READ, apic).0, refused);
    assert_eq!(run(&mut w, OTHER, PHYSDEV_OP, PHYSDEVOP_SET_IOPL, PhysdevSetIopl { iopl: 3 }).0, 0);
}

#[test]
fn a_written_route_sets_a_pin_up() {
    let mut w = World::new();
    let mut write = |reg, value| {
        op(&mut w, PHYSDEVOP_APIC_WRITE, PhysdevApic { apic_physbase: 0xfec0_0000, reg, value }).0
    };
    assert_eq!(write(0x10 + 2 * 20, 1 << 15 | 1 << 13 | 30), 0);
    assert_eq!(write(0x11 + 2 * 20, 0xffff_ffff), 0);
    assert_eq!(write(0, 1), 0);
    assert_eq!(write(0x10 + 2 * 21, 4 << 8), error(Errno::EINVAL), "NMI");
    assert_eq!(write(0x10 + 2 * 24, 0), error(Errno::EINVAL));
    assert_eq!(write(0x10 + 2 * 4, 4), 0, "ignored");
    let binding = w.state.irqs().binding(20).unwrap();
    assert_eq!((binding.pirq, binding.port), (30, 0));
    assert_eq!(route(&w, 20).redirection_entry() & 0xffff_ff00, 1 << 16 | 1 << 15 | 1 << 13);
}

/// One action of the crash test: its result.
type Step = fn(&mut World) -> i64;

const LIFE: [Step; 8] = [
    |w| op(w, PHYSDEVOP_SETUP_GSI, setup(17, 1, 1)).0,
    |w| op(w, PHYSDEVOP_MAP_PIRQ, gsi(17, 17)).0,
    |w| bind(w, 17, BIND_PIRQ__WILL_SHARE).0,
    came,
    |w| {
        // The guest takes the event before it ends the interrupt.
        let shared = w.state.domains.domain(DOM0).shared_info.get().maddr().0;
        w.memory.and_not64(Maddr(shared + 64 * 32), 1 << 1);
        eoi(w, 17)
    },
    came,
    |w| close(w, 1),
    |w| op(w, PHYSDEVOP_UNMAP_PIRQ, PhysdevUnmapPirq { domid: 0, _pad0: [0; 2], pirq: 17 }).0,
];
/// The actions that are interrupts: in service until they return.
const INTERRUPTS: [usize; 2] = [3, 5];

fn came(w: &mut World) -> i64 {
    match interrupt(w, 17) {
        Action::Raised { port, masked: true, .. } => port.into(),
        other => panic!("{other:?}"),
    }
}

pub(crate) struct Crash;

/// What RAX holds before a hypercall has a result.
pub(crate) const UNANSWERED: u64 = u64::MAX / 3;

pub(crate) fn result(w: &World) -> u64 {
    w.state.contexts.context(VcpuSlot(0)).registers.get(pv_cpu::Reg::Rax)
}

/// Runs the life of an interrupt, crashing at the durable step `at`. Whether that was reached.
fn crashed_life(at: u64) -> bool {
    let mut w = World::new();
    let page = w.frame(DOM0);
    assert_eq!(op(&mut w, PHYSDEVOP_PIRQ_EOI_GMFN_V2, PhysdevPirqEoiGmfn { gmfn: page.0 }).0, 0);
    let left = Rc::new(Cell::new(at));
    for (index, action) in LIFE.iter().enumerate() {
        let counter = Rc::clone(&left);
        w.state.contexts.context(VcpuSlot(0)).registers.set(pv_cpu::Reg::Rax, UNANSWERED);
        step::arm(move || {
            counter.set(counter.get().wrapping_sub(1));
            if counter.get() == u64::MAX {
                std::panic::panic_any(Crash);
            }
        });
        let done = catch_unwind(AssertUnwindSafe(|| action(&mut w)));
        step::disarm();
        let expected = if INTERRUPTS.contains(&index) { 1 } else { 0 };
        match done {
            Ok(value) => assert_eq!(value, expected, "action {index}"),
            Err(payload) if payload.is::<Crash>() => {
                // With the log closed an entry is over, or has not begun.
                let committed = w.recover() && result(&w) != UNANSWERED;
                // An interrupt in service is taken as received; a hypercall is run again if it did not commit.
                if INTERRUPTS.contains(&index) || !committed {
                    assert_eq!(action(&mut w), expected, "action {index} after a crash at {at}");
                } else {
                    assert_eq!(result(&w), 0, "action {index} committed before a crash at {at}");
                }
            }
            Err(payload) => std::panic::resume_unwind(payload),
        }
        assert_eq!(irqs::audit(&w.state.irqs), Ok(()));
        check(&w, index, page.maddr());
    }
    left.get() > at
}

/// What must hold after each action.
fn check(w: &World, index: usize, page: Maddr) {
    let bound = (2..6).contains(&index);
    assert_eq!(w.memory.load64(page), if bound { 1 << 17 } else { 0 });
    assert_eq!(w.state.irqs().port_of(DOM0, 17), bound.then_some(1));
    assert_eq!(route(w, 17).masked, !matches!(index, 2 | 4));
    if bound {
        assert_eq!(pending(w, 1), INTERRUPTS.contains(&index));
    }
    let word = w.state.irqs().route(17).map(|r| r.vector);
    assert_eq!(word.and_then(|vector| w.state.irqs().irq_of(vector)), Some(17));
}

/// Crashes of the tests' own say nothing.
pub(crate) fn quiet_crashes() {
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref::<Crash>().is_none() {
            eprintln!("{info}");
        }
    }));
}

#[test]
fn a_crash_anywhere_loses_no_interrupt() {
    quiet_crashes();
    let steps = (0..).find(|at| !crashed_life(*at)).unwrap();
    assert!(steps > 100, "{steps} steps");
}
