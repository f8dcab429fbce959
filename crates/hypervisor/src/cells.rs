//! Who has which words of a CPU's data (`percpu::DATA`) and of its entry page (`percpu::ENTRY`): offsets in the CPU's
//! block, one list so that no two overlap.
//!
//! State class: kept aside; no image copy holds them. Those of the entry page are mapped while an isolated guest runs:
//! nothing there may be a secret.

use machine::isolation::WAYS;
use machine::percpu::{DATA, DATA_SIZE, ENTRY, ENTRY_TOP};

/// The end of the frame in the context of the vCPU whose registers the CPU holds (`guest::stubs`).
pub(crate) const FRAME: u64 = ENTRY;
/// Where the syscall stubs put RAX aside.
pub(crate) const SCRATCH: u64 = ENTRY + 0x8;
/// What an entry from the guest loads into CR3; 0: nothing (`guest::guarded`).
pub(crate) const HOST_ROOT: u64 = ENTRY + 0x10;
/// What the way back to the guest loads into CR3; 0: nothing.
pub(crate) const GUEST_ROOT: u64 = ENTRY + 0x18;
/// Two roots of the guest's, used last in kernel and in user mode, for which there are isolated ones; 0: none.
pub(crate) const COPIED: u64 = ENTRY + 0x20;
/// Those isolated roots.
pub(crate) const ROOTS: u64 = ENTRY + 0x30;
/// What entries and exits do besides (`guest::guarded::Guards`).
pub(crate) const GUARDS: u64 = ENTRY + 0x40;
/// A data selector, for VERW.
pub(crate) const SELECTOR: u64 = ENTRY + 0x48;
/// Values of SPEC_CTRL: in the hypervisor, in guests.
pub(crate) const SPEC_CTRL: u64 = ENTRY + 0x50;
/// Address of the word that says whether the CPU has to look around (`guest::swift`).
pub(crate) const LOOK: u64 = DATA;
/// Where a call of the firmware left the hypervisor (`efi`).
pub(crate) const FIRMWARE_CALL: u64 = DATA + 0x40;
/// Where the frame of a fault or interrupt of the hypervisor lies that is being handled on its main stack; 0: none
/// (`stop::place`).
pub(crate) const HOST_FRAME: u64 = DATA + 0x48;
/// Which root of the guest's each of the CPU's isolated roots is a copy of (`guest::guarded`); 0: of none.
pub(crate) const COPIES: u64 = DATA + 0x80;
/// Which of them is given away next.
pub(crate) const NEXT_COPY: u64 = COPIES + 8 * WAYS as u64;
/// The isolated root that is being filled; 0: none.
pub(crate) const FILLING: u64 = NEXT_COPY + 8;
/// The epitaphs, in CPU 0's block (`recovery`).
pub(crate) const EPITAPH: u64 = DATA + 0x1000;
/// The stop record (`stop`).
pub(crate) const STOP_RECORD: u64 = DATA + 0x2000;
/// What the CPU handled last (`trace`).
pub(crate) const TRACE: u64 = DATA + 0x3000;
/// Bytes there.
pub(crate) const TRACE_BYTES: u64 = 0x1000;

const _: () = assert!(FILLING + 8 <= EPITAPH);
const _: () = assert!(TRACE + TRACE_BYTES <= DATA + DATA_SIZE);
const _: () = assert!(STOP_RECORD + 0x1000 <= TRACE);
// The stack above them: a frame, and what clears the return stack.
const _: () = assert!(SPEC_CTRL + 0x10 + 0x800 <= ENTRY_TOP);
