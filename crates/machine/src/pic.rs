//! The pair of 8259 interrupt controllers: moved out of the exceptions' way and masked (Intel 8259A data sheet).
#![expect(unsafe_code, reason = "port I/O")]

use crate::port;

const COMMAND: [u16; 2] = [0x20, 0xa0];
const DATA: [u16; 2] = [0x21, 0xa1];

/// Vectors `base` to `base` + 15 (a multiple of 8) for their interrupts, and all of them masked.
pub fn disable(base: u8) {
    let write = |port, value| {
        // SAFETY: the controllers are the hypervisor's; they do no DMA.
        unsafe { port::write_u8(port, value) };
    };
    DATA.into_iter().for_each(|port| write(port, 0xff));
    COMMAND.into_iter().for_each(|port| write(port, 0x11));
    write(DATA[0], base);
    write(DATA[1], base.wrapping_add(8));
    write(DATA[0], 4);
    write(DATA[1], 2);
    DATA.into_iter().for_each(|port| write(port, 1));
    DATA.into_iter().for_each(|port| write(port, 0xff));
}
