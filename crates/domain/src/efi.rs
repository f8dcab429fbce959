//! What handlers need of the firmware's runtime services (UEFI specification 2.10, 8).

use xen_abi::platform::{XenpfEfiGuid, XenpfEfiTime};

/// A call of a service, with the places for its results.
#[derive(Debug)]
pub enum RuntimeCall<'a> {
    /// `GetTime`.
    GetTime {
        /// The time.
        time: &'a mut XenpfEfiTime,
        /// Resolution in Hz, accuracy in 10^-12, and in the lowest byte whether setting clears what is below a second.
        capabilities: &'a mut [u32; 3],
    },
    /// `SetTime`.
    SetTime(&'a XenpfEfiTime),
    /// `GetWakeupTime`.
    GetWakeupTime {
        /// Whether the alarm is on.
        enabled: &'a mut u8,
        /// Whether it is due.
        pending: &'a mut u8,
        /// When.
        time: &'a mut XenpfEfiTime,
    },
    /// `SetWakeupTime`.
    SetWakeupTime {
        /// Switch it on.
        enable: bool,
        /// When; none leaves the time alone.
        time: Option<&'a XenpfEfiTime>,
    },
    /// `GetNextHighMonotonicCount`.
    NextHighMonotonicCount(&'a mut u32),
    /// `GetVariable`.
    GetVariable {
        /// Its name, UTF-16 with a zero at the end.
        name: &'a [u16],
        /// Whose it is.
        vendor: &'a XenpfEfiGuid,
        /// Its attributes.
        attributes: &'a mut u32,
        /// Its bytes.
        size: &'a mut u64,
        /// They go here.
        data: &'a mut [u8],
    },
    /// `SetVariable`.
    SetVariable {
        /// Its name, UTF-16 with a zero at the end.
        name: &'a [u16],
        /// Whose it is.
        vendor: &'a XenpfEfiGuid,
        /// Its attributes.
        attributes: u32,
        /// The data.
        data: &'a [u8],
    },
    /// `GetNextVariableName`.
    NextVariableName {
        /// A name, and the next one's; UTF-16 with a zero at the end.
        name: &'a mut [u16],
        /// Bytes of the next one.
        size: &'a mut u64,
        /// Whose it is.
        vendor: &'a mut XenpfEfiGuid,
    },
    /// `QueryVariableInfo`.
    QueryVariableInfo {
        /// Of variables with these attributes.
        attributes: u32,
        /// Bytes of room in all, left, and for one variable.
        sizes: &'a mut [u64; 3],
    },
}

/// The services cannot be called: they are not there, or failed in an earlier call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// The firmware's services. A call may be made again after a crash: those that set something set it twice.
pub trait RuntimeServices: Sync + core::fmt::Debug {
    /// Makes a call; the answer is its `EFI_STATUS`.
    ///
    /// # Errors
    /// See [`Unavailable`].
    fn call(&self, call: RuntimeCall<'_>) -> Result<u64, Unavailable>;
}
