//! What happens once the machine floor stands.

use machine::control;
use system::{System, own_vector};

use crate::console::log;
use crate::guest::hardware::Hardware;
use crate::guest::run;
use crate::refusal::refuse;
use crate::sealed::sealed;
use crate::{boot, boot_memory, composition, console, devices, dom0, screen, selftest, smp, watchdog};

/// On CPU 0's own stack, in the final address space.
pub(crate) extern "C" fn first_boot() -> ! {
    let record = sealed();
    assert!(record.facts.verify(record.facts_seal), "the boot facts changed while booting");
    let free = boot::FREE.lock().as_ref().map_or(0, |free| free.bytes());
    log!(
        "{} MiB of RAM, {} CPUs, per-CPU blocks at {:#x}",
        record.ram.bytes() >> 20,
        record.cpus,
        record.per_cpu.start
    );
    log!(
        "Image {} KiB, twice; {} KiB for this start; M2P [{:#x}, {:#x}); {} KiB of memory free",
        record.image.bytes() >> 10,
        record.image.first_boots().1 >> 10,
        record.m2p.start,
        record.m2p.end,
        free >> 10
    );
    let asked = |word| {
        record.facts.command_line().split_ascii_whitespace().find_map(|given| given.strip_prefix(word))
    };
    let test = asked("boot-selftest").is_some();
    if test {
        selftest::run();
    }
    if test {
        smp::start_others();
        selftest::retake();
    }
    if let Some(what) = asked("boot-selftest=") {
        selftest::end(what);
    }
    let system = composition::compose();
    composition::load_entry_points();
    if let Err(error) = dom0::create(system) {
        refuse!("{error}");
    }
    go_on(system, test)
}

/// The end of the first boot, in code that stays.
#[inline(never)]
fn go_on(system: &'static System<Hardware>, tested: bool) -> ! {
    boot_memory::forget_first_boot(system);
    composition::report(system);
    devices::route_console(sealed().facts, own_vector::CONSOLE);
    console::set_receive_interrupt();
    system.write_wall_clock();
    if !tested {
        smp::start_others();
    }
    system.settle_homes(smp::has_started);
    watchdog::start();
    watchdog::check();
    log!("Boot complete");
    screen::leave();
    run::run_guests()
}

/// On each other CPU's own stack, as ready as CPU 0: runs guests once there is a composition.
pub(crate) extern "C" fn ap_start(_cpu: u32) -> ! {
    if run::installed().is_none() {
        // The self-test brings CPUs up to take them down again.
        control::halt();
    }
    composition::load_entry_points();
    run::run_guests()
}
