//! The 8254 interval timer: a calibration reference of last resort, and a periodic source for a watchdog NMI.
#![expect(unsafe_code, reason = "port I/O")]

use crate::port;

/// Ticks a second.
pub const HZ: u64 = 1_193_182;
const CHANNEL_0: u16 = 0x40;
const CHANNEL_2: u16 = 0x42;
const COMMAND: u16 = 0x43;
const SPEAKER: u16 = 0x61;
const GATE_2: u8 = 1;
const SPEAKER_ON: u8 = 2;
const OUTPUT_2: u8 = 1 << 5;
/// Polls of the output before the timer is taken for dead: seconds even at 100 ns a poll.
const MAX_POLLS: u32 = 50_000_000;

fn write(port: u16, value: u8) {
    // SAFETY: the timer is the hypervisor's; it does no DMA.
    unsafe { port::write_u8(port, value) };
}

fn read(port: u16) -> u8 {
    // SAFETY: as above.
    unsafe { port::read_u8(port) }
}

/// Channel 0 interrupts every `divisor` ticks (0: 65536), on ISA interrupt 0.
pub fn start_periodic(divisor: u16) {
    let [low, high] = divisor.to_le_bytes();
    write(COMMAND, 0x34);
    write(CHANNEL_0, low);
    write(CHANNEL_0, high);
}

/// Channel 0 is silent until it is started again.
pub fn stop() {
    write(COMMAND, 0x30);
}

/// Calls `sample` at the start and at the end of `ticks` ticks of channel 2; `None` if the channel does not run.
pub fn measure<T>(ticks: u16, mut sample: impl FnMut() -> T) -> Option<[T; 2]> {
    let [low, high] = ticks.to_le_bytes();
    let speaker = read(SPEAKER) & !(GATE_2 | SPEAKER_ON);
    write(SPEAKER, speaker);
    write(COMMAND, 0xb0);
    write(CHANNEL_2, low);
    write(CHANNEL_2, high);
    write(SPEAKER, speaker | GATE_2);
    let start = sample();
    let ran = (0..MAX_POLLS).any(|_| read(SPEAKER) & OUTPUT_2 != 0);
    let end = sample();
    write(SPEAKER, speaker);
    ran.then_some([start, end])
}
