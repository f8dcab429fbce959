//! Where a CPU was before handlers on stacks of their own came in between: of NMIs, double faults, machine checks and
//! debug exceptions, each perhaps in the middle of another.
//!
//! Each of these stacks begins with the frame of what its handler interrupted, from the stub's last push on until the
//! handler's `iretq`. So a CPU that stops anywhere in them is followed outwards to where it was with its main stack, or
//! in a guest: no handler has anything in hand that would be lost with it. A fault of the hypervisor that is no failure
//! (`access::fixup`) has its frame on the main stack, and [`cells::HOST_FRAME`] says where.
#![expect(unsafe_code, reason = "frames at the ends of this CPU's stacks")]

use crate::cells;
use crate::guest::hardware::this_cpu;
use crate::guest::host::HostFrame;
use crate::guest::{guarded, stubs, swift};
use machine::percpu;
use xen_abi::arch::{FLAT_RING3_CS64, FLAT_RING3_SS64};

/// Where a CPU was.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// In a guest.
    Guest(HostFrame),
    /// In a guest, which made a debug exception that it has not got yet.
    Debugged(HostFrame),
    /// In entry or exit code, which has registers of a guest that no memory has, or in Rust that mends a fault of it.
    Stub(HostFrame),
    /// The same, and part of them is in no frame either: where the handler's own entry code clears what guests left.
    Entering,
    /// Anywhere else in the hypervisor.
    Host(HostFrame),
}

impl Place {
    /// Whether the CPU has something in hand that is in no memory.
    pub(super) fn is_in_hand(&self) -> bool {
        matches!(self, Self::Stub(_) | Self::Entering)
    }
}

/// The stacks of their own, by their ends.
const STACKS: [u64; 4] = [
    percpu::NMI_STACK_TOP,
    percpu::DOUBLE_FAULT_STACK_TOP,
    percpu::MACHINE_CHECK_STACK_TOP,
    percpu::DEBUG_STACK_TOP,
];
const FRAME_BYTES: u64 = size_of::<HostFrame>() as u64;

/// Where this CPU was when `frame` was made.
pub(super) fn find(frame: &HostFrame) -> Place {
    let (mut at, mut debugged) = (*frame, false);
    // Each handler has a stack of its own, so it stands there once.
    for _ in STACKS {
        let Some(top) = stack_in_use(&at) else { break };
        if guarded::is_entering(at.rip) {
            return Place::Entering;
        }
        let outer = frame_below(top);
        // Before the last push general registers are as they were.
        let is_saving = stubs::is_saving(at.rip) && at.rsp > top - FRAME_BYTES;
        let general = if is_saving { at.general } else { outer.general };
        at = HostFrame { general, ..outer };
        debugged = top == percpu::block(this_cpu()) + percpu::DEBUG_STACK_TOP;
    }
    carry_out_return(&mut at);
    if at.cs & 3 != 0 {
        return if debugged { Place::Debugged(at) } else { Place::Guest(at) };
    }
    if stubs::holds_registers(at.rip) {
        return Place::Stub(at);
    }
    if mended_fault().is_some_and(|fault| stubs::holds_registers(fault.rip)) {
        return Place::Stub(at);
    }
    Place::Host(at)
}

/// A `sysretq` to the guest's kernel is as good as done: its registers are in the processor, and no single step comes
/// after it.
fn carry_out_return(at: &mut HostFrame) {
    if at.cs & 3 == 0 && swift::is_leaving(at.rip) {
        // R11 and RCX.
        (at.rflags, at.rip) = (at.general[6], at.general[11]);
        (at.cs, at.ss) = (FLAT_RING3_CS64.into(), FLAT_RING3_SS64.into());
    }
}

/// The end of the stack of its own that the hypervisor stopped on, if it did.
fn stack_in_use(at: &HostFrame) -> Option<u64> {
    let tops = STACKS.map(|top| percpu::block(this_cpu()) + top);
    let is_within = |top: &u64| at.cs & 3 == 0 && (top - percpu::IST_STACK_SIZE..*top).contains(&at.rsp);
    tops.into_iter().find(is_within)
}

/// The frame with which this CPU's stack that ends at `top` begins.
fn frame_below(top: u64) -> HostFrame {
    let frame: *const HostFrame = core::ptr::with_exposed_provenance((top - FRAME_BYTES) as usize);
    // SAFETY: mapped for good, any bytes are a frame; who writes there is this CPU, further in, or nobody.
    unsafe { frame.read_volatile() }
}

fn mended_cell() -> *mut u64 {
    core::ptr::with_exposed_provenance_mut((percpu::block(this_cpu()) + cells::HOST_FRAME) as usize)
}

/// The frame of the fault of this CPU's hypervisor that is being looked at.
fn mended_fault() -> Option<HostFrame> {
    // SAFETY: this CPU's own data page.
    let at = unsafe { mended_cell().read_volatile() };
    let stack = percpu::block(this_cpu()) + percpu::STACK_TOP - percpu::STACK_SIZE;
    if at < stack || at > stack + percpu::STACK_SIZE - FRAME_BYTES || !at.is_multiple_of(8) {
        return None;
    }
    let frame: *const HostFrame = core::ptr::with_exposed_provenance(at as usize);
    // SAFETY: within this CPU's main stack, where the stub that wrote the cell has saved a frame.
    Some(unsafe { frame.read_volatile() })
}

/// No fault is being looked at: its stack is abandoned, or it is come back to.
pub(super) fn forget_fault() {
    // SAFETY: as above.
    unsafe { mended_cell().write_volatile(0) };
}
