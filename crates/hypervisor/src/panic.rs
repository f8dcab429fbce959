//! What happens when Rust gives up: the last words, then a new life or none.

use crate::recovery::{self, Cause};
use crate::sealed;
use core::panic::PanicInfo;

use machine::control;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if sealed::is_mapped() {
        recovery::note_message(format_args!("{info}"));
        recovery::fatal(Cause::Panic, None)
    }
    crate::console::print_unlocked(format_args!("{info}\n"));
    control::halt()
}

/// Whether the command line says `noreboot`.
pub(crate) fn no_reboot() -> bool {
    sealed::is_mapped()
        && sealed::sealed().facts.command_line().split_ascii_whitespace().any(|word| word == "noreboot")
}
