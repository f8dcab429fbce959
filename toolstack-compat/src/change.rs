//! Requests of `domctl` by which a domain is made, changed and ended, whatever the release.

/// A domain that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewDomain {
    /// Its handle.
    pub handle: [u8; 16],
    /// What it is to have that not every hypervisor and machine has.
    pub wants: Wants,
    /// vCPUs it may have.
    pub vcpus: u32,
    /// Its highest event channel port.
    pub highest_port: u32,
    /// Frames of its grant table at most; none: the default.
    pub grant_frames: Option<u32>,
    /// Frames for its mappings of others' grants at most; none: the default.
    pub maptrack_frames: Option<u32>,
    /// The largest version of its grant table.
    pub grant_version: u32,
    /// Bytes of each vCPU's trace buffer.
    pub trace_bytes: u32,
    /// Its CPU pool.
    pub pool: u32,
    /// Devices that the hypervisor is to emulate for it (`XEN_X86_EMU_*`).
    pub emulated: u32,
}

/// Features of a domain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wants {
    /// Hardware virtualisation.
    pub hvm: bool,
    /// Paging by the hardware.
    pub hap: bool,
    /// The IOMMU, or options of it.
    pub iommu: bool,
    /// To be a hypervisor.
    pub nested: bool,
    /// Performance counters.
    pub counters: bool,
}

/// How a domain sees the TSC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TscInfo {
    /// `TSC_MODE_*`: 0 default, 1 always emulated, 2 never.
    pub mode: u32,
    /// The frequency that it sees, kHz.
    pub khz: u32,
    /// How often it has been moved.
    pub incarnation: u32,
    /// Its age, ns.
    pub elapsed: u64,
}

/// What is to become of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is made, paused, with this number if that is one.
    Create {
        /// The number.
        id: u16,
        /// What it is to be.
        new: NewDomain,
    },
    /// It gets all its vCPUs.
    Vcpus {
        /// So many.
        count: u32,
    },
    /// The most memory it may have.
    Memory {
        /// KiB.
        kib: u64,
    },
    /// It stops.
    Pause,
    /// It goes on.
    Unpause,
    /// It goes on after it has shut down.
    Resume,
    /// It is no more.
    Destroy,
    /// A vCPU gets its state.
    SetContext {
        /// Its number.
        vcpu: u32,
        /// Guest address of a `vcpu_guest_context`.
        at: u64,
    },
    /// A vCPU's state.
    Context {
        /// Its number.
        vcpu: u32,
        /// Guest address for a `vcpu_guest_context`.
        at: u64,
    },
    /// It gets another handle.
    Handle([u8; 16]),
    /// A frame of its becomes a hypercall page.
    HypercallPage {
        /// The frame.
        frame: u64,
    },
    /// Its addresses have this width.
    SetWidth {
        /// Bits.
        bits: u32,
    },
    /// How wide its addresses are.
    Width,
    /// How it is to see the TSC.
    SetTsc(TscInfo),
    /// How it sees the TSC.
    Tsc,
    /// When it has suspended it says so by an event channel, not by `VIRQ_DOM_EXC`.
    Subscribe {
        /// Its port; 0: none.
        port: u32,
    },
}

/// What is said to a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Nothing more.
    Done,
    /// The number of a new domain.
    Created(u16),
    /// Bits of its addresses.
    Width(u32),
    /// How it sees the TSC.
    Tsc(TscInfo),
}
