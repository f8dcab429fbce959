//! A CPU that was stopped inside entry or exit code by a failure that leaves its registers intact, such as a machine
//! check: they are kept, and it goes on there in the new life.
//!
//! State class: kept aside, in the CPU's own data page; used by that CPU alone.
#![expect(unsafe_code, reason = "per-CPU data, registers, leaves a stack behind")]

use super::place::STUB_WORDS;
use super::taken::Bases;
use crate::cells;
use crate::guest::hardware::this_cpu;
use crate::guest::host::{HostFrame, attached};
use crate::guest::stubs;
use core::sync::atomic::{AtomicU32, Ordering};
use ids::Maddr;
use machine::{control, percpu};

/// Stops at one place after which nobody goes on there: it is the code that fails.
const MOST_AT_ONE_PLACE: u32 = 3;

#[repr(C)]
struct Suspended {
    /// The rest is valid.
    full: AtomicU32,
    /// How often in a row it was stopped there.
    times: AtomicU32,
    kept: Kept,
}

const _: () = assert!(core::mem::offset_of!(Kept, frame) == 8);

#[repr(C)]
#[derive(Clone, Copy)]
struct Kept {
    /// For [`stubs::revenant_retake`]: a context begins with a stack, which is not used there.
    stack: u64,
    frame: HostFrame,
    /// The end of the main stack.
    words: [u64; STUB_WORDS],
    bases: Bases,
    root: Maddr,
    fault_address: u64,
    gs_mode: u8,
}

fn place() -> *mut Suspended {
    core::ptr::with_exposed_provenance_mut((percpu::block(this_cpu()) + cells::SUSPENDED) as usize)
}

fn full() -> &'static AtomicU32 {
    // SAFETY: this CPU's data page, mapped for good, zeroed by boot.
    unsafe { &(*place()).full }
}

fn times() -> &'static AtomicU32 {
    // SAFETY: as in `full`.
    unsafe { &(*place()).times }
}

fn kept() -> *mut Kept {
    // SAFETY: within this CPU's data page.
    unsafe { &raw mut (*place()).kept }
}

/// The end of this CPU's main stack.
fn words() -> *mut [u64; STUB_WORDS] {
    let end = percpu::block(this_cpu()) + percpu::STACK_TOP;
    core::ptr::with_exposed_provenance_mut((end - 8 * STUB_WORDS as u64) as usize)
}

/// This CPU was stopped with the registers in `frame`, inside entry or exit code; all others are as they were.
pub(super) fn keep(frame: &HostFrame) {
    if stubs::is_retake(frame.rip) {
        // It was on its way back to what is still kept.
        full().store(1, Ordering::Relaxed);
        return;
    }
    // SAFETY: this CPU's data page, valid for any bytes.
    let before = unsafe { kept().read_volatile() };
    let again = before.frame.rip == frame.rip && before.frame.rsp == frame.rsp;
    times().store(if again { times().load(Ordering::Relaxed) + 1 } else { 1 }, Ordering::Relaxed);
    let now = Kept {
        stack: 0,
        frame: *frame,
        // SAFETY: the end of this CPU's mapped main stack.
        words: unsafe { words().read_volatile() },
        bases: Bases::read(),
        root: control::root(),
        fault_address: control::fault_address(),
        gs_mode: attached().map_or(0, |context| context.gs_mode.get()),
    };
    // SAFETY: as above.
    unsafe { kept().write_volatile(now) };
    full().store(1, Ordering::Release);
}

/// What became of a CPU that was stopped inside entry or exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It was not.
    Elsewhere,
    /// It can go on there.
    Kept,
    /// It was stopped there again and again: what it held is given up.
    Hopeless,
}

/// This CPU's state.
pub(crate) fn state() -> State {
    match (full().load(Ordering::Acquire), times().load(Ordering::Relaxed)) {
        (0, _) => State::Elsewhere,
        (_, times) if times < MOST_AT_ONE_PLACE => State::Kept,
        _ => State::Hopeless,
    }
}

/// Gives up what is kept.
pub(crate) fn forget() {
    full().store(0, Ordering::Relaxed);
    times().store(0, Ordering::Relaxed);
}

/// Goes on where this CPU was stopped. The vCPU's context is loaded; its GS and the page tables become those of that
/// moment.
pub(crate) fn go_on() -> ! {
    // SAFETY: this CPU's data page, written by `keep`.
    let now = unsafe { kept().read_volatile() };
    if let Some(context) = attached() {
        context.gs_mode.set(now.gs_mode);
    }
    now.bases.load();
    control::set_fault_address(now.fault_address);
    // SAFETY: the page tables in use when it was stopped, which have the hypervisor's entries.
    unsafe { control::set_root(now.root) };
    // SAFETY: within this CPU's data page.
    let from = unsafe { &raw const (*kept()).words };
    let (to, full) = (words().cast(), full().as_ptr());
    // SAFETY: back to where it was stopped, with the registers and the end of the stack that it had; this stack is
    // not needed any more. The frame stands behind the first word of what was kept.
    unsafe { stubs::revenant_retake(to, from.cast(), full, STUB_WORDS, kept().cast_const().cast()) }
}
