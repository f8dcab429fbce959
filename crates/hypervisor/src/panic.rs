//! What happens when Rust gives up: the last words, then silence.

use core::panic::PanicInfo;

use machine::control;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    crate::console::print_unlocked(format_args!("{info}\n"));
    control::halt()
}
