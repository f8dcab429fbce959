//! What happens when Rust gives up: the last words, then a new life or none.

use crate::recovery::{self, Cause};
use crate::sealed;
use crate::{options, refusal};
use core::panic::PanicInfo;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if sealed::is_mapped() {
        recovery::fatal(Cause::Panic, None, Some(format_args!("{info}")))
    }
    crate::console::print_unlocked(format_args!("Panic on CPU 0: {info}\n"));
    refusal::end()
}

/// Whether the command line says `noreboot`.
pub(crate) fn no_reboot() -> bool {
    options::current().reboot.never
}
