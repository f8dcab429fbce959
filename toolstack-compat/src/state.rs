//! Requests of `domctl` about a domain's whole state, for it to be saved, given back, or looked at, whatever the release.
//! Buffers are guest addresses.

use crate::processor::Records;

/// What the toolstack asks of a domain's state, or gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateRequest {
    /// What frames are used as.
    Frames {
        /// For 64-bit words: frame numbers, and what is said of them.
        frames: Words,
    },
    /// The notes of which frames are written to, and other work of a shadow.
    Shadow(Shadow),
    /// Entry points of a vCPU that its context has no room for.
    Entries {
        /// Its number.
        vcpu: u32,
    },
    /// Other ones for it; none: too little was given.
    SetEntries {
        /// Its number.
        vcpu: u32,
        /// They.
        entries: Option<Entries>,
    },
    /// A vCPU's extended state.
    Extended {
        /// Its number.
        vcpu: u32,
        /// The components that the caller thinks there are.
        known: u64,
        /// For it; nowhere: the size is wanted that it has at most.
        bytes: Bytes,
    },
    /// A vCPU gets an extended state.
    SetExtended {
        /// Its number.
        vcpu: u32,
        /// It.
        bytes: Bytes,
    },
    /// A vCPU's model-specific registers.
    Registers {
        /// Its number.
        vcpu: u32,
        /// For them.
        list: Records,
    },
    /// A vCPU's model-specific registers change.
    SetRegisters {
        /// Its number.
        vcpu: u32,
        /// They.
        list: Records,
    },
}

/// 64-bit words in the caller's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// Guest address of the first.
    pub at: u64,
    /// How many.
    pub count: u64,
}

/// Bytes in the caller's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// Guest address of the first.
    pub at: u64,
    /// How many.
    pub count: u64,
}

/// What is asked of a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shadow {
    /// To begin notes of which frames are written to.
    Note,
    /// To end them, and all else.
    Off,
    /// To show the notes; whether the request has unknown parts.
    Show {
        /// It has.
        unknown: bool,
    },
    /// Something else.
    Other,
}

/// Entry points for system calls of processes that have no 64-bit code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entries {
    /// For `syscall` of 32-bit code.
    pub syscall32: Entry,
    /// For `sysenter`.
    pub sysenter: Entry,
    /// What the vCPU is shown of the machine-check architecture; none: not given.
    pub machine_check: Option<MachineCheck>,
}

/// An entry point of a guest's kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its address.
    pub address: u64,
    /// Whether events are masked on entry.
    pub mask: bool,
}

/// The virtual machine-check architecture of a vCPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineCheck {
    /// MCG_CAP.
    pub capabilities: u64,
    /// MC0_CTL2 and MC1_CTL2; none: not given.
    pub banks: Option<[u64; 2]>,
}

/// A model-specific register of a vCPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register {
    /// Its number.
    pub index: u32,
    /// Its value.
    pub value: u64,
    /// The record says something that is not known.
    pub unknown: bool,
}

/// What happens to a domain from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// An NMI.
    Nmi,
    /// A button of its firmware's: for domains that have one.
    Button,
    /// Nothing that there is.
    Unknown,
}
