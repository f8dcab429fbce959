//! The log on its way out: ring and serial port.
//!
//! Lines go to a ring in the image until memory for the durable ring is set aside ([`adopt`]), and from then on to that
//! one, which a microreboot keeps. From there they go to the serial port, at once, or, while output is
//! [deferred](set_deferred), when that ends: each byte in its turn, whoever sends it.
#![expect(unsafe_code, reason = "claims the serial port and the ring's memory")]

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use ::console::ring::State;
use ::console::{Console, Level, LineStart, Origin, PREFIX, Ring, Stamp, Thresholds};
use boot_info::Range;
use command_line::{Baud, Irq, LogLevels, Options, Parity, Serial, Timestamps};
use ids::Maddr;
use machine::serial::{Format, Uart};
use machine::{clock, direct, rtc};
use spin::Mutex;

use crate::sealed::{self, sealed};
use crate::{options, screen};

/// Bytes at the start of the ring's memory that hold its [`State`].
const STATE_BYTES: u64 = 4096;
const EARLY_BYTES: usize = 8 << 10;

static EARLY_CELLS: [AtomicU8; EARLY_BYTES] = [const { AtomicU8::new(0) }; EARLY_BYTES];
static EARLY_STATE: State = State::new();
static LOG: Mutex<Console<'static>> = Mutex::new(Console::new(Ring::empty(&EARLY_CELLS, &EARLY_STATE)));
/// Boot's choice, until there is the sealed record.
static EARLY_PORT: Mutex<Option<Port>> = Mutex::new(None);
static DEFERRED: AtomicBool = AtomicBool::new(false);
/// For the rate limit; 0: time stands.
static TSC_KHZ: AtomicU64 = AtomicU64::new(0);
/// Milliseconds since 1970 when the time stamp counter was 0; 0: not known.
static WALL_MS: AtomicU64 = AtomicU64::new(0);

/// The serial console.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port {
    base: u16,
    /// Its ISA interrupt; none: nothing can be typed.
    pub(crate) line: Option<u8>,
}

impl Port {
    const fn uart(self) -> Uart {
        // SAFETY: nothing else in the image touches this port, and guests get at it only through the console.
        unsafe { Uart::at(self.base) }
    }

    /// Programs the port as `com1=` or `com2=` says.
    fn program(serial: &Serial) -> Result<Self, &'static str> {
        let base = serial.io_base.and_then(|base| u16::try_from(base).ok()).filter(|&base| base <= 0xfff8);
        let base = base.ok_or("only UARTs at I/O ports are supported")?;
        if serial.reg_shift != 0 || serial.reg_width != 1 {
            return Err("only byte registers side by side are supported");
        }
        let line = match serial.irq {
            Irq::Line(line @ 1..16) => u8::try_from(line).ok(),
            Irq::Line(_) | Irq::Msi => None,
        };
        let port = Self { base, line };
        let answers = port.uart().init(rate(serial), format(serial).ok_or("no such format")?);
        answers.then_some(port).ok_or("nobody answers there")
    }
}

/// The rate to program, for a UART whose clock is as usual; none keeps the firmware's.
fn rate(serial: &Serial) -> Option<u32> {
    const USUAL_BASE: u64 = 115_200;
    let Some(Baud::Rate(rate)) = serial.baud else { return None };
    u32::try_from(u64::from(rate) * USUAL_BASE / u64::from(serial.base_baud.max(1))).ok()
}

fn format(serial: &Serial) -> Option<Format> {
    let parity = match serial.parity {
        Parity::None => b'n',
        Parity::Odd => b'o',
        Parity::Even => b'e',
        Parity::Mark => b'm',
        Parity::Space => b's',
    };
    Format::new(serial.data_bits, parity, serial.stop_bits)
}

/// Until the command line is known: the first port, at the firmware's speed.
pub(crate) fn init() {
    *EARLY_PORT.lock() = Port::program(&Serial::COM1).ok();
}

