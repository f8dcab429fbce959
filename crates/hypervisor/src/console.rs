//! The log on its way out: ring and serial port.
//!
//! Lines go to a ring in the image until memory for the durable ring is set aside ([`adopt`]), and from then on to that
//! one, which a microreboot keeps. To the serial port they go at once, or, while output is [deferred](set_deferred),
//! when somebody [drains](drain) the ring.
#![expect(unsafe_code, reason = "claims the serial port and the ring's memory")]

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use ::console::ring::{Request, State};
use ::console::{Console, Level, Origin, PREFIX, Ring};
use boot_info::Range;
use ids::Maddr;
use machine::serial::{COM1, Format, Uart};
use machine::{clock, direct};
use spin::Mutex;

/// Bytes at the start of the ring's memory that hold its [`State`].
const STATE_BYTES: u64 = 4096;
const EARLY_BYTES: usize = 16 << 10;

static EARLY_CELLS: [AtomicU8; EARLY_BYTES] = [const { AtomicU8::new(0) }; EARLY_BYTES];
static EARLY_STATE: State = State::new();
static LOG: Mutex<Console<'static>> = Mutex::new(Console::new(Ring::empty(&EARLY_CELLS, &EARLY_STATE)));
// SAFETY: nothing else in the image touches COM1, and guests get at it only through the console.
static UART: Mutex<Uart> = Mutex::new(unsafe { Uart::at(COM1) });
static DEFERRED: AtomicBool = AtomicBool::new(false);
/// For the rate limit; 0: time stands.
static TSC_KHZ: AtomicU64 = AtomicU64::new(0);

/// Programs the port: 115200 baud, 8n1.
pub(crate) fn init() {
    UART.lock().init(Some(115_200), Format::EIGHT_N_1);
}

/// Memory to set aside for a ring of `ring_bytes`.
pub(crate) const fn memory_for(ring_bytes: u32) -> u64 {
    STATE_BYTES + ring_bytes as u64
}

/// Lets the rate limit's time run.
pub(crate) fn set_clock(tsc_khz: u64) {
    TSC_KHZ.store(tsc_khz, Ordering::Relaxed);
}

/// Moves the log to the ring in `memory` ([`memory_for`] a power of two bytes; all-zero, or left by an earlier life)
/// and appends what this life has said so far.
///
/// # Safety
/// The memory is RAM in the direct map, the log's alone and for good.
pub(crate) unsafe fn adopt(memory: Range) {
    // SAFETY: the caller's promise; atomics of any value are valid, and the memory is page aligned.
    let state: &'static State = unsafe { &*direct::pointer(Maddr(memory.start)) };
    let first = direct::pointer::<AtomicU8>(Maddr(memory.start + STATE_BYTES));
    // SAFETY: as above.
    let cells = unsafe { core::slice::from_raw_parts(first, (memory.len() - STATE_BYTES) as usize) };
    let ring = Ring::attach(cells, state);
    let mut log = LOG.lock();
    let mut piece = [0; 256];
    let early = *log.ring();
    let mut index = early.start(Request::default());
    loop {
        let answer = early.copy(index, &mut piece);
        if answer.count == 0 {
            break;
        }
        ring.push(&piece[..answer.count]);
        index = answer.index;
    }
    ring.set_drained();
    let levels = [Origin::Hypervisor, Origin::Guest].map(|origin| (origin, log.thresholds(origin)));
    *log = Console::new(ring);
    levels.into_iter().for_each(|(origin, thresholds)| log.set_thresholds(origin, thresholds));
}

/// Writes to the log what `level` lets through, and to the port unless output is deferred.
pub(crate) fn print(level: Level, args: fmt::Arguments<'_>) {
    let mut log = LOG.lock();
    let now_ns = clock::nanoseconds(clock::tsc(), TSC_KHZ.load(Ordering::Relaxed));
    if DEFERRED.load(Ordering::Relaxed) {
        log.print(Origin::Hypervisor, level, now_ns, &mut |_: &[u8]| {}, args);
    } else {
        let uart = *UART.lock();
        log.print(Origin::Hypervisor, level, now_ns, &mut |bytes: &[u8]| send(uart, bytes), args);
        log.ring().set_drained();
    }
}

/// Writes although another CPU may hold log or port: for the last words.
pub(crate) fn print_unlocked(args: fmt::Arguments<'_>) {
    // SAFETY: as for `UART`; garbled output is the worst that happens.
    let uart = unsafe { Uart::at(COM1) };
    match LOG.try_lock() {
        Some(mut log) => log.write(PREFIX, &mut |bytes: &[u8]| send(uart, bytes), args),
        None => {
            let _ = fmt::Write::write_fmt(&mut Raw(uart), args);
        }
    }
}

/// Whether `port` belongs to the console.
pub(crate) fn owns_port(port: u16) -> bool {
    (COM1..COM1 + 8).contains(&port)
}

/// Takes what the port received; returns how many bytes.
pub(crate) fn receive(out: &mut [u8]) -> usize {
    let uart = *UART.lock();
    let mut count = 0;
    for slot in out.iter_mut() {
        let Some(byte) = uart.receive() else { break };
        *slot = byte;
        count += 1;
    }
    count
}

/// Lets the port interrupt when something is typed.
pub(crate) fn set_receive_interrupt() {
    UART.lock().set_receive_interrupt(true);
}

/// Dom0's console output: to the ring and the port as it is.
pub(crate) fn guest_output(bytes: &[u8]) {
    let log = LOG.lock();
    log.ring().push(bytes);
    if !DEFERRED.load(Ordering::Relaxed) {
        send(*UART.lock(), bytes);
        log.ring().set_drained();
    }
}

/// Defers the port's output, or ends that and sends what is due.
pub(crate) fn set_deferred(deferred: bool) {
    DEFERRED.store(deferred, Ordering::Relaxed);
    while !deferred && drain(256) {}
}

/// Sends at most `bytes` (256 or less) that are due; true if more are.
pub(crate) fn drain(bytes: usize) -> bool {
    let mut piece = [0; 256];
    let log = LOG.lock();
    let count = log.ring().drain(&mut piece[..bytes.min(256)]);
    send(*UART.lock(), &piece[..count]);
    log.ring().undrained() > 0
}

/// Newlines as CR LF.
fn send(uart: Uart, bytes: &[u8]) {
    for &byte in bytes {
        if byte == b'\n' {
            uart.send(b'\r');
        }
        uart.send(byte);
    }
}

struct Raw(Uart);

impl fmt::Write for Raw {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        send(self.0, text.as_bytes());
        Ok(())
    }
}

/// Writes one line to the log, whatever `loglvl=` says short of `none`.
macro_rules! log {
    ($($arg:tt)*) => { $crate::console::print(::console::Level::Warning, format_args!("{}\n", format_args!($($arg)*))) };
}
pub(crate) use log;
