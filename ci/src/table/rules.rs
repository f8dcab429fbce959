//! Two files of rules, read by people: what varies by nature, and what may differ.
//!
//! A line that begins with `rows` says, by a regular expression that the whole command must match, which rows the
//! lines below are about. In `masks` each of these is `mask REGEX => TEXT`, `drop REGEX` (lines to leave out) or `sort`
//! (the order of lines says nothing). In `differences` they are `lines REGEX`, `exit` or `output` (all of it), and
//! `because TEXT`, once.

use anyhow::{Context as _, Result, bail, ensure};
use regex_lite::Regex;

use super::record::Row;

/// What the rules about some rows say.
#[derive(Debug)]
pub(crate) struct Rule {
    /// As the file has it.
    pub(crate) pattern: String,
    rows: Regex,
    /// What is done or allowed.
    pub(crate) acts: Vec<Act>,
    /// Why; only a difference has it.
    pub(crate) because: String,
}

/// One line below `rows`.
#[derive(Debug)]
pub(crate) enum Act {
    /// This becomes that text.
    Mask(Regex, String),
    /// Such lines are left out.
    Drop(Regex),
    /// Lines are put in order.
    Sort,
    /// Such lines may differ.
    Lines(Regex),
    /// The exit code may differ.
    Exit,
    /// All of the output may differ.
    Output,
}

impl Rule {
    /// Whether it is about this row.
    pub(crate) fn covers(&self, row: &Row) -> bool {
        self.rows.is_match(&row.command)
    }
}

/// Reads a file of rules.
///
/// # Errors
/// A line that is none of these.
pub(crate) fn parse(text: &str) -> Result<Vec<Rule>> {
    let mut rules: Vec<Rule> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        read(&mut rules, word, rest.trim()).with_context(|| format!("line {number}: {line}"))?;
    }
    Ok(rules)
}

fn read(rules: &mut Vec<Rule>, word: &str, rest: &str) -> Result<()> {
    if word == "rows" {
        let rows = Regex::new(&format!("^(?:{rest})$"))?;
        rules.push(Rule { pattern: rest.into(), rows, acts: Vec::new(), because: String::new() });
        return Ok(());
    }
    let rule = rules.last_mut().context("no rows yet")?;
    rule.acts.push(match word {
        "because" => {
            ensure!(rule.because.is_empty() && !rest.is_empty(), "one reason is wanted");
            rule.because = rest.into();
            return Ok(());
        }
        "mask" => {
            let (what, with) = rest.split_once(" => ").context("mask REGEX => TEXT")?;
            Act::Mask(Regex::new(what)?, with.into())
        }
        "drop" => Act::Drop(Regex::new(rest)?),
        "lines" => Act::Lines(Regex::new(rest)?),
        "sort" => Act::Sort,
        "exit" => Act::Exit,
        "output" => Act::Output,
        _ => bail!("unknown word {word}"),
    });
    Ok(())
}

/// Takes from a row what varies by nature.
pub(crate) fn mask(rules: &[Rule], row: &mut Row) {
    for rule in rules.iter().filter(|rule| rule.covers(row)).collect::<Vec<_>>() {
        for act in &rule.acts {
            match act {
                Act::Mask(what, with) => {
                    for line in &mut row.output {
                        *line = what.replace_all(line, with.as_str()).trim_end().to_string();
                    }
                }
                Act::Drop(what) => row.output.retain(|line| !what.is_match(line)),
                Act::Sort => row.output.sort(),
                Act::Lines(_) | Act::Exit | Act::Output => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(command: &str, output: &[&str]) -> Row {
        Row { command: command.into(), output: output.iter().map(ToString::to_string).collect(), exit: 0 }
    }

    #[test]
    fn masks_are_for_their_rows() {
        let rules = parse("# note\nrows xl list.*\n    mask [0-9]+ => N\n    drop ^#\n    sort\n").unwrap();
        let mut mine = row("xl list -l", &["z 12", "# x", "a 7  "]);
        mask(&rules, &mut mine);
        assert_eq!(mine.output, ["a N", "z N"]);
        let mut other = row("my xl list", &["z 12"]);
        mask(&rules, &mut other);
        assert_eq!(other.output, ["z 12"]);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["sort", "rows (", "rows a\n mask x", "rows a\n what", "rows a\n because x\n because y"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
