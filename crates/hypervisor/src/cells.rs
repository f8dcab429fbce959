//! Who has which words of a CPU's data (`percpu::DATA`): offsets in the CPU's block, one list so that no two overlap.
//!
//! State class: kept aside; no image copy holds them.

use machine::percpu::{DATA, DATA_SIZE};

/// The end of the frame in the context of the vCPU whose registers the CPU holds (`guest::stubs`).
pub(crate) const FRAME: u64 = DATA;
/// Where the syscall stubs put RAX aside.
pub(crate) const SCRATCH: u64 = DATA + 0x8;
/// Address of the word that says whether the CPU has to look around (`guest::swift`).
pub(crate) const LOOK: u64 = DATA + 0x10;
/// Where a call of the firmware left the hypervisor (`efi`).
pub(crate) const FIRMWARE_CALL: u64 = DATA + 0x40;
/// The epitaph, in CPU 0's block (`recovery`).
pub(crate) const EPITAPH: u64 = DATA + 0x1000;
/// The stop record (`stop`).
pub(crate) const STOP_RECORD: u64 = DATA + 0x2000;
/// What the CPU handled last (`trace`).
pub(crate) const TRACE: u64 = DATA + 0x3000;
/// Bytes there.
pub(crate) const TRACE_BYTES: u64 = 0x1000;

const _: () = assert!(TRACE + TRACE_BYTES <= DATA + DATA_SIZE);
const _: () = assert!(STOP_RECORD + 0x1000 <= TRACE);
