//! Which messages are printed: levels, thresholds and the rate limit (docs of the options `loglvl` and `guest_loglvl`
//! in Xen's command line manual).

/// How grave a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be; also messages without a level.
    Warning,
    /// Something happened.
    Info,
    /// Something for who looks for a fault.
    Debug,
}

/// Levels below `always` are printed, those below `limited` at a limited rate, others never. 0 is no level, 4 all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// First level not always printed.
    pub always: u8,
    /// First level never printed; at least `always`.
    pub limited: u8,
}

impl Thresholds {
    /// The default of `loglvl=`: `warning`.
    pub const HYPERVISOR: Self = Self { always: 2, limited: 2 };
    /// The default of `guest_loglvl=`: `none/warning`.
    pub const GUEST: Self = Self { always: 0, limited: 2 };

    /// An option's value: `level` or `level/level`, of `none`, `error`, `warning`, `info`, `debug`, `all`.
    pub fn parse(value: &str) -> Option<Self> {
        let one = |name: &str| {
            Some(match name {
                "none" => 0,
                "error" => 1,
                "warning" => 2,
                "info" => 3,
                "debug" | "all" => 4,
                _ => return None,
            })
        };
        let (always, limited) = match value.split_once('/') {
            Some((always, limited)) => (one(always)?, one(limited)?),
            None => (one(value)?, one(value)?),
        };
        Some(Self { always, limited: limited.max(always) })
    }
}

/// Ten messages at once, then one every five seconds.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    /// Time saved up, at most for [`BURST`] messages.
    saved_ns: u64,
    last_ns: u64,
    lost: u32,
}

const INTERVAL_NS: u64 = 5_000_000_000;
const BURST: u64 = 10;

impl RateLimit {
    /// With a full burst.
    pub const fn new() -> Self {
        Self { saved_ns: BURST * INTERVAL_NS, last_ns: 0, lost: 0 }
    }

    /// The messages lost since the last one let through, if one may be printed now.
    pub fn admit(&mut self, now_ns: u64) -> Option<u32> {
        let passed = now_ns.saturating_sub(self.last_ns);
        self.last_ns = self.last_ns.max(now_ns);
        self.saved_ns = self.saved_ns.saturating_add(passed).min(BURST * INTERVAL_NS);
        match self.saved_ns.checked_sub(INTERVAL_NS) {
            Some(rest) => {
                self.saved_ns = rest;
                Some(core::mem::take(&mut self.lost))
            }
            None => {
                self.lost = self.lost.saturating_add(1);
                None
            }
        }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::new()
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is printed, and `lost` before it were not, which should be said.
    Print {
        /// Messages the rate limit dropped.
        lost: u32,
    },
    /// It is not.
    Drop,
}

/// Thresholds with their rate limit.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    thresholds: Thresholds,
    rate: RateLimit,
}

impl Filter {
    /// A filter with a full burst.
    pub const fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, rate: RateLimit::new() }
    }

    /// The thresholds.
    pub const fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// Changes the thresholds.
    pub const fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// Decides about a message.
    pub fn judge(&mut self, level: Level, now_ns: u64) -> Verdict {
        let level = level as u8;
        if level < self.thresholds.always {
            return Verdict::Print { lost: 0 };
        }
        if level >= self.thresholds.limited {
            return Verdict::Drop;
        }
        self.rate.admit(now_ns).map_or(Verdict::Drop, |lost| Verdict::Print { lost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_parse_as_documented() {
        assert_eq!(Thresholds::parse("warning"), Some(Thresholds::HYPERVISOR));
        assert_eq!(Thresholds::parse("none/warning"), Some(Thresholds::GUEST));
        assert_eq!(Thresholds::parse("all"), Some(Thresholds { always: 4, limited: 4 }));
        assert_eq!(Thresholds::parse("info/error"), Some(Thresholds { always: 3, limited: 3 }));
        for wrong in ["", "loud", "info/", "/info", "info/error/all"] {
            assert_eq!(Thresholds::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn time_that_stands_or_runs_back_does_no_harm() {
        let mut rate = RateLimit::new();
        assert_eq!((0..20).filter(|_| rate.admit(1000).is_some()).count(), 10);
        assert_eq!(rate.admit(0), None);
        assert_eq!(rate.admit(1000 + INTERVAL_NS), Some(11));
        assert_eq!(rate.admit(u64::MAX), Some(0));
    }

    #[test]
    fn levels_meet_thresholds() {
        let mut filter = Filter::new(Thresholds::parse("error/info").unwrap());
        assert_eq!(filter.judge(Level::Error, 0), Verdict::Print { lost: 0 });
        assert_eq!(filter.judge(Level::Warning, 0), Verdict::Print { lost: 0 });
        assert_eq!(filter.judge(Level::Debug, 0), Verdict::Drop);
    }
}
