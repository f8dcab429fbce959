//! Where a CPU was when something stopped it: what the handlers on stacks of their own had interrupted, and in whose
//! registers it is told.
#![expect(unsafe_code, reason = "reads frames on this CPU's stacks")]

use crate::guest::hardware::this_cpu;
use crate::guest::host::HostFrame;
use crate::guest::{stubs, swift};
use machine::percpu;

/// What a CPU did.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// It ran a guest.
    Guest(HostFrame),
    /// A guest's debug exception was about to become an entry.
    Debug(HostFrame),
    /// Entry or exit code, which holds registers that no memory has.
    Stub(HostFrame),
    /// Other code of the hypervisor: a guest's registers are all in its context.
    Host(HostFrame),
}

/// Words at the end of the main stack that entry and exit code may use: eight of `swift`, the frame of a fault there.
pub(super) const STUB_WORDS: usize = 24;
/// NMI, machine check, debug exception. A double fault's stack serves CPUs that were taken over, too: nothing is known
/// of what lies on it.
const OWN_STACKS: [u64; 3] =
    [percpu::NMI_STACK_TOP, percpu::MACHINE_CHECK_STACK_TOP, percpu::DEBUG_STACK_TOP];
/// Handlers that interrupt each other.
const DEEPEST: usize = 4;

/// Where this CPU was, which was stopped with the registers in `frame`.
pub(super) fn of(frame: &HostFrame) -> Place {
    let mut frame = *frame;
    for _ in 0..DEEPEST {
        if frame.cs & 3 != 0 {
            return Place::Guest(frame);
        }
        let Some((top, complete)) = own_stack(&frame) else { break };
        frame = interrupted(&frame, top, complete);
        if top == percpu::DEBUG_STACK_TOP && frame.cs & 3 != 0 {
            return Place::Debug(frame);
        }
    }
    if stubs::holds_registers(frame.rip) && !is_host_exception(&frame) {
        Place::Stub(frame)
    } else {
        Place::Host(frame)
    }
}

/// Where this CPU was, whose handler on a stack of its own fails.
pub(super) fn of_here() -> Place {
    of(&HostFrame { rsp: machine::stack::frame_pointer(), ..HostFrame::ZERO })
}

/// If a CPU was on a stack of a handler: that stack's end within the block, and whether the frame there is complete.
fn own_stack(frame: &HostFrame) -> Option<(u64, bool)> {
    let offset = frame.rsp.wrapping_sub(percpu::block(this_cpu()));
    let top = OWN_STACKS.into_iter().find(|top| (top - percpu::IST_STACK_SIZE..*top).contains(&offset))?;
    match stubs::own_stack_at(frame.rip) {
        Some(complete) => Some((top, complete)),
        None => (!stubs::holds_registers(frame.rip)).then_some((top, true)),
    }
}

/// The registers that the handler on the stack up to `top` had interrupted: until they are all on it the handler's
/// code has changed none of them.
fn interrupted(handler: &HostFrame, top: u64, complete: bool) -> HostFrame {
    let at = percpu::block(this_cpu()) + top - size_of::<HostFrame>() as u64;
    let frame: *const HostFrame = core::ptr::with_exposed_provenance(at as usize);
    // SAFETY: within this CPU's mapped stack, which grows down from behind the frame.
    let frame = unsafe { frame.read_volatile() };
    if complete { frame } else { HostFrame { general: handler.general, ..frame } }
}

/// Whether code that entries share with the hypervisor's own exceptions and interrupts handles one of these: it is on
/// the main stack, and what it interrupted was not `swift`.
fn is_host_exception(frame: &HostFrame) -> bool {
    let end = percpu::block(this_cpu()) + percpu::STACK_TOP;
    let on_main = (end - percpu::STACK_SIZE..end).contains(&frame.rsp);
    if !on_main || !stubs::shared_stack_at(frame.rip) {
        return false;
    }
    let first = end - 8 * STUB_WORDS as u64;
    if frame.rsp < first || !frame.rsp.is_multiple_of(8) {
        return true;
    }
    let words: *const [u64; STUB_WORDS] = core::ptr::with_exposed_provenance(first as usize);
    // SAFETY: the end of this CPU's mapped main stack.
    let words = unsafe { words.read_volatile() };
    let used = words.get((frame.rsp - first) as usize / 8..).unwrap_or(&[]);
    !used.windows(2).any(|pair| swift::contains(pair[0]) && pair[1] == machine::tables::HYPERVISOR_CS.into())
}
