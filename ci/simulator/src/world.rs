//! The world: what a crash leaves (the vault, memory, the machine) and what it does not (the composition).

use crate::machine::{Cpu, Devices, Machine};
use crate::regions::Regions;
use crate::tlb::Tlb;
use crate::{kernel, pci};
use anyhow::{Context as _, anyhow};
use boot_info::{BootFacts, ConfigSpace, IoApic};
use command_line::Dom0Pages;
use cpu_policy::cpuid::Leaf;
use cpu_policy::xen_leaves::XenLeaves;
use cpu_policy::{Controls, SystemPolicies};
use domain::dom0::{self, Dom0Inputs};
use domain::{Limits, State, Static};
use guest_loader::elf_kernel::ElfKernel;
use guest_memory::GuestMemory as _;
use ids::{CpuId, DomId, DomainSlot, Maddr, Mfn, VcpuSlot};
use pv_mmu::{IoRanges, IoRule};
use std::sync::atomic::Ordering;
use system::{Schedule, System};
use timers::TimeScale;
use vault::Ground;

/// Frames of the machine.
pub(crate) const FRAMES: usize = 1488;
/// Frames below are the hypervisor's.
const FIRST_FREE: u64 = 8;
/// A domain that lies still and lets Dom0 use some of its pages: its slot, number and pages.
pub(crate) const NEIGHBOUR: DomainSlot = DomainSlot(1);
pub(crate) const NEIGHBOUR_ID: u16 = 7;
const NEIGHBOUR_PAGES: u64 = 6;
/// Domain slots: Dom0's, the neighbour's, and of those that come and go.
pub(crate) const DOMAINS: u16 = 4;
/// vCPU slots of those that come and go. None of them ever runs.
pub(crate) const OTHER_VCPUS: u32 = 3;
/// Pages of Dom0: the 4 MiB that are mapped, and some.
const PAGES: u64 = 1024 + 120;
const VAULT_BYTES: usize = 544 << 10;
/// Pins of the I/O APIC.
pub(crate) const GSIS: u32 = 16;
/// Frames of devices, behind RAM.
pub(crate) const DEVICES: core::ops::Range<u64> = FRAMES as u64..FRAMES as u64 + 6;
/// A device's frame that nobody may map.
pub(crate) const FORBIDDEN: u64 = 0xfee00;

/// How large a world is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Processors.
    pub cpus: u32,
    /// vCPUs of Dom0.
    pub vcpus: u32,
}

impl Size {
    /// All slots of vCPUs.
    pub(crate) fn slots(self) -> u32 {
        self.vcpus + OTHER_VCPUS
    }
}

/// A simulated machine with a guest.
#[derive(Debug)]
pub struct World {
    /// How large it is.
    pub size: Size,
    /// The vault's memory.
    pub ground: Ground,
    /// The machine.
    pub machine: &'static Machine,
    /// The composition of this start.
    pub system: &'static System<Machine>,
    facts: &'static BootFacts,
    /// What the words of the vault are.
    pub(crate) regions: Regions,
}

/// What is put back; guest memory has its own base.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The vault.
    pub vault: Vec<u64>,
    /// Processors.
    pub cpus: Vec<Cpu>,
    /// Devices.
    pub devices: Devices,
    /// Whose registers each CPU holds.
    pub loaded: Vec<Option<VcpuSlot>>,
    /// System time.
    pub now: u64,
    /// What processors remember of page tables.
    pub(crate) tlbs: Vec<Tlb>,
}

