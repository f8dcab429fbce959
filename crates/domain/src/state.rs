//! All durable regions and the locks and derived parts beside them.

use crate::console::{ConsoleInput, InputRing};
use crate::efi::RuntimeServices;
use crate::host::Host;
use crate::memory_map::DomainMap;
use crate::notices::Notices;
use crate::parameters::{Parameter, Parameters, Value};
use crate::pci::PciDevices;
use command_line::LogLevels;
use cpu_policy::Policies;
use frames::Frames;
use guest_memory::GuestMemory;
use ids::CpuId;
use irqs::Irqs;
use pv_mmu::{IoRanges, Mmu, TableLocks};
use timers::Timers;
use vault::{Arena, Durable, LockWord, Log, record};

/// Message-signalled interrupts there is room for: more than there are vectors.
const MSIS: u32 = 192;
/// Pins of I/O APICs that are looked after.
const MAX_GSIS: u32 = 1024;
/// PIRQs beside the pins of I/O APICs that Dom0 gets.
const DOM0_MESSAGES: u32 = 392;

/// Domains that can have physical interrupts at the same time: Dom0, and those that devices are passed through to.
const PIRQ_TABLES: usize = 16;

/// How many of everything there is: fixed at first boot, so that every start carves the same regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Frames of the frame table, from frame 0.
    pub frames: usize,
    /// Domain slots.
    pub domains: usize,
    /// vCPU slots.
    pub vcpus: usize,
    /// CPUs.
    pub cpus: usize,
    /// Chunks of 64 event channel ports.
    pub port_chunks: usize,
}

record! {
    /// What belongs to the machine and to no domain.
    ///
    /// Lock: `Static::machine`. Rebuild: nothing is derived.
    pub struct Machine {
        /// Whether this vault has been set up by a first boot.
        pub booted: Durable<bool>,
        /// Microreboots survived.
        pub generation: Durable<u32>,
        /// The deepest idle state and state within it that the toolstack allows, plus two; 1: any; 0: not
        /// set yet.
        pub deepest: [Durable<u32>; 2],
        /// The toolstack wants threads of busy cores used first.
        pub pack_threads: Durable<bool>,
    }
}

/// Locks that live in the image's variables: derived, all free after a start.
#[derive(Debug, Default)]
pub struct Static {
    /// Of the frame table.
    pub frames: frames::Locks,
    /// Of page tables.
    pub tables: TableLocks,
    /// Of [`Machine`].
    pub machine: LockWord,
    /// Of the console's input.
    pub console: LockWord,
    /// Of grant tables.
    pub grants: grants::Locks,
    /// Of domain and vCPU slots.
    pub domains: domains::Locks,
    /// Of domains' policies.
    pub policies: cpu_policy::domains::Locks,
    /// Of shares, affinity and CPU pools.
    pub sched: LockWord,
    /// Of trace buffers.
    pub traces: LockWord,
}

impl Static {
    /// Free locks.
    pub const fn new() -> Self {
        Self {
            frames: frames::Locks::new(),
            tables: TableLocks::new(),
            machine: LockWord::new(),
            console: LockWord::new(),
            grants: grants::Locks::new(),
            domains: domains::Locks::new(),
            policies: cpu_policy::domains::Locks::new(),
            sched: LockWord::new(),
            traces: LockWord::new(),
        }
    }
}

