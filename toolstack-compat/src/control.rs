//! Requests of `sysctl` and `domctl`, whatever the release. Buffers are guest addresses.

use crate::change::{Change, Changed};
use crate::processor::ProcessorRequest;
use crate::state::{StateRequest, Trigger};
use crate::tools::ToolRequest;

/// A bitmap in the caller's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bitmap {
    /// Guest address of its bytes.
    pub bytes: u64,
    /// How many bits there are.
    pub bits: u32,
}

/// What the toolstack asks of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineRequest {
    /// The console's log.
    Log {
        /// Forget what was read.
        clear: bool,
        /// Where to begin; none: with the oldest byte there is.
        from: Option<u32>,
        /// The buffer.
        buffer: u64,
        /// Its bytes.
        count: u32,
    },
    /// CPUs and memory.
    Machine,
    /// Which scheduler there is.
    Scheduler,
    /// Domains by number.
    Domains {
        /// The first number.
        first: u16,
        /// How many at most.
        most: u32,
        /// For [`DomainInfo`] records, as the release has them.
        buffer: u64,
    },
    /// Where CPUs are.
    CpuPlaces {
        /// Elements there is room for.
        count: u32,
        /// For [`CpuPlace`] records; 0: none wanted.
        places: u64,
    },
    /// NUMA nodes.
    Nodes {
        /// Elements there is room for.
        count: u32,
        /// For [`NodeMemory`] records; 0: none wanted.
        memory: u64,
        /// For the matrix of distances, 32 bits each; 0: not wanted.
        distances: u64,
    },
    /// Where PCI devices are.
    PciPlaces {
        /// Elements of the arrays.
        count: u32,
        /// Segment, bus, and device and function of each: 16, 8 and 8 bits.
        devices: u64,
        /// For their NUMA nodes' numbers, 32 bits each.
        nodes: u64,
    },
    /// Free memory.
    FreeMemory {
        /// Widths of addresses, least and largest; 0: any.
        widths: [u32; 2],
        /// Of which NUMA node; -1: all.
        node: i32,
    },
    /// The first CPU pool with this number or a larger one.
    Pool {
        /// The number.
        id: u32,
        /// For its CPUs.
        cpus: Bitmap,
    },
    /// Parameters of a pool's scheduler.
    PoolParameters {
        /// The pool.
        pool: u32,
        /// The scheduler that is meant.
        scheduler: u32,
    },
    /// Other parameters for it.
    SetPoolParameters {
        /// The pool.
        pool: u32,
        /// The scheduler that is meant.
        scheduler: u32,
        /// The shortest turn, µs; 0: any.
        shortest_turn: u32,
    },
    /// A pool is to change.
    PoolChange {
        /// Its number; none: to be found.
        pool: Option<u32>,
        /// What is to change.
        change: PoolChange,
    },
    /// How long CPUs were idle.
    IdleTimes {
        /// CPUs there is room for.
        most: u32,
        /// For ns, 64 bits each.
        buffer: u64,
    },
    /// CPUs in no pool.
    LooseCpus {
        /// For them.
        cpus: Bitmap,
    },
    /// About processors.
    Processor(ProcessorRequest),
    /// Of tools beside `xl`.
    Tool(ToolRequest),
    /// A request that this hypervisor has no part for.
    Other {
        /// Its number.
        command: u32,
    },
}

/// What is to change of a CPU pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolChange {
    /// It is made, for this scheduler.
    Create {
        /// One of `XEN_SCHEDULER_*`.
        scheduler: u32,
    },
    /// It ends.
    Destroy,
    /// It gets a CPU.
    AddCpu {
        /// Which one; none: any that is free.
        cpu: Option<u32>,
    },
    /// It loses a CPU.
    RemoveCpu {
        /// Which one; none: its last.
        cpu: Option<u32>,
    },
    /// It gets a domain.
    MoveDomain {
        /// The domain's number.
        domain: u32,
    },
}

/// What it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineAnswer {
    /// Of [`MachineRequest::Log`].
    Log {
        /// Where to go on.
        next: u32,
        /// Bytes written.
        count: u32,
    },
    /// Of [`MachineRequest::Machine`].
    Machine(Machine),
    /// Of [`MachineRequest::Scheduler`]: one of `XEN_SCHEDULER_*`.
    Scheduler {
        /// Its number.
        id: u32,
    },
    /// How many elements were written, or there are.
    Count(u32),
    /// Of [`MachineRequest::FreeMemory`].
    FreeMemory {
        /// Bytes.
        bytes: u64,
    },
    /// Of [`MachineRequest::Pool`].
    Pool {
        /// Its number.
        id: u32,
        /// Its scheduler.
        scheduler: u32,
        /// Domains in it.
        domains: u32,
    },
    /// Of [`PoolChange::Create`].
    PoolMade {
        /// Its number.
        id: u32,
    },
    /// Of [`MachineRequest::PoolParameters`].
    PoolParameters {
        /// The shortest turn, µs; 0: any.
        shortest_turn: u32,
    },
    /// Nothing but what was written to buffers.
    None,
}

