//! A console log that grows: its lines, and what they say of recoveries.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// What a recovery did, for all CPUs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Repair {
    /// Entries that were in progress.
    pub(crate) entries: u64,
    /// Writes undone.
    pub(crate) undone: u64,
    /// Outboxes finished.
    pub(crate) finished: u64,
}

/// The line of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// The failure's number.
    pub(crate) number: u64,
    /// What was done.
    pub(crate) repair: Repair,
}

impl Recovered {
    /// Reads `Recovered from failure 3 on CPU 1: of 2 entries 4 writes rolled back, 1 outboxes rolled forward (2 ...`.
    pub(crate) fn parse(line: &str) -> Option<Recovered> {
        let (_, rest) = line.split_once("Recovered from failure ")?;
        let number = rest.split(' ').next()?.parse().ok()?;
        rest.split_once(" TSC ticks")?;
        let before = |text: &str| -> Option<u64> {
            rest.split_once(text).and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok())
        };
        let repair = Repair {
            entries: before(" entries").unwrap_or(0),
            undone: before(" writes rolled back").unwrap_or(0),
            finished: before(" outboxes rolled forward").unwrap_or(0),
        };
        Some(Recovered { number, repair })
    }
}

/// Reads a log from where it ends now.
#[derive(Debug)]
pub(crate) struct Tail {
    file: File,
    rest: String,
    /// Lines that mean a loss, as far as they were seen.
    pub(crate) losses: Vec<String>,
}

/// Texts of the guest and of the hypervisor that mean a loss.
const LOSSES: [&str; 6] =
    ["LAB-LOST", " fail ", "Panic on CPU", "crashed", "segfault", "Kernel panic - not syncing"];

impl Tail {
    /// Opens it; what stands there is skipped.
    pub(crate) fn open(log: &Path) -> Result<Tail> {
        let mut file = File::open(log).with_context(|| format!("reading {}", log.display()))?;
        file.read_to_end(&mut Vec::new())?;
        Ok(Tail { file, rest: String::new(), losses: Vec::new() })
    }

    /// The complete lines that have come.
    pub(crate) fn lines(&mut self) -> Result<Vec<String>> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        let Some(end) = self.rest.rfind('\n') else { return Ok(Vec::new()) };
        let lines: Vec<String> = self.rest[..end].lines().map(str::to_string).collect();
        self.rest.drain(..=end);
        let lost = lines.iter().filter(|line| LOSSES.iter().any(|text| line.contains(text)));
        self.losses.extend(lost.cloned());
        Ok(lines)
    }

    /// The next recovery, as soon as its line is there.
    pub(crate) fn recovery(&mut self, limit: Duration) -> Result<Option<Recovered>> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if let Some(found) = self.lines()?.iter().rev().find_map(|line| Recovered::parse(line)) {
                return Ok(Some(found));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_a_recovery_did() {
        let line =
            |what: &str| format!("(XEN) Recovered from failure 7 on CPU 1: {what}, 6000 TSC ticks, 3 us");
        let nothing = Recovered { number: 7, repair: Repair::default() };
        assert_eq!(Recovered::parse(&line("nothing was in progress")), Some(nothing));
        let what = "of 2 entries 13 writes rolled back, 1 outboxes rolled forward (4 effects)";
        let repair = Repair { entries: 2, undone: 13, finished: 1 };
        assert_eq!(Recovered::parse(&line(what)), Some(Recovered { number: 7, repair }));
        assert_eq!(Recovered::parse("LAB-INIT"), None);
    }
}
