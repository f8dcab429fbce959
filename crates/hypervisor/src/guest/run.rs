//! Running guests.
#![expect(unsafe_code, reason = "entered from assembly, leaves to it")]

use super::hardware::{Hardware, this_cpu};
use super::{shootdown, stubs};
use crate::{chaos, inject, stop, trace};
use core::sync::atomic::{AtomicPtr, Ordering};
use pv_cpu::{Context, Reg};
use system::System;

/// The composition. Derived: set by every start.
static SYSTEM: AtomicPtr<System<Hardware>> = AtomicPtr::new(core::ptr::null_mut());

/// Makes `system` the composition of this start.
pub(crate) fn install(system: &'static System<Hardware>) {
    // Release: pairs with the load in `system`.
    SYSTEM.store(core::ptr::from_ref(system).cast_mut(), Ordering::Release);
}

/// The composition, if this start has made it.
pub(crate) fn installed() -> Option<&'static System<Hardware>> {
    // SAFETY: null, or what `install` put there for good.
    unsafe { SYSTEM.load(Ordering::Acquire).as_ref() }
}

/// The composition.
///
/// # Panics
/// Panics before `install`.
pub(crate) fn system() -> &'static System<Hardware> {
    installed().expect("the composition is installed before anything enters")
}

/// An entry of the guest whose registers are in `context`; the answer is whose registers to leave with.
pub(crate) extern "C" fn guest_entry(context: &'static Context) -> *const Context {
    let registers = &context.registers;
    let code = registers.error_code.get();
    trace::ring(this_cpu()).entry(registers.vector.get() as u16, code, registers.get(Reg::Rip));
    inject::entry(context);
    chaos::point();
    system().serve(context)
}

/// Gives this CPU to guests.
pub(crate) extern "C" fn run_guests() -> ! {
    let system = system();
    stop::now_online();
    shootdown::set_active(true);
    let context = system.state.contexts.context(system.leave());
    // SAFETY: `leave` loaded the context; this stack is not needed any more.
    unsafe { stubs::revenant_resume(context) }
}
