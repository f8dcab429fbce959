//! Exceptions and interrupts that hit the hypervisor itself, and those with stacks of their own.
#![expect(unsafe_code, reason = "entered from assembly")]

use super::hardware::this_cpu;
use super::run::system;
use super::{access, guarded, idle, shootdown, stubs};
use crate::recovery::{self, Cause};
use crate::stop::{self, deferred};
use crate::{efi, watchdog};
use machine::{control, percpu};
use pv_cpu::Context;

/// What the stubs push on a stack that is no context: the same frame.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostFrame {
    /// r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi.
    pub(crate) general: [u64; 15],
    /// Error code.
    pub(crate) error: u32,
    /// Vector.
    pub(crate) vector: u32,
    /// rip, cs, rflags, rsp, ss.
    pub(crate) rip: u64,
    /// Code selector.
    pub(crate) cs: u64,
    /// Flags.
    pub(crate) rflags: u64,
    /// Stack pointer.
    pub(crate) rsp: u64,
    /// Stack selector.
    pub(crate) ss: u64,
}

impl HostFrame {
    /// This place in the hypervisor, as far as it says on which stack it is.
    pub(crate) fn here() -> Self {
        let rsp = machine::stack::frame_pointer();
        Self { general: [0; 15], error: 0, vector: 0, rip: 0, cs: 0, rflags: 0, rsp, ss: 0 }
    }
}

/// Vectors from here on are interrupts.
const FIRST_INTERRUPT: u32 = 32;
const DEBUG: u32 = 1;
const NMI: u32 = 2;

/// The context whose registers this CPU's entry code fills.
pub(crate) fn attached() -> Option<&'static Context> {
    let cell: *const u64 =
        core::ptr::with_exposed_provenance((percpu::block(this_cpu()) + stubs::FRAME_CELL) as usize);
    // SAFETY: this CPU's own data page.
    let end = unsafe { cell.read_volatile() };
    if end == 0 {
        return None;
    }
    let context: *const Context = core::ptr::with_exposed_provenance(end as usize - Context::FRAME_END);
    // SAFETY: `attach` put the end of a context's frame there; contexts live for good.
    Some(unsafe { &*context })
}

/// On the stack in use. Null: go on where it was; else: go on with that guest entry.
pub(crate) extern "C" fn host_entry(frame: &mut HostFrame) -> *const Context {
    if frame.vector >= FIRST_INTERRUPT {
        // Only the idle loop has interrupts on.
        watchdog::waits_no_more();
        shootdown::set_active(true);
        system().interrupt(frame.vector as u8);
        return core::ptr::null();
    }
    if let Some(to) = access::fixup(frame.rip) {
        frame.rip = to;
        return core::ptr::null();
    }
    if efi::fixup(frame) {
        return core::ptr::null();
    }
    recovery::fatal(Cause::Exception, Some(frame), None)
}

fn put_general(context: &Context, frame: &HostFrame) {
    for (index, value) in (0..).zip(frame.general) {
        context.registers.set_index(index, value);
    }
}

/// Puts all registers of a guest that was interrupted on a stack of its own into its context.
pub(crate) fn put_guest_frame(context: &Context, frame: &HostFrame) {
    put_general(context, frame);
    for (index, value) in (15..).zip([frame.rip, frame.cs, frame.rflags, frame.rsp, frame.ss]) {
        context.registers.set_index(index, value);
    }
}

/// A guest's debug exception becomes an entry, whose error code is the processor's word of what happened: it is
/// overwritten when debug registers are loaded.
pub(crate) fn put_debug_exception(context: &Context, frame: &HostFrame) {
    put_guest_frame(context, frame);
    context.registers.error_code.set(control::debug_status() as u32);
    context.registers.vector.set(DEBUG);
}

/// On a stack of its own: NMI, double fault, machine check, debug exception.
pub(crate) extern "C" fn own_stack_entry(frame: &mut HostFrame) -> *const Context {
    let from_guest = frame.cs & 3 != 0;
    match frame.vector {
        DEBUG if deferred::is_pending() => {
            deferred::step(frame);
            core::ptr::null()
        }
        DEBUG if from_guest => {
            let Some(context) = attached() else { return core::ptr::null() };
            put_debug_exception(context, frame);
            context
        }
        // A breakpoint of the guest's that it reached through the hypervisor: not for us. Nor is a step of its own, which
        // goes on through the `sysenter` stub until that has its flags.
        DEBUG => {
            guarded::rewind(frame);
            deferred::forget_step();
            core::ptr::null()
        }
        NMI => {
            guarded::rewind(frame);
            stop::on_nmi(frame);
            idle::end(frame);
            core::ptr::null()
        }
        _ => {
            deferred::fail(frame);
            core::ptr::null()
        }
    }
}
