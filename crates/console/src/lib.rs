//! The hypervisor's log: what is printed, what is kept, what `xl dmesg` reads.
//!
//! The ring lives in memory the caller preserves over a microreboot ([`ring::State`] and a slice of cells); everything
//! else here is derived and starts anew. Nothing here touches a device: output goes to a [`Sink`], or is drained from
//! the ring when there is time.
#![no_std]
#![forbid(unsafe_code)]

mod level;
mod lines;
pub mod ring;
mod stamp;

use core::fmt::{self, Write};

pub use level::{Filter, Level, RateLimit, Thresholds, Verdict};
pub use lines::Lines;
pub use ring::Ring;
pub use stamp::{LineStart, Stamp};

/// Where log bytes go besides the ring.
pub trait Sink {
    /// Takes some bytes; never fails.
    fn write(&mut self, bytes: &[u8]);
}

impl<F: FnMut(&[u8])> Sink for F {
    fn write(&mut self, bytes: &[u8]) {
        self(bytes);
    }
}

/// Whom a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The hypervisor itself: `loglvl=`.
    Hypervisor,
    /// Something a guest did: `guest_loglvl=`.
    Guest,
}

/// The log. Callers serialise its use by a lock.
#[derive(Debug)]
pub struct Console<'a> {
    ring: Ring<'a>,
    lines: Lines,
    hypervisor: Filter,
    guest: Filter,
}

/// The prefix of the hypervisor's lines.
pub const PREFIX: &str = "(XEN) ";

impl<'a> Console<'a> {
    /// A log that keeps to `ring`, with Xen's default levels.
    pub const fn new(ring: Ring<'a>) -> Self {
        Self {
            ring,
            lines: Lines::new(),
            hypervisor: Filter::new(Thresholds::HYPERVISOR),
            guest: Filter::new(Thresholds::GUEST),
        }
    }

    /// The ring, for readers and for draining.
    pub const fn ring(&self) -> &Ring<'a> {
        &self.ring
    }

    /// The thresholds for messages of `origin`.
    pub const fn thresholds(&self, origin: Origin) -> Thresholds {
        match origin {
            Origin::Hypervisor => self.hypervisor.thresholds(),
            Origin::Guest => self.guest.thresholds(),
        }
    }

    /// Changes them (the options `loglvl=` and `guest_loglvl=`).
    pub const fn set_thresholds(&mut self, origin: Origin, thresholds: Thresholds) {
        match origin {
            Origin::Hypervisor => self.hypervisor.set_thresholds(thresholds),
            Origin::Guest => self.guest.set_thresholds(thresholds),
        }
    }

    /// Prints a message if its level lets it, with `start` at each line's start, to the ring and to `sink`. `now_ns` is
    /// any monotonic time. True if it was printed.
    pub fn print(
        &mut self,
        start: &str,
        (origin, level): (Origin, Level),
        now_ns: u64,
        sink: &mut impl Sink,
        message: fmt::Arguments<'_>,
    ) -> bool {
        let filter = match origin {
            Origin::Hypervisor => &mut self.hypervisor,
            Origin::Guest => &mut self.guest,
        };
        let lost = match filter.judge(level, now_ns) {
            Verdict::Drop => return false,
            Verdict::Print { lost } => lost,
        };
        if lost > 0 {
            self.write(start, sink, format_args!("printk: {lost} messages suppressed.\n"));
        }
        self.write(start, sink, message);
        true
    }

    /// Prints whatever the level, with `prefix` at each line's start: a domain's console output, a register dump.
    pub fn write(&mut self, prefix: &str, sink: &mut impl Sink, message: fmt::Arguments<'_>) {
        let mut out = Out { ring: &self.ring, lines: &mut self.lines, prefix, sink };
        // Neither ring nor sink fails; a `Display` that does loses its rest.
        let _ = out.write_fmt(message);
    }
}

struct Out<'o, 'r, S> {
    ring: &'o Ring<'r>,
    lines: &'o mut Lines,
    prefix: &'o str,
    sink: &'o mut S,
}

impl<S: Sink> Write for Out<'_, '_, S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.lines.write(self.prefix, text, &mut |piece: &str| {
            self.ring.push(piece.as_bytes());
            self.sink.write(piece.as_bytes());
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::sync::atomic::AtomicU8;
    use std::string::String;
    use std::vec::Vec;

    #[test]
    fn messages_reach_ring_and_sink_with_prefixes() {
        let cells: Vec<AtomicU8> = (0..256).map(|_| AtomicU8::new(0)).collect();
        let state = ring::State::default();
        let mut console = Console::new(Ring::attach(&cells, &state));
        let mut seen = String::new();
        let mut sink = |bytes: &[u8]| seen.push_str(core::str::from_utf8(bytes).unwrap());
        let mut say = |level, text| {
            console.print(PREFIX, (Origin::Hypervisor, level), 0, &mut sink, format_args!("{text}\n"))
        };
        assert!(say(Level::Error, "one\ntwo"));
        assert!(!say(Level::Debug, "quiet"));
        console.write("(d1) ", &mut sink, format_args!("hello"));
        console.write("(d1) ", &mut sink, format_args!(", {}\n", "world"));
        let expected = "(XEN) one\n(XEN) two\n(d1) hello, world\n";
        let mut read = [0; 100];
        let answer = console.ring().copy(console.ring().start(None), &mut read);
        assert_eq!((&read[..answer.count], seen.as_str()), (expected.as_bytes(), expected));
    }

    #[test]
    fn suppressed_messages_are_counted_aloud() {
        let cells: Vec<AtomicU8> = (0..4096).map(|_| AtomicU8::new(0)).collect();
        let state = ring::State::default();
        let mut console = Console::new(Ring::attach(&cells, &state));
        let mut seen = String::new();
        let mut sink = |bytes: &[u8]| seen.push_str(core::str::from_utf8(bytes).unwrap());
        for _ in 0..13 {
            console.print(PREFIX, (Origin::Guest, Level::Warning), 0, &mut sink, format_args!("guest\n"));
        }
        console.print(
            PREFIX,
            (Origin::Guest, Level::Warning),
            5_000_000_000,
            &mut sink,
            format_args!("later\n"),
        );
        assert_eq!(seen.matches("guest\n").count(), 10);
        assert!(seen.ends_with("(XEN) printk: 3 messages suppressed.\n(XEN) later\n"), "{seen}");
    }
}
