//! What stands before each line: the prefix, and the time as `console_timestamps=` wants it.

use core::fmt::{self, Write};

/// The form of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// None.
    None,
    /// Seconds and microseconds since boot.
    Boot {
        /// Since boot.
        ns: u64,
    },
    /// The time stamp counter.
    Raw {
        /// Its value.
        ticks: u64,
    },
    /// Date and time (UTC).
    Date {
        /// Milliseconds since 1970.
        unix_ms: u64,
        /// The milliseconds are shown.
        fine: bool,
    },
}

/// Most bytes of a line's start.
const CAPACITY: usize = 48;

/// A line's start: the prefix, then the time in brackets.
#[derive(Clone, Copy, Debug)]
pub struct LineStart {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl LineStart {
    /// `prefix` and `stamp`; what is longer than the room is cut off.
    pub fn new(prefix: &str, stamp: Stamp) -> Self {
        let mut start = Self { bytes: [0; CAPACITY], len: 0 };
        // Running out of room is the only error, and then the rest is left out.
        let _ = start.fill(prefix, stamp);
        start
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    fn fill(&mut self, prefix: &str, stamp: Stamp) -> fmt::Result {
        self.write_str(prefix)?;
        match stamp {
            Stamp::None => Ok(()),
            Stamp::Boot { ns } => write!(self, "[{:5}.{:06}] ", ns / 1_000_000_000, ns / 1000 % 1_000_000),
            Stamp::Raw { ticks } => write!(self, "[{ticks:016x}] "),
            Stamp::Date { unix_ms, fine } => {
                let seconds = unix_ms / 1000;
                let (year, month, day) = date(seconds / 86_400);
                let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
                write!(self, "[{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")?;
                if fine {
                    write!(self, ".{:03}", unix_ms % 1000)?;
                }
                self.write_str("] ")
            }
        }
    }
}

impl Write for LineStart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// Year, month and day of the Gregorian calendar, `days` after 1 January 1970.
fn date(mut days: u64) -> (u64, u64, u64) {
    const FOUR_CENTURIES: u64 = 146_097;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970 + days / FOUR_CENTURIES * 400;
    days %= FOUR_CENTURIES;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::{String, ToString};

    fn shown(stamp: Stamp) -> String {
        LineStart::new("(XEN) ", stamp).as_str().to_string()
    }

    #[test]
    fn times_are_shown_as_documented() {
        assert_eq!(shown(Stamp::None), "(XEN) ");
        assert_eq!(shown(Stamp::Boot { ns: 12_345_678_901 }), "(XEN) [   12.345678] ");
        assert_eq!(shown(Stamp::Raw { ticks: 0xabc }), "(XEN) [0000000000000abc] ");
        let date = |unix_ms, fine| shown(Stamp::Date { unix_ms, fine });
        assert_eq!(date(0, false), "(XEN) [1970-01-01 00:00:00] ");
        assert_eq!(date(951_782_400_007, true), "(XEN) [2000-02-29 00:00:00.007] ");
        assert_eq!(date(1_767_225_599_999, true), "(XEN) [2025-12-31 23:59:59.999] ");
        assert_eq!(date(4_107_542_400_000, false), "(XEN) [2100-03-01 00:00:00] ");
        assert!(date(u64::MAX, true).starts_with("(XEN) ["));
    }
}
