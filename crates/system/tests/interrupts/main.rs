//! A device's interrupt, from a guest, from the idle loop and found in service by recovery; each with a crash at
//! every durable step, at every programming of a route and at the end of interrupt.

use boot_info::{BootFacts, IoApic};
use cpu_policy::xen_leaves::XenLeaves;
use domain::{Limits, State, Static};
use domains::Life;
use events::NewDomain;
use guest_memory::{FakeMemory, GuestMemory as _};

use ids::{CpuId, DomId, DomainSlot, Maddr, Mfn, VcpuId, VcpuSlot};
use irqs::{Polarity, Source, Trigger};
use machine::Machine;
use pv_cpu::vector;
use pv_mmu::IoRanges;
use std::cell::{Cell, RefCell};
use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{LazyLock, Mutex};
use system::{Platform as _, Schedule, Stopped, System, own_vector};
use timers::TimeScale;
use vault::{Apply, Effect, Ground, Journal, Once, step};
use xen_abi::xen::{ArchSharedInfo, SharedInfo};

mod flushes;
mod machine;
mod ordinary;

const SLOT: DomainSlot = DomainSlot(0);
const VCPU: VcpuSlot = VcpuSlot(0);
const GSI: u32 = 17;

fn facts() -> &'static BootFacts {
    static FACTS: LazyLock<BootFacts> = LazyLock::new(|| {
        let mut facts = BootFacts::EMPTY;
        let pins = IoApic { id: 0, address: Maddr(0xfec0_0000), gsi_base: 0, pins: 24 };
        facts.acpi.madt.io_apics.push(pins);
        facts
    });
    &FACTS
}

/// What every start makes of vault and machine.
fn compose(vault: Ground, machine: &'static Machine) -> &'static System<Machine> {
    let mut arena = vault.arena();
    let limits = Limits { frames: 64, domains: 2, vcpus: 3, cpus: 4, port_chunks: 4 };
    let locks: &'static Static = Box::leak(Box::new(Static::new()));
    let mut state = State::carve(&mut arena, limits, locks, facts(), IoRanges::new(40), [0; 16]).unwrap();
    state.policies.system = ordinary::policies();
    let state: &'static State = Box::leak(Box::new(state));
    *machine.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(state);
    let schedule = Schedule::new(4, 3, state.sched);
    schedule.keep(CpuId(0), VCPU);
    Box::leak(Box::new(System {
        platform: machine,
        state,
        leaves: XenLeaves::default(),
        schedule,
        scale: TimeScale::from_khz(1_000_000).unwrap(),
    }))
}

/// Applies the effects of setting up.
struct SetUp(&'static System<Machine>);

impl Apply for SetUp {
    fn apply(&mut self, effect: &Effect, _: &mut Once<'_, '_>) {
        if effect.kind == vault::kind::IRQ_ROUTE {
            self.0.platform.program_route(effect.x);
        }
    }
}

struct World {
    vault: Ground,
    machine: &'static Machine,
    system: &'static System<Machine>,
}

impl World {
    /// A level-triggered pin, bound to port 1 of a domain with one vCPU.
    fn new() -> Self {
        let vault = Ground::leak(8 << 16);
        let (memory, hardware) = (FakeMemory::new(64), Mutex::default());
        let machine: &'static Machine = Box::leak(Box::new(Machine {
            memory,
            hardware,
            asked: Mutex::default(),
            state: Mutex::new(None),
        }));
        let system = compose(vault, machine);
        let (state, events, irqs) = (system.state, system.state.events(machine), system.state.irqs());
        let mut j = Journal::new(&state.logs[0], SetUp(system), u32::MAX);
        j.log().begin();
        let new = NewDomain {
            domid: DomId(0),
            first_vcpu: VCPU,
            max_vcpus: 1,
            max_port: 1023,
            shared_info: Maddr(0x8000),
        };
        j.change(|tx| {
            tx.set(&state.domains.domain(SLOT).vcpus, 1);
            tx.set(&state.domains.domain(SLOT).shared_info, Mfn(8));
            state.domains.domain(SLOT).set_life(tx, Life::Alive);
            tx.set(&state.domains.vcpu(VCPU).id, VcpuId(0));
            events.create_domain(tx, SLOT, &new).unwrap();
            irqs.create_domain(tx, SLOT, 64).unwrap();
        });
        j.change(|tx| events.create_vcpu(tx, SLOT, 0)).unwrap();
        j.change(|tx| irqs.setup_gsi(tx, GSI, Trigger::Level, Polarity::Low, 0)).unwrap();
        j.change(|tx| irqs.map_pirq(tx, SLOT, Source::Gsi(GSI), Some(GSI), 0)).unwrap();
        j.change(|tx| {
            assert_eq!(events.bind_pirq(tx, SLOT, GSI), Ok(1));
            irqs.bind(tx, SLOT, GSI, 1, true).unwrap();
        });
        j.log().end();
        assert!(!machine.hardware().masked);
        Self { vault, machine, system }
    }

    fn vector(&self) -> u8 {
        self.system.state.irqs().route(GSI).unwrap().vector
    }

    /// The local APIC has given `vector` to the CPU.
    fn arrives(&self, vector: u8) {
        self.machine.hardware().in_service = Some(vector);
    }

    /// The same in a guest: the stub has filled the frame.
    fn arrives_in_guest(&self, vector: u8) {
        self.arrives(vector);
        self.system.state.contexts.context(VCPU).registers.vector.set(vector.into());
    }

    fn recover(&mut self) {
        self.system = compose(self.vault, self.machine);
        let stopped = Stopped { cpu: CpuId(0), loaded: Some(VCPU), lost: false };
        self.system.repair([stopped].into_iter(), |_, _| {});
        self.system.restore_routes();
        let in_service = self.machine.hardware().in_service;
        self.system.recover_interrupts(in_service.into_iter());
        self.system.resume(VCPU);
    }

    /// It was delivered, is masked and ended, and the entry is over.
    fn assert_taken(&self) {
        let events = self.system.state.events(self.machine);
        assert_eq!(events.is_pending(SLOT, 1), Ok(true));
        let hardware = *self.machine.hardware();
        assert!(hardware.masked && hardware.in_service.is_none(), "{hardware:?}");
        assert_eq!(irqs::audit(&self.system.state.irqs), Ok(()));
        assert!(self.system.state.irqs().binding(GSI).unwrap().awaiting);
        assert_eq!(self.system.state.logs[0].head(), vault::Head::IDLE);
    }
}

