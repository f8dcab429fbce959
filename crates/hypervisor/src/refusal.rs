//! An input that the hypervisor cannot start with: one clear line, then the end that `noreboot` asks for.

use core::fmt;

use machine::{clock, control};

use crate::sealed::{self, sealed};
use crate::{console, options, power};

/// The line can be read for so long before the machine restarts.
const READING_NS: u64 = 5_000_000_000;
/// Assumed before the time stamp counter has been measured.
const USUAL_TSC_KHZ: u64 = 2_000_000;

/// Prints `why`, which names the input, its limit and what to change, whatever `loglvl=` says; then [`end`].
pub(crate) fn say_and_end(why: fmt::Arguments<'_>) -> ! {
    console::set_deferred(false);
    console::announce(format_args!("Cannot boot: {why}\n"));
    end()
}

/// Halts or, after a while, restarts the machine, as `noreboot` says.
pub(crate) fn end() -> ! {
    if options::current().reboot.never {
        control::halt()
    }
    let measured = if sealed::is_mapped() { sealed().facts.timing.tsc_khz } else { 0 };
    clock::delay(READING_NS, if measured == 0 { USUAL_TSC_KHZ } else { measured });
    power::restart()
}

/// [`say_and_end`] with a format string.
macro_rules! refuse {
    ($($arg:tt)*) => { $crate::refusal::say_and_end(format_args!($($arg)*)) };
}
pub(crate) use refuse;
