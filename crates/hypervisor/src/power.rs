//! Switching the machine off, resetting it.
#![expect(unsafe_code, reason = "ends the machine")]

use crate::console::{self, log};
use crate::sealed::{self, sealed};
use crate::{efi, options, watchdog};
use boot_info::{BootFacts, E820Entry, E820Kind};
use command_line::RebootMethod;
use ids::Maddr;
use machine::direct;
use machine::reset::{self, Method, Register};
use system::Power;

/// Does it. Comes back only from a sleep state that the machine refused.
pub(crate) fn change(what: Power) {
    console::set_deferred(false);
    match what {
        Power::Sleep { pm1a, pm1b } => {
            watchdog::pause();
            sleep(pm1a, pm1b);
            watchdog::go_on();
        }
        Power::Off => {
            watchdog::end();
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

/// Resets by what `reboot=` says, else by the firmware's register; what does not work falls through to the others.
pub(crate) fn restart() -> ! {
    watchdog::end();
    let asked = options::current().reboot;
    let method = match asked.method {
        Some(RebootMethod::TripleFault) => Method::TripleFault,
        Some(RebootMethod::Keyboard) => Method::Keyboard,
        Some(RebootMethod::Pci) => Method::Pci,
        Some(RebootMethod::PciPower) => Method::PowerCycle,
        Some(RebootMethod::Acpi | RebootMethod::Efi | RebootMethod::Xen) | None => Method::Acpi,
    };
    if asked.method == Some(RebootMethod::Efi) {
        log!("Restarting the machine: EFI first");
        efi::reset();
    }
    log!("Restarting the machine: {method:?} first");
    let facts = sealed::is_mapped().then(|| sealed().facts);
    if let Some(facts) = facts.filter(|facts| asked.warm && facts.efi_system_table.is_none()) {
        skip_memory_test(facts);
    }
    let reset = facts.and_then(|facts| facts.acpi.fadt).and_then(|fadt| fadt.reset);
    let port = |(address, value): (boot_info::GenericAddress, u8)| {
        (address.space == 1).then_some((Register::Port(address.address as u16), value))
    };
    let register = reset.and_then(port);
    // SAFETY: nothing is to survive.
    unsafe { reset::restart(method, register) }
}

/// Tells the BIOS that this is a warm start (data area, word at 0x472).
fn skip_memory_test(facts: &BootFacts) {
    const RESET_FLAG: u64 = 0x472;
    const WARM: u16 = 0x1234;
    let holds = |entry: &E820Entry| entry.start.0 <= RESET_FLAG && entry.start.0 + entry.len > RESET_FLAG + 1;
    if facts.memory.iter().any(|entry| entry.kind == E820Kind::RAM && holds(entry)) {
        // SAFETY: RAM, so in the direct map, that is the firmware's; nothing runs after this.
        unsafe { direct::pointer::<u16>(Maddr(RESET_FLAG)).write_volatile(WARM) };
    }
}