/// Everything, by region.
pub struct State {
    /// The machine's own record.
    pub machine: &'static Machine,
    /// Its lock.
    pub machine_lock: &'static LockWord,
    /// Parameters that were changed; under the same lock.
    pub parameters: &'static Parameters,
    /// What was typed at the console.
    pub console_input: ConsoleInput,
    /// What was logged about each domain already.
    pub notices: &'static [Notices],
    /// Memory maps, by domain slot.
    pub maps: &'static [DomainMap],
    /// The logs, by CPU.
    pub logs: &'static [Log],
    /// The frame table.
    pub frames: Frames,
    /// Large blocks on their way from the heap to a domain.
    pub staging: frames::Staging,
    /// Domain and vCPU slots.
    pub domains: domains::Region,
    /// Their locks.
    pub domain_locks: &'static domains::Locks,
    /// vCPU contexts.
    pub contexts: pv_cpu::Region,
    /// Extended state of vCPUs that no CPU holds.
    pub extended: pv_cpu::Extended,
    /// Event channels.
    pub events: events::Region,
    /// Their locks and hints.
    pub events_derived: events::Derived,
    /// Deadlines, runstates, the wall clock.
    pub timers: timers::Region,
    /// Their locks and queues.
    pub timers_derived: timers::Derived,
    /// Shares, affinity, CPU pools.
    pub sched: sched::Region,
    /// Trace buffers.
    pub traces: trace_buffers::Region,
    /// Grant tables.
    pub grants: grants::Region,
    /// What domains are shown of the processor. Its `system` is derived: set by every start.
    pub policies: Policies,
    /// Physical interrupts.
    pub irqs: irqs::Region,
    /// Their locks.
    pub irqs_derived: irqs::Derived,
    /// Locks of page tables.
    pub table_locks: &'static TableLocks,
    /// What Dom0 may map of the machine's devices.
    pub io: IoRanges,
    /// Entries 256 to 271 of every root table.
    pub hypervisor_slots: [u64; 16],
    /// What the firmware and the boot loader said.
    pub facts: &'static boot_info::BootFacts,
    /// The firmware's runtime services, where they can be called. Derived: set by every start.
    pub efi: Option<&'static dyn RuntimeServices>,
    /// Writes why the hypervisor failed last as text and says its length. Derived: set by every start.
    pub epitaph: fn(&mut [u8]) -> usize,
    /// The machine's PCI devices, where they can be looked at. Derived: as above.
    pub pci: Option<&'static dyn PciDevices>,
    /// The machine as the toolstack sees it.
    pub host: Host,
}

impl core::fmt::Debug for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "State({:?}, {:?})", self.frames, self.domains)
    }
}

impl State {
    /// Carves all regions, in a fixed order. `None` when the arena is too small.
    pub fn carve(
        arena: &mut Arena,
        limits: Limits,
        locks: &'static Static,
        facts: &'static boot_info::BootFacts,
        mut io: IoRanges,
        hypervisor_slots: [u64; 16],
    ) -> Option<Self> {
        let counts =
            events::Counts { domains: limits.domains, vcpus: limits.vcpus, chunks: limits.port_chunks };
        let events = events::Region::carve(arena, counts)?;
        let machine = arena.carve(1)?.first()?;
        let console_input = ConsoleInput::new(arena.carve::<InputRing>(1)?.first()?, &locks.console);
        let notices = arena.carve(limits.domains)?;
        let maps = arena.carve(limits.domains)?;
        let logs = arena.carve(limits.cpus)?;
        let domains = domains::Region::carve(arena, limits.domains, limits.vcpus)?;
        let contexts = pv_cpu::Region::carve(arena, limits.vcpus)?;
        let frames = Frames::carve(arena, limits.frames, limits.domains, &locks.frames)?;
        let counts = irqs::Counts {
            domains: limits.domains,
            tables: limits.domains.min(PIRQ_TABLES),
            gsis: gsis(facts),
            msis: MSIS,
        };
        let irqs = irqs::Region::carve(arena, counts)?;
        io.guard(irqs.msix_tables);
        let grants =
            grants::Region::carve(arena, limits.domains, limits.vcpus, limits.frames, &locks.grants)?;
        let policies = Policies::carve(arena, limits.domains, &locks.policies)?;
        let timers = timers::Region::carve(arena, limits.vcpus)?;
        let staging = frames::Staging::carve(arena, limits.vcpus)?;
        let sched = sched::Region::carve(arena, limits.cpus, limits.domains, limits.vcpus, &locks.sched)?;
        let extended = pv_cpu::Extended::carve(arena, limits.vcpus, facts.cpu.xsave_bytes)?;
        let traces = trace_buffers::Region::carve(arena, limits.cpus, &locks.traces)?;
        let parameters = arena.carve(1)?.first()?;
        io.show_traces(traces.buffers());
        let cpus = u32::try_from(limits.cpus).ok()?.max(1);
        Some(Self {
            events_derived: events::rebuild(&events),
            events,
            irqs_derived: irqs::rebuild(&irqs),
            // Who schedules says which CPU wakes for whom; it starts with the same rule.
            timers_derived: timers::rebuild(&timers, cpus, |vcpu| CpuId(vcpu.0 % cpus)),
            timers,
            irqs,
            machine,
            machine_lock: &locks.machine,
            parameters,
            console_input,
            notices,
            maps,
            logs,
            domains,
            domain_locks: &locks.domains,
            contexts,
            extended,
            frames,
            staging,
            sched,
            traces,
            grants,
            policies,
            table_locks: &locks.tables,
            io,
            hypervisor_slots,
            facts,
            efi: None,
            epitaph: |_| 0,
            pci: None,
            host: Host::default(),
        })
    }

