//! What the toolstack is told of the machine, beyond the facts of boot.

use command_line::LogLevels;

/// Derived: set by every start.
#[derive(Clone, Copy, Default)]
pub struct Host {
    /// Frames of RAM.
    pub ram_frames: u64,
    /// The largest frame number of RAM.
    pub last_frame: u64,
    /// Which release of Xen is shown to guests and tools. Immutable: from the command line.
    pub release: Release,
    /// `loglvl` and `guest_loglvl` of the command line. Immutable.
    pub log_levels: [LogLevels; 2],
    /// The console's log, where there is one.
    pub log: Option<&'static dyn Log>,
}

impl core::fmt::Debug for Host {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Host({} frames)", self.ram_frames)
    }
}

/// A release of Xen that this hypervisor can say it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Release {
    /// Debian 12's.
    #[default]
    V4_17,
    /// Debian 13's.
    V4_20,
}

/// The console's log, by positions that only grow (and wrap around).
pub trait Log: Sync {
    /// Where to begin: at `from` if that is still there, else with the oldest byte.
    fn start(&self, from: Option<u32>) -> u32;
    /// Copies bytes from position `at` on, or from the oldest if those are gone; how many, and the position behind them.
    fn copy(&self, at: u32, out: &mut [u8]) -> (usize, u32);
}
