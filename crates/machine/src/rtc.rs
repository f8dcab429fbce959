//! The CMOS real-time clock (Motorola MC146818A data sheet).
#![expect(unsafe_code, reason = "port I/O")]

use crate::port;

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const UPDATING: u8 = 0x80;
const BINARY: u8 = 0x04;
const HOURS_24: u8 = 0x02;
const AFTERNOON: u8 = 0x80;
/// Polls for an update to end: it takes 2 ms, a poll about 1 us.
const MAX_POLLS: u32 = 100_000;
/// Readings until two agree.
const MAX_READINGS: u32 = 8;

/// The clock's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// Seconds.
    pub second: u8,
    /// Minutes.
    pub minute: u8,
    /// Hours, bit 7 afternoon in 12-hour mode.
    pub hour: u8,
    /// Day of the month.
    pub day: u8,
    /// Month.
    pub month: u8,
    /// Year of the century.
    pub year: u8,
    /// Century, where the machine has that register.
    pub century: Option<u8>,
    /// Status register B: number format and hour mode.
    pub status_b: u8,
}

impl Registers {
    /// Seconds since 1970-01-01 00:00 UTC; `None` if the registers hold no date.
    pub fn unix_seconds(&self) -> Option<u64> {
        let number = |raw: u8| {
            if self.status_b & BINARY != 0 {
                return Some(u64::from(raw));
            }
            (raw & 0xf < 10 && raw >> 4 < 10).then(|| u64::from(raw >> 4) * 10 + u64::from(raw & 0xf))
        };
        let hour = if self.status_b & HOURS_24 != 0 {
            number(self.hour)?
        } else {
            let half = if self.hour & AFTERNOON != 0 { 12 } else { 0 };
            match number(self.hour & !AFTERNOON)? {
                hour @ 1..=12 => hour % 12 + half,
                _ => return None,
            }
        };
        let year = match (number(self.year)?, self.century.and_then(number)) {
            (100.., _) => return None,
            (year, Some(century @ 19..=22)) => century * 100 + year,
            (year @ 70.., _) => 1900 + year,
            (year, _) => 2000 + year,
        };
        let (month, day) = (number(self.month)?, number(self.day)?);
        let (minute, second) = (number(self.minute)?, number(self.second)?);
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        Some(days_since_1970(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second)
    }
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days from 1970-01-01 to a date from then on; `None` if there is no such date.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let index = usize::try_from(month.checked_sub(1)?).ok()?;
    if year < 1970 || day == 0 || day > *months.get(index)? {
        return None;
    }
    let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    Some(years + months[..index].iter().sum::<u64>() + day - 1)
}

/// Seconds since 1970 by the clock; `century` is the FADT's register for it (0: none). `None` if the clock is dead.
pub fn now(century: u8) -> Option<u64> {
    let mut last = read_settled(century);
    for _ in 0..MAX_READINGS {
        let next = read_settled(century);
        if next == last {
            return next.unix_seconds();
        }
        last = next;
    }
    None
}

fn read_settled(century: u8) -> Registers {
    for _ in 0..MAX_POLLS {
        if cmos(STATUS_A) & UPDATING == 0 {
            break;
        }
    }
    Registers {
        second: cmos(0),
        minute: cmos(2),
        hour: cmos(4),
        day: cmos(7),
        month: cmos(8),
        year: cmos(9),
        century: (century != 0 && century < 0x80).then(|| cmos(century)),
        status_b: cmos(STATUS_B),
    }
}

/// Reads a CMOS register. The two ports are one access: callers serialise with a guest's use of them.
pub fn cmos(register: u8) -> u8 {
    // SAFETY: the clock is the hypervisor's; it does no DMA.
    unsafe { port::write_u8(INDEX, register & 0x7f) };
    // SAFETY: as above.
    unsafe { port::read_u8(DATA) }
}

/// Writes a CMOS register; see [`cmos`].
pub fn set_cmos(register: u8, value: u8) {
    // SAFETY: as in `cmos`.
    unsafe { port::write_u8(INDEX, register & 0x7f) };
    // SAFETY: as in `cmos`.
    unsafe { port::write_u8(DATA, value) };
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCD_24: Registers = Registers {
        second: 0x59,
        minute: 0x30,
        hour: 0x23,
        day: 0x29,
        month: 0x02,
        year: 0x24,
        century: Some(0x20),
        status_b: HOURS_24,
    };

    #[test]
    fn all_formats_give_the_same_second() {
        let seconds = Some(1_709_249_459);
        assert_eq!(BCD_24.unix_seconds(), seconds);
        assert_eq!(Registers { hour: 0x91, status_b: 0, ..BCD_24 }.unix_seconds(), seconds);
        let binary = Registers {
            second: 59,
            minute: 30,
            hour: 11 | AFTERNOON,
            day: 29,
            month: 2,
            year: 24,
            century: None,
            status_b: BINARY,
        };
        assert_eq!(binary.unix_seconds(), seconds);
        let midnight = Registers { hour: 0x12, minute: 0, second: 0, status_b: 0, ..BCD_24 };
        assert_eq!(midnight.unix_seconds(), Some(1_709_164_800));
    }

    #[test]
    fn centuries_and_impossible_dates() {
        let new_year = Registers {
            year: 0x70,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            century: None,
            ..BCD_24
        };
        assert_eq!(new_year.unix_seconds(), Some(0));
        assert_eq!(Registers { century: Some(0xff), ..BCD_24 }.unix_seconds(), BCD_24.unix_seconds());
        for wrong in [
            Registers { month: 0x13, ..BCD_24 },
            Registers { month: 0, ..BCD_24 },
            Registers { day: 0x30, ..BCD_24 },
            Registers { hour: 0x24, ..BCD_24 },
            Registers { second: 0x5a, ..BCD_24 },
            Registers { hour: 0, status_b: 0, ..BCD_24 },
            Registers { year: 0xff, ..BCD_24 },
        ] {
            assert_eq!(wrong.unix_seconds(), None, "{wrong:?}");
        }
    }
}
