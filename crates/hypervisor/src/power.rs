//! Switching the machine off, resetting it.
#![expect(unsafe_code, reason = "ends the machine")]

use crate::console::{self, log};
use crate::sealed::sealed;
use machine::reset::{self, Method, Register};
use system::Power;

/// Does it. Comes back only from a sleep state that the machine refused.
pub(crate) fn change(what: Power) {
    console::set_deferred(false);
    match what {
        Power::Sleep { pm1a, pm1b } => sleep(pm1a, pm1b),
        Power::Off => {
            log!("Machine halted.");
            machine::control::halt()
        }
        Power::Reset => restart(),
    }
}

fn sleep(pm1a: u16, pm1b: u16) {
    let Some(fadt) = sealed().facts.acpi.fadt else { return };
    let Some(a) = fadt.pm1a_control else { return };
    let b = fadt.pm1b_control.map(|block| (block.port, pm1b));
    log!("Entering ACPI sleep state, PM1a {pm1a:#x}");
    // SAFETY: the guest's values for the ports that the firmware names.
    unsafe { reset::enter_sleep((a.port, pm1a), b) };
}

/// Resets by what `reboot=` says, else by the firmware's register.
pub(crate) fn restart() -> ! {
    let reset = sealed().facts.acpi.fadt.and_then(|fadt| fadt.reset);
    let port = |(address, value): (boot_info::GenericAddress, u8)| {
        (address.space == 1).then_some((Register::Port(address.address as u16), value))
    };
    let register = reset.and_then(port);
    // SAFETY: nothing is to survive.
    unsafe { reset::restart(Method::Acpi, register) }
}