/// CPUs and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Threads of a core.
    pub threads_per_core: u32,
    /// Cores of a socket.
    pub cores_per_socket: u32,
    /// CPUs, all online.
    pub cpus: u32,
    /// Frequency of the TSC, kHz.
    pub khz: u32,
    /// Whether there are grant tables of version 2.
    pub grants_v2: bool,
    /// Frames of RAM.
    pub frames: u64,
    /// Those that are free.
    pub free: u64,
    /// Those of them that are promised to domains.
    pub claimed: u64,
    /// The largest frame number.
    pub last_frame: u64,
    /// CPU features, in the order of Xen's feature sets.
    pub features: [u32; 8],
}

/// Where a CPU is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuPlace {
    /// Its core.
    pub core: u32,
    /// Its socket.
    pub socket: u32,
}

/// Bytes of a NUMA node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeMemory {
    /// All.
    pub bytes: u64,
    /// Free.
    pub free: u64,
}

/// A domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its number.
    pub id: u16,
    /// Why it has shut down (`SHUTDOWN_*`), if it has.
    pub shutdown: Option<u32>,
    /// The toolstack has paused it.
    pub paused: bool,
    /// It is destroyed, and others hold frames of its.
    pub dying: bool,
    /// No vCPU of it that is up wants a CPU.
    pub blocked: bool,
    /// One has a CPU.
    pub running: bool,
    /// Frames it has.
    pub frames: u64,
    /// The most it may have.
    pub most_frames: u64,
    /// Free frames that are promised to it.
    pub claimed: u64,
    /// Frame of its shared_info page.
    pub shared_info: u64,
    /// Time its vCPUs ran, ns.
    pub cpu_time: u64,
    /// vCPUs that are up.
    pub vcpus_up: u32,
    /// vCPUs it has.
    pub vcpus: u32,
    /// Its handle.
    pub handle: [u8; 16],
    /// Width of its addresses.
    pub address_bits: u8,
    /// It is the hardware domain.
    pub hardware: bool,
    /// Its CPU pool.
    pub pool: u32,
}

/// What the toolstack asks of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainRequest {
    /// What there is to know of the first one with this number or a larger one.
    Info,
    /// A vCPU.
    Vcpu {
        /// Its number.
        vcpu: u32,
    },
    /// Which CPUs a vCPU may run on.
    Affinity {
        /// Its number.
        vcpu: u32,
        /// For those that it may run on.
        hard: Option<Bitmap>,
        /// For those that it had better run on.
        soft: Option<Bitmap>,
    },
    /// Other CPUs for a vCPU.
    SetAffinity {
        /// Its number.
        vcpu: u32,
        /// It need not stay where it wanted to for the time being.
        force: bool,
        /// Those that it may run on; and for those of them that count.
        hard: Option<Bitmap>,
        /// Those that it had better run on; and for those of them that count.
        soft: Option<Bitmap>,
    },
    /// Which NUMA nodes its memory had better come from.
    Nodes {
        /// For them.
        nodes: Bitmap,
    },
    /// Other nodes.
    SetNodes {
        /// They.
        nodes: Bitmap,
    },
    /// Another share of CPUs.
    SetShare {
        /// The scheduler that is meant.
        scheduler: u32,
        /// Beside those of others; 0: as it is.
        weight: u16,
        /// The most that it gets, %; 0: all.
        cap: u16,
    },
    /// Its share of CPUs.
    Share {
        /// The scheduler that is meant.
        scheduler: u32,
    },
    /// A button of it is pressed, or a vCPU gets an NMI.
    Trigger {
        /// Which.
        trigger: Trigger,
        /// The vCPU.
        vcpu: u32,
    },
    /// Something is to become of it.
    Change(Change),
    /// Something about its state as a whole.
    State(StateRequest),
    /// Its policy of the processor.
    Policy,
    /// It gets one.
    SetPolicy,
    /// A request that this hypervisor has no part for.
    Other {
        /// Its number.
        command: u32,
    },
}

/// What it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainAnswer {
    /// Of [`DomainRequest::Info`].
    Info(DomainInfo),
    /// Of [`DomainRequest::Vcpu`].
    Vcpu {
        /// Up.
        online: bool,
        /// Waits for an event.
        blocked: bool,
        /// Has a CPU.
        running: bool,
        /// Time it ran, ns.
        cpu_time: u64,
        /// Its CPU, or the last one.
        cpu: u32,
    },
    /// Of [`DomainRequest::Share`].
    Share {
        /// Beside those of others.
        weight: u16,
        /// The most that it gets, %; 0: all.
        cap: u16,
    },
    /// Of [`DomainRequest::Change`].
    Changed(Changed),
    /// Nothing but what was written to buffers.
    None,
}