/// Uses the port and the thresholds that the options name. A port that cannot be used is replaced by the first.
pub(crate) fn configure(options: &Options) {
    set_levels([options.loglvl, options.guest_loglvl]);
    let consoles = options.console;
    let chosen = match (consoles.com1, consoles.com2) {
        (Some(_), _) => Some(("com1", &options.com1)),
        (None, Some(_)) => Some(("com2", &options.com2)),
        (None, None) => None,
    };
    let Some((name, serial)) = chosen else {
        *EARLY_PORT.lock() = None;
        return;
    };
    match Port::program(serial) {
        Ok(port) => *EARLY_PORT.lock() = Some(port),
        Err(why) => {
            init();
            let base = serial.io_base.unwrap_or(0);
            log!("command line: {name} at {base:#x} cannot be the console: {why}; using the port at 0x3f8");
        }
    }
}

/// Which messages are printed from now on: of the hypervisor, about guests.
pub(crate) fn set_levels(levels: [LogLevels; 2]) {
    let [own, guests] =
        levels.map(|levels| Thresholds { always: levels.always as u8, limited: levels.rate_limited as u8 });
    let mut log = LOG.lock();
    log.set_thresholds(Origin::Hypervisor, own);
    log.set_thresholds(Origin::Guest, guests);
}

/// The console in use.
pub(crate) fn port() -> Option<Port> {
    if sealed::is_mapped() { sealed().console } else { *EARLY_PORT.lock() }
}

/// Memory to set aside for a ring of `ring_bytes`.
pub(crate) const fn memory_for(ring_bytes: u32) -> u64 {
    STATE_BYTES + ring_bytes as u64
}

/// Lets the rate limit's time run.
pub(crate) fn set_clock(tsc_khz: u64) {
    TSC_KHZ.store(tsc_khz, Ordering::Relaxed);
    let wants_date =
        matches!(options::current().console_timestamps, Timestamps::Date | Timestamps::DateMilliseconds);
    if wants_date && let Some(seconds) = rtc::now(0) {
        let since_ms = clock::nanoseconds(clock::tsc(), tsc_khz) / 1_000_000;
        WALL_MS.store((seconds * 1000).saturating_sub(since_ms), Ordering::Relaxed);
    }
}

/// What `console_timestamps=` wants before each line. As long as there is no date, the time since boot.
fn line_start(now_ns: u64) -> LineStart {
    let wall_ms = WALL_MS.load(Ordering::Relaxed);
    let date = |fine| match wall_ms {
        0 => Stamp::Boot { ns: now_ns },
        _ => Stamp::Date { unix_ms: wall_ms + now_ns / 1_000_000, fine },
    };
    let stamp = match options::current().console_timestamps {
        Timestamps::None => Stamp::None,
        Timestamps::Date => date(false),
        Timestamps::DateMilliseconds => date(true),
        Timestamps::Boot => Stamp::Boot { ns: now_ns },
        Timestamps::Raw => Stamp::Raw { ticks: clock::tsc() },
    };
    LineStart::new(PREFIX, stamp)
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
    // What an earlier life kept for the port is still due.
    let is_due = ring.undrained() > 0;
    each_piece(log.ring(), |piece| ring.push(piece));
    if !is_due {
        ring.set_drained();
    }
    *log = Console::new(ring);
    drop(log);
    let options = options::current();
    set_levels([options.loglvl, options.guest_loglvl]);
}

/// Hands out what the ring holds.
fn each_piece(ring: &Ring<'_>, mut f: impl FnMut(&[u8])) {
    let mut piece = [0; 256];
    let mut index = ring.start(None);
    loop {
        let answer = ring.copy(index, &mut piece);
        if answer.count == 0 {
            return;
        }
        f(&piece[..answer.count]);
        index = answer.index;
    }
}

