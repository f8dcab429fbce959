//! Why Dom0 cannot be built, one clear line each.

use core::fmt;
use guest_loader::LoadError;
use ids::Mfn;

/// A refusal. `Display` gives one line: what is wrong and what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The kernel is none for a Dom0, or does not fit the memory that Dom0 was given.
    Plan(LoadError),
    /// Dom0 was given more than there is (4 KiB pages).
    NotEnoughFree {
        /// Pages that must be free.
        needed: u64,
        /// Pages that are.
        free: u64,
    },
    /// Fewer than one vCPU, or more than the limit.
    Vcpus {
        /// vCPUs asked for.
        asked: u32,
        /// The limit.
        limit: u32,
    },
    /// The console information is neither absent nor a `dom0_vga_console_info`. Holds its bytes.
    ConsoleInfo(usize),
    /// A frame of the initrd is not kept for it.
    InitrdFrame(Mfn),
    /// The hypervisor's heap is full.
    NoHeap,
    /// What cannot be. Holds what was found.
    Defect(&'static str),
}

impl From<LoadError> for BuildError {
    fn from(error: LoadError) -> Self {
        Self::Plan(error)
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Plan(error) => error.fmt(f),
            Self::NotEnoughFree { needed, free } => write!(
                f,
                "dom0: {} MiB ({needed} pages) must be free, {} MiB ({free} pages) are: \
                 lower dom0_mem or give the machine more memory",
                needed.div_ceil(256),
                free / 256
            ),
            Self::Vcpus { asked, limit } => {
                write!(f, "dom0: {asked} vCPUs asked for, 1 to {limit} can be had: change dom0_max_vcpus")
            }
            Self::ConsoleInfo(len) => write!(
                f,
                "dom0: console information of {len} bytes instead of 40: this is a defect of the hypervisor, \
                 please report it"
            ),
            Self::InitrdFrame(mfn) => write!(
                f,
                "dom0: the initrd's frame {:#x} is not kept for it: this is a defect of the hypervisor, \
                 please report it",
                mfn.0
            ),
            Self::NoHeap => f.write_str(
                "dom0: the hypervisor's heap is full: memory is too fragmented, give dom0_mem a smaller size",
            ),
            Self::Defect(what) => {
                write!(f, "dom0: {what}: this is a defect of the hypervisor, please report it")
            }
        }
    }
}

impl core::error::Error for BuildError {}
