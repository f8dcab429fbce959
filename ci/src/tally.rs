//! What held and what did not: each verb's closing lines.

use std::path::Path;

/// Lines of a console's log that the closing lines repeat: who reads only the end of the output has the cause there.
const LAST_LINES: usize = 12;

/// How many things held and how many did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Held.
    pub(crate) passed: usize,
    /// Did not.
    pub(crate) failed: usize,
    /// What is said at the end of those that did not.
    failures: Vec<String>,
}

impl Tally {
    /// Counts; [`Tally::name`] says what did not hold.
    pub(crate) fn counts(passed: usize, failed: usize) -> Tally {
        Tally { passed, failed, failures: Vec::new() }
    }

    /// Names something that is counted already.
    pub(crate) fn name(&mut self, what: String) {
        self.failures.push(what);
    }

    /// One thing that held.
    pub(crate) fn held() -> Tally {
        Tally::counts(1, 0)
    }

    /// One thing that did not, and what is said of it at the end.
    pub(crate) fn broken(what: String) -> Tally {
        Tally { failures: vec![what], ..Tally::counts(0, 1) }
    }

    /// As [`Tally::broken`], with the last lines of a console's log.
    pub(crate) fn broken_with_log(what: &str, log: &Path) -> Tally {
        let text = std::fs::read(log).unwrap_or_default();
        Tally::broken(format!("{what}{}", last_lines(&String::from_utf8_lossy(&text))))
    }

    /// Adds another count to this one.
    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
    }

    /// Says once more what did not hold, then, as the last line, the counts and `more`; true if all held.
    pub(crate) fn close(&self, more: &str) -> bool {
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        println!("{} passed, {} failed{more}", self.passed, self.failed);
        self.failed == 0 && self.passed > 0
    }
}

/// Prints the line of a test; `wrong`: what is wrong, if anything is.
pub(crate) fn report(name: &str, wrong: Option<String>) -> Tally {
    let Some(why) = wrong else {
        println!("test {name} ... ok");
        return Tally::held();
    };
    println!("test {name} ... FAILED: {why}");
    Tally::broken(format!("{name}: {why}"))
}

/// The last lines that say something, indented.
fn last_lines(text: &str) -> String {
    let said: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let from = said.len().saturating_sub(LAST_LINES);
    said.iter().skip(from).fold(String::new(), |lines, line| format!("{lines}\n    | {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_failures_add_up() {
        let mut tally = Tally::held();
        tally.add(Tally::broken("a: no".into()));
        tally.add(Tally::counts(7, 2));
        assert_eq!(tally, Tally { passed: 8, failed: 3, failures: vec!["a: no".into()] });
        assert!(!tally.close(""));
        assert!(Tally::held().close("") && !Tally::default().close(""), "nothing done is nothing passed");
    }

    #[test]
    fn the_last_lines_of_a_log_are_kept() {
        let log = (0..20).fold(String::new(), |log, line| format!("{log}line {line}\r\n\r\n"));
        let kept = last_lines(&log);
        assert!(kept.starts_with("\n    | line 8\n") && kept.ends_with("| line 19"), "{kept}");
        assert_eq!(last_lines("\n\n"), "");
    }
}