/// Hands out what was said so far.
pub(crate) fn each_said(f: impl FnMut(&[u8])) {
    each_piece(LOG.lock().ring(), f);
}

/// Writes to the log what `level` lets through, and to the port unless output is deferred.
pub(crate) fn print(level: Level, args: fmt::Arguments<'_>) {
    let mut log = LOG.lock();
    let now_ns = clock::nanoseconds(clock::tsc(), TSC_KHZ.load(Ordering::Relaxed));
    let start = line_start(now_ns);
    log.print(start.as_str(), (Origin::Hypervisor, level), now_ns, &mut no_sink, args);
    send_due(&log);
}

/// Writes to log and port, whatever the thresholds.
pub(crate) fn announce(args: fmt::Arguments<'_>) {
    let mut log = LOG.lock();
    log.write(PREFIX, &mut no_sink, args);
    send_all(&log);
}

/// Writes although another CPU may hold log or port: for the last words.
pub(crate) fn print_unlocked(args: fmt::Arguments<'_>) {
    match LOG.try_lock() {
        Some(mut log) => {
            log.write(PREFIX, &mut no_sink, args);
            send_all(&log);
        }
        None => {
            let _ = fmt::Write::write_fmt(&mut Raw(port()), args);
        }
    }
}

/// The log as the toolstack reads it.
#[derive(Debug)]
pub(crate) struct Reader;

impl domain::Log for Reader {
    fn start(&self, from: Option<u32>) -> u32 {
        LOG.lock().ring().start(from)
    }
    fn copy(&self, at: u32, out: &mut [u8]) -> (usize, u32) {
        let answer = LOG.lock().ring().copy(at, out);
        (answer.count, answer.index)
    }
}

/// Forgets the log up to `position`.
pub(crate) fn forget(position: u32) {
    LOG.lock().ring().clear_to(position);
}

/// Whether `port` belongs to the console.
pub(crate) fn owns_port(number: u16) -> bool {
    port().is_some_and(|port| (port.base..=port.base + 7).contains(&number))
}

/// Takes what the port received; returns how many bytes.
pub(crate) fn receive(out: &mut [u8]) -> usize {
    let Some(uart) = port().map(Port::uart) else { return 0 };
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
    if let Some(port) = port() {
        port.uart().set_receive_interrupt(port.line.is_some());
    }
}

/// Dom0's console output: to the ring and the port as it is.
pub(crate) fn guest_output(bytes: &[u8]) {
    let log = LOG.lock();
    log.ring().push(bytes);
    send_due(&log);
}

/// Defers the port's output, or ends that and sends what is due.
pub(crate) fn set_deferred(deferred: bool) {
    DEFERRED.store(deferred && !options::current().sync_console, Ordering::Relaxed);
    // The lock is free between two pieces: others may have something to say.
    while !deferred && send_piece(&LOG.lock()) {}
}

/// What the log has for the port goes there when it is in the ring.
fn no_sink(_: &[u8]) {}

/// Sends all that is due, others' and earlier lives' too, unless output is deferred.
fn send_due(log: &Console<'_>) {
    if !DEFERRED.load(Ordering::Relaxed) {
        send_all(log);
    }
}

fn send_all(log: &Console<'_>) {
    while send_piece(log) {}
}

/// Sends a piece of what is due; true if there was some. It counts as sent first: a failure while it is sent loses at
/// most this piece, and the next life does not fail at the same one again.
fn send_piece(log: &Console<'_>) -> bool {
    let mut piece = [0; 16];
    let count = log.ring().drain(&mut piece);
    send(port(), &piece[..count]);
    count > 0
}

/// Newlines as CR LF.
fn send(port: Option<Port>, bytes: &[u8]) {
    screen::write(bytes);
    let Some(uart) = port.map(Port::uart) else { return };
    for &byte in bytes {
        if byte == b'\n' {
            uart.send(b'\r');
        }
        uart.send(byte);
    }
}

struct Raw(Option<Port>);

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