    /// The event channel logic over `memory`.
    pub fn events<M: GuestMemory>(&'static self, memory: &'static M) -> events::Events<'static, M> {
        events::Events::new(self.events, &self.events_derived, memory)
    }

    /// The logic of deadlines and runstates.
    pub fn timers(&'static self) -> Timers<'static> {
        Timers { region: self.timers, derived: &self.timers_derived }
    }

    /// The interrupt logic.
    pub fn irqs(&'static self) -> Irqs<'static> {
        Irqs { region: self.irqs, derived: &self.irqs_derived }
    }

    /// PIRQ numbers Dom0 gets.
    pub fn dom0_pirqs(&self) -> u32 {
        gsis(self.facts).saturating_add(DOM0_MESSAGES).min(irqs::MAX_PIRQS)
    }

    /// A parameter as it is now.
    pub fn parameter(&self, which: Parameter) -> Value {
        let [levels, guest_levels] = self.host.log_levels;
        let otherwise = match which {
            Parameter::GrantFrames => Value::Number(self.grants.defaults.frames),
            Parameter::MaptrackFrames => Value::Number(self.grants.defaults.maptrack_frames),
            Parameter::LogLevels => Value::Levels(levels),
            Parameter::GuestLogLevels => Value::Levels(guest_levels),
        };
        self.parameters.get(which, otherwise)
    }

    /// The most that the grant table of a new domain may be.
    pub fn grant_limits(&self) -> grants::Limits {
        let number = |which| match self.parameter(which) {
            Value::Number(number) => number,
            Value::Levels(_) => 0,
        };
        grants::Limits {
            frames: number(Parameter::GrantFrames).min(grants::MAX_FRAMES),
            maptrack_frames: number(Parameter::MaptrackFrames),
            version: self.grants.defaults.version,
        }
    }

    /// Which messages are printed: of the hypervisor, about guests.
    pub fn log_levels(&self) -> [LogLevels; 2] {
        [Parameter::LogLevels, Parameter::GuestLogLevels].map(|which| match self.parameter(which) {
            Value::Levels(levels) => levels,
            Value::Number(_) => self.host.log_levels[0],
        })
    }

    /// The page-table logic over `memory`.
    pub fn mmu<'a, M>(&'a self, memory: &'a M) -> Mmu<'a, M> {
        Mmu {
            frames: &self.frames,
            memory,
            locks: self.table_locks,
            io: &self.io,
            hypervisor_slots: &self.hypervisor_slots,
        }
    }
}

/// Global system interrupts of the machine: one behind the last pin of all I/O APICs.
fn gsis(facts: &boot_info::BootFacts) -> u32 {
    let ends = facts.acpi.madt.io_apics.iter().map(|a| a.gsi_base.saturating_add(a.pins));
    ends.max().unwrap_or(0).min(MAX_GSIS)
}
