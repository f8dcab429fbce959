//! What happens when Rust gives up: the last words, then a new life or none.

use crate::recovery::{self, Cause};
use crate::sealed;
use core::panic::PanicInfo;

use machine::control;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if sealed::is_mapped() {
        recovery::fatal(Cause::Panic, None, Some(format_args!("{info}")))
    }
    crate::console::print_unlocked(format_args!("{info}\n"));
    control::halt()
}

/// Whether the command line says `noreboot`.
pub(crate) fn no_reboot() -> bool {
    sealed::is_mapped()
        && sealed::sealed().facts.command_line().split_ascii_whitespace().any(|word| word == "noreboot")
}