/// What the machine's processors answer.
fn cpuid(number: u32, _: u32) -> Leaf {
    let leaf = |eax, ebx, ecx, edx| Leaf { eax, ebx, ecx, edx };
    match number {
        0 => leaf(0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
        1 => leaf(0x0080_0f12, 0, 0x7eda_320b, 0x178b_fbff),
        0x8000_0000 => leaf(0x8000_001f, 0, 0, 0),
        0x8000_0001 => leaf(0, 0, 0x0000_01f3, 0x2fd3_fbff),
        0x8000_0008 => leaf(0x3028, 0, 0, 0),
        _ => Leaf::EMPTY,
    }
}

/// CPUs, an I/O APIC, configuration space of PCI devices.
fn facts(cpus: u32) -> BootFacts {
    let mut facts = BootFacts::EMPTY;
    for id in 0..cpus {
        let cpu = boot_info::Cpu { apic_id: id, acpi_id: id, enabled: true, online_capable: false };
        facts.acpi.madt.cpus.push(cpu);
    }
    facts.acpi.madt.io_apics.push(IoApic { id: 9, address: Maddr(0xfec0_0000), gsi_base: 0, pins: GSIS });
    let space = ConfigSpace { address: Maddr(0xb000_0000), segment: 0, first_bus: 0, last_bus: 255 };
    facts.acpi.config_spaces.push(space);
    facts
}

/// Entries 256 to 271 of root tables: an empty table in frame 1.
pub(crate) fn hypervisor_slots() -> [u64; 16] {
    [0x1063; 16]
}

/// The composition over the vault: new locks, all derived state new.
fn compose(
    size: Size,
    ground: Ground,
    machine: &'static Machine,
    facts: &'static BootFacts,
) -> (&'static System<Machine>, Regions) {
    let limits = Limits {
        frames: FRAMES,
        domains: DOMAINS.into(),
        vcpus: size.slots() as usize,
        cpus: size.cpus as usize,
        port_chunks: 6,
    };
    let mut io = IoRanges::new(40);
    assert!(io.add(Mfn(FORBIDDEN), Mfn(FORBIDDEN), IoRule::Forbidden), "room for a range");
    let locks = Box::leak(Box::new(Static::new()));
    let mut arena = ground.arena();
    let mut state = State::carve(&mut arena, limits, locks, facts, io, hypervisor_slots())
        .expect("the vault is large enough");
    state.pci = Some(&pci::Devices);
    state.policies.system = Box::leak(Box::new(SystemPolicies::new(cpuid, &Controls::default())));
    let scale = TimeScale::from_khz(1_000_000).expect("a rate");
    let schedule = Schedule::new(size.cpus, size.slots(), state.sched);
    let system = Box::leak(Box::new(System {
        platform: machine,
        state: Box::leak(Box::new(state)),
        leaves: XenLeaves::default(),
        schedule,
        scale,
    }));
    (system, Regions::new(ground, &arena))
}

impl World {
    /// A machine that has started and built its guest; vCPU 0 is about to run.
    ///
    /// # Errors
    /// The guest could not be built.
    pub fn boot(size: Size) -> anyhow::Result<Self> {
        let facts = Box::leak(Box::new(facts(size.cpus)));
        let ground = Ground::leak(VAULT_BYTES);
        let machine: &Machine =
            Box::leak(Box::new(Machine::new(FRAMES, size.cpus as usize, size.slots() as usize)));
        let (system, regions) = compose(size, ground, machine, facts);
        system.state.table_locks.devices.start();
        let world = Self { size, ground, machine, system, facts, regions };
        world.build()?;
        Ok(world)
    }

    fn build(&self) -> anyhow::Result<()> {
        self.machine.clear_frame(Maddr(0x1000));
        let (system, frames) = (self.system, &self.system.state.frames);
        let mut journal = system.journal_beside();
        journal.log().begin();
        let (first, end) = (Mfn(FIRST_FREE), Mfn(FRAMES as u64));
        journal.change(|tx| frames.reserve_frames(tx, Mfn(0), first));
        let mut at = first;
        while at.0 < end.0 {
            at.0 += journal.change(|tx| frames.seed_frames(tx, at, end));
        }
        at = first;
        while at.0 < end.0 {
            at.0 += journal.change(|tx| frames.seed_block(tx, at, end));
        }
        let file = kernel::file();
        let kernel = ElfKernel::parse(&file).map_err(|e| anyhow!("{e}"))?;
        let notes = kernel.notes().map_err(|e| anyhow!("{e}"))?;
        let inputs = Dom0Inputs {
            kernel: &kernel,
            notes: &notes,
            initrd: None,
            command_line: b"simulated",
            pages: Dom0Pages { initial: PAGES, max: Some(PAGES + 100) },
            vcpus: self.size.vcpus,
            pinned: false,
            now: self.machine.now.get(),
            console_line: Some(4),
            console_info: &[],
        };
        dom0::build(system.state, self.machine, &mut journal, &inputs, &mut |_| ())
            .map_err(|e| anyhow!("{e}"))
            .context("building Dom0")?;
        self.neighbour();
        journal.log().end();
        Ok(())
    }

    /// Makes the neighbour, who grants each page to Dom0 and some to itself, for reading and for writing.
    fn neighbour(&self) {
        let (state, mut journal) = (self.system.state, self.system.journal_beside());
        let record = state.domains.domain(NEIGHBOUR);
        journal.change(|tx| {
            record.set_life(tx, domains::Life::Alive);
            tx.set(&record.id, DomId(NEIGHBOUR_ID));
            state.frames.set_max_pages(tx, NEIGHBOUR, NEIGHBOUR_PAGES);
        });
        let clear = |mfn: Mfn| self.machine.clear_frame(mfn.maddr());
        let grown = journal.transaction(|tx| state.grants.grow_by_one(tx, state.frames, NEIGHBOUR, 1, clear));
        assert_eq!(grown, Ok(true));
        let table = state.grants.frames(NEIGHBOUR).next().expect("a frame").maddr();
        for index in 0..NEIGHBOUR_PAGES {
            let page = journal.transaction(|tx| state.frames.allocate(tx, NEIGHBOUR, 0, 64)).expect("memory");
            for (gref, word) in [
                (2 * index, 1),
                (2 * index + 1, [1 | 4, 2, 1 | u64::from(NEIGHBOUR_ID) << 16][index as usize % 3]),
            ] {
                self.machine.store64(Maddr(table.0 + 8 * gref), word | page.0 << 32);
            }
        }
    }

    /// What a start after a failure does first: everything derived is new.
    pub fn restart(&mut self) {
        self.machine.forget_all();
        self.system = compose(self.size, self.ground, self.machine, self.facts).0;
    }

    /// Whose registers each CPU holds.
    pub fn loaded(&self) -> Vec<Option<VcpuSlot>> {
        (0..self.size.cpus).map(|cpu| self.system.schedule.loaded(CpuId(cpu))).collect()
    }

    /// Says whose registers each CPU holds.
    pub fn keep(&self, loaded: &[Option<VcpuSlot>]) {
        for (cpu, vcpu) in (0..).zip(loaded) {
            if let Some(vcpu) = vcpu {
                self.system.keep(CpuId(cpu), *vcpu);
            }
        }
    }

    /// The words of the vault.
    pub fn vault_words(&self) -> Vec<u64> {
        self.ground.words().iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    /// Keeps everything; memory's base becomes what it is now.
    pub fn save(&self) -> Saved {
        self.machine.memory.set_base();
        self.picture()
    }

    /// Everything but memory.
    pub fn picture(&self) -> Saved {
        Saved {
            vault: self.vault_words(),
            cpus: self.machine.cpus.borrow().clone(),
            devices: self.machine.devices.borrow().clone(),
            loaded: self.loaded(),
            now: self.machine.now.get(),
            tlbs: self.machine.tlbs.borrow().clone(),
        }
    }

    /// Puts everything back, memory to its base; with a new composition if locks may be held.
    pub fn restore(&mut self, saved: &Saved, anew: bool) {
        self.machine.memory.restore();
        self.put_back(saved, anew);
    }

    /// Puts back everything but memory.
    pub fn put_back(&mut self, saved: &Saved, anew: bool) {
        for (word, value) in self.ground.words().iter().zip(&saved.vault) {
            word.store(*value, Ordering::Relaxed);
        }
        self.machine.cpus.borrow_mut().clone_from(&saved.cpus);
        self.machine.devices.borrow_mut().clone_from(&saved.devices);
        self.machine.now.set(saved.now);
        self.machine.tlbs.borrow_mut().clone_from(&saved.tlbs);
        if anew {
            self.restart();
        }
        self.keep(&saved.loaded);
    }
}
