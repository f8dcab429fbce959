//! Requests of `sysctl` by tools beside `xl`, whatever the release. Buffers are guest addresses.

use crate::control::Bitmap;

/// What a tool asks of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolRequest {
    /// Debug keys are pressed.
    Keys {
        /// Where they stand, a byte each.
        at: u64,
        /// How many.
        count: u32,
    },
    /// Statistics of a CPU's power states.
    Statistics {
        /// Which ones; none: there are no such ones.
        of: Option<States>,
        /// The CPU.
        cpu: u32,
    },
    /// Settings of power management.
    Power {
        /// Which one.
        setting: PowerSetting,
        /// The CPU, or which limit is meant.
        cpu: u32,
    },
    /// A CPU comes or goes.
    Hotplug {
        /// What is to happen.
        change: Hotplug,
    },
    /// Patches of the running hypervisor.
    Patches {
        /// What is asked.
        patches: Patches,
    },
    /// Monitoring of caches and memory bandwidth.
    CacheMonitor,
    /// Their allocation.
    CacheAllocation,
    /// What of the code was run.
    Coverage,
    /// Trace buffers.
    Traces(TraceRequest),
}

/// About trace buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceRequest {
    /// What there is.
    Info,
    /// Only what happens on these CPUs is noted.
    Cpus(Bitmap),
    /// Only these events are noted: bits of `TRC_*`.
    Events(u32),
    /// Buffers are made, of so many frames each.
    Make(u32),
    /// Events are noted from now on, or no more.
    Note(bool),
    /// There is no such request.
    Unknown,
}

/// Power states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum States {
    /// Frequencies.
    Frequency,
    /// How many idle states there are.
    CountIdle,
    /// Idle states, the working one included.
    Idle {
        /// How many there is room for.
        room: u32,
        /// For how often the CPU entered each, 64 bits each.
        entered: u64,
        /// For how long it was there, ns, 64 bits each.
        spent: u64,
    },
    /// Something else about idle states.
    OtherIdle,
}

/// A setting of power management.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerSetting {
    /// About frequencies.
    Frequency,
    /// The scheduler prefers threads of busy cores.
    PackThreads(bool),
    /// The deepest idle state.
    Deepest,
    /// Another one; none: any.
    SetDeepest(Option<u32>),
    /// Turbo mode.
    Turbo,
    /// There is none of that number.
    Unknown,
}

/// What becomes of a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hotplug {
    /// It comes.
    Up(u32),
    /// It goes.
    Down(u32),
    /// There is no such change, or none is possible.
    Other,
}

/// About patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patches {
    /// A list from this one on, with room for so many.
    List {
        /// The first.
        first: u32,
        /// Room.
        room: u32,
    },
    /// One is brought.
    Upload,
    /// One is looked for.
    Find,
    /// There is no such request.
    Unknown,
}
