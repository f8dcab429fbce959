//! Running guests.
#![expect(unsafe_code, reason = "entered from assembly, leaves to it")]

use super::hardware::Hardware;
use super::{shootdown, stubs};
use crate::devices;
use crate::sealed::sealed;
use crate::stop::{self, suspended};
use core::sync::atomic::{AtomicPtr, Ordering};
use machine::apic::Ipi;
use pv_cpu::Context;
use system::{System, own_vector};

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
    let cpu = super::hardware::this_cpu();
    let system = system();
    if let Some(vcpu) = system.schedule.loaded(cpu) {
        debug_assert!(core::ptr::eq(context, system.state.contexts.context(vcpu)));
        crate::inject::entry(context);
        system.enter(vcpu);
        crate::inject::answer(context);
    }
    system.state.contexts.context(system.leave())
}

/// Goes on in the entry or exit code in which this CPU was stopped; it looks around as soon as a guest runs.
pub(crate) fn go_on_in_stub() -> ! {
    stop::now_online();
    shootdown::set_active(true);
    let apic = devices::local_apic(sealed().facts);
    // SAFETY: to this CPU, whose gates are set; it comes when interrupts are on, which is in a guest.
    unsafe { apic.send(Ipi::Fixed(own_vector::KICK), apic.id()) };
    suspended::go_on()
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