struct Crash;

/// Runs `f`, crashing at its durable step `at`; whether it did.
fn crashes(at: u64, f: impl FnOnce()) -> bool {
    thread_local!(static QUIET: RefCell<bool> = const { RefCell::new(false) });
    if !QUIET.with(|quiet| quiet.replace(true)) {
        std::panic::set_hook(Box::new(|info| {
            if info.payload().downcast_ref::<Crash>().is_none() {
                eprintln!("{info}");
            }
        }));
    }
    let left = Rc::new(Cell::new(at));
    step::arm(move || match left.get() {
        0 => {
            left.set(u64::MAX);
            std::panic::panic_any(Crash);
        }
        more => left.set(more - 1),
    });
    let done = catch_unwind(AssertUnwindSafe(f));
    step::disarm();
    match done {
        Ok(()) => false,
        Err(payload) if payload.is::<Crash>() => true,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

/// Crashes at every step of an interrupt that `arrives` and that `entry` handles.
fn loses_nothing(arrives: impl Fn(&mut World, u8), entry: impl Fn(&World, u8)) {
    let steps = (0..)
        .find(|at| {
            let mut w = World::new();
            let vector = w.vector();
            arrives(&mut w, vector);
            let crashed = crashes(*at, || entry(&w, vector));
            if crashed {
                w.recover();
            }
            w.assert_taken();
            !crashed
        })
        .unwrap();
    assert!(steps > 10, "{steps} steps");
}

#[test]
fn a_crash_in_a_guests_interrupt_loses_nothing() {
    let enter = |w: &World, _| w.system.enter(VCPU, w.system.state.contexts.context(VCPU));
    loses_nothing(|w, vector| w.arrives_in_guest(vector), enter);
}

#[test]
fn a_crash_in_the_idle_loops_interrupt_loses_nothing() {
    let arrives = |w: &mut World, vector| {
        w.system.state.contexts.context(VCPU).registers.vector.set(vector::NONE);
        w.arrives(vector);
    };
    loses_nothing(arrives, |w, vector| w.system.interrupt(vector));
}

#[test]
fn a_second_crash_in_recovery_loses_nothing() {
    for first in 0..64 {
        let done = (0..)
            .find(|second| {
                let mut w = World::new();
                let vector = w.vector();
                w.arrives_in_guest(vector);
                if !crashes(first, || w.system.enter(VCPU, w.system.state.contexts.context(VCPU))) {
                    return true;
                }
                let crashed = crashes(*second, || w.recover());
                if crashed {
                    w.recover();
                }
                w.assert_taken();
                !crashed
            })
            .unwrap();
        if done == 0 {
            return;
        }
    }
    panic!("an interrupt has fewer steps");
}

/// An NMI of the machine, told from a guest and from the idle loop, with a crash at every step.
#[test]
fn a_crash_while_dom0_is_told_of_an_nmi_loses_none() {
    let at = Maddr(0x8000 + (offset_of!(SharedInfo, arch) + offset_of!(ArchSharedInfo, nmi_reason)) as u64);
    for in_guest in [true, false] {
        let steps = (0..).find(|step| {
            let mut w = World::new();
            w.machine.hardware().nmi_reasons = 2;
            // What came before stays shown.
            w.machine.memory.store8(at, 1);
            w.arrives(own_vector::NMI);
            let context = w.system.state.contexts.context(VCPU);
            context.registers.vector.set(if in_guest { own_vector::NMI.into() } else { vector::NONE });
            let crashed = crashes(*step, || match in_guest {
                true => w.system.enter(VCPU, context),
                false => w.system.interrupt(own_vector::NMI),
            });
            if crashed {
                w.recover();
                if w.machine.hardware().nmi_reasons != 0 {
                    // The new life announces it again.
                    w.system.interrupt(own_vector::NMI);
                }
            }
            let record = w.system.state.domains.vcpu(VCPU);
            assert_eq!((w.machine.memory.load8(at), record.nmi_pending.get()), (3, true), "step {step}");
            let hardware = *w.machine.hardware();
            assert_eq!((hardware.nmi_reasons, hardware.in_service), (0, None));
            assert_eq!(w.system.state.logs[0].head(), vault::Head::IDLE);
            !crashed
        });
        assert!(steps > Some(8), "{steps:?} steps");
    }
}

#[test]
fn the_hypervisors_own_vectors_are_ended() {
    let w = World::new();
    w.arrives(own_vector::TIMER);
    w.system.interrupt(own_vector::TIMER);
    assert!(w.machine.hardware().in_service.is_none());
    w.system.interrupt(own_vector::SPURIOUS);
    assert_eq!(w.system.state.logs[0].head(), vault::Head::IDLE);
    let events = w.system.state.events(w.machine);
    assert_eq!(events.is_pending(SLOT, 1), Ok(false));
}
