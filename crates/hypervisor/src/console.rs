//! Early output: the first serial port, written directly.
#![expect(unsafe_code, reason = "claims the serial port")]

use core::fmt::{self, Write};

use machine::serial::{COM1, Format, Uart};
use spin::Mutex;

// SAFETY: nothing else in the image touches COM1, and guests get at it only through the console.
static UART: Mutex<Uart> = Mutex::new(unsafe { Uart::at(COM1) });

/// Programs the port: 115200 baud, 8n1.
pub(crate) fn init() {
    UART.lock().init(Some(115_200), Format::EIGHT_N_1);
}

/// Writes formatted text, newlines as CR LF.
pub(crate) fn print(args: fmt::Arguments<'_>) {
    let uart = UART.lock();
    // The writer never fails.
    let _ = Out(*uart).write_fmt(args);
}

/// Writes although another CPU may hold the port: for the last words.
pub(crate) fn print_unlocked(args: fmt::Arguments<'_>) {
    // SAFETY: as above; garbled output is the worst that happens.
    let _ = Out(unsafe { Uart::at(COM1) }).write_fmt(args);
}

struct Out(Uart);

impl Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.0.send(b'\r');
            }
            self.0.send(byte);
        }
        Ok(())
    }
}

/// Writes one line to the console.
macro_rules! log {
    ($($arg:tt)*) => { $crate::console::print(format_args!("(XEN) {}\n", format_args!($($arg)*))) };
}
pub(crate) use log;
