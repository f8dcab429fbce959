//! The failures of a campaign in a file, so that a run that was stopped can go on.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::survive::agent::When;
use crate::survive::figures::Panic;
use crate::survive::tail::Repair;

/// The file: a line for each failure, fields between tabs. A line `lost` and why is about the failure before it.
#[derive(Debug)]
pub(crate) struct Record(File);

impl Record {
    /// Opens the file; with the failures that an earlier run left there if that is to go on, empty if not.
    pub(crate) fn open(path: &Path, resume: bool) -> Result<(Record, Vec<Panic>)> {
        let panics = match fs::read_to_string(path) {
            Ok(text) if resume => read(&text).with_context(|| format!("reading {}", path.display()))?,
            _ => Vec::new(),
        };
        if !resume {
            File::create(path)?;
        }
        Ok((Record(OpenOptions::new().create(true).append(true).open(path)?), panics))
    }

    /// Adds a failure.
    pub(crate) fn add(&mut self, panic: &Panic) -> Result<()> {
        writeln!(self.0, "{}", line(panic)).context("writing the results")
    }

    /// The last failure lost something after all.
    pub(crate) fn lost(&mut self, why: &str) -> Result<()> {
        writeln!(self.0, "lost\t{}", plain(why)).context("writing the results")
    }
}

/// Without what separates lines and fields.
fn plain(text: &str) -> String {
    text.replace(['\n', '\t'], " ")
}

fn line(panic: &Panic) -> String {
    let repair = panic
        .repair
        .map_or(String::new(), |repair| format!("{} {} {}", repair.entries, repair.undone, repair.finished));
    let Panic { when, cpu, address, symbol, function, head, others, outage, lost, .. } = panic;
    let lost = lost.as_deref().map(plain).unwrap_or_default();
    let (symbol, function) = (plain(symbol), plain(function));
    format!(
        "{when}\t{cpu}\t{address:x}\t{symbol}\t{function}\t{head:x}\t{others}\t{repair}\t{outage}\t{lost}"
    )
}

fn read(text: &str) -> Result<Vec<Panic>> {
    let mut panics: Vec<Panic> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("lost\t"), panics.last_mut()) {
            (Some(why), Some(last)) => last.lost = Some(why.to_string()),
            _ => panics.push(parse(line).with_context(|| format!("no failure: {line}"))?),
        }
    }
    Ok(panics)
}

fn parse(line: &str) -> Option<Panic> {
    let fields: Vec<&str> = line.split('\t').collect();
    let &[when, cpu, address, symbol, function, head, others, repair, outage, lost] = fields.as_slice()
    else {
        return None;
    };
    let repair: Vec<u64> = repair.split_whitespace().map_while(|number| number.parse().ok()).collect();
    Some(Panic {
        when: When::ALL.into_iter().find(|known| known.to_string() == when)?,
        cpu: cpu.parse().ok()?,
        address: u64::from_str_radix(address, 16).ok()?,
        symbol: symbol.into(),
        function: function.into(),
        head: u64::from_str_radix(head, 16).ok()?,
        others: others.parse().ok()?,
        repair: match *repair.as_slice() {
            [entries, undone, finished] => Some(Repair { entries, undone, finished }),
            _ => None,
        },
        outage: outage.parse().ok()?,
        lost: (!lost.is_empty()).then(|| lost.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read_back() {
        let repair = Some(Repair { entries: 2, undone: 3, finished: 0 });
        let one = Panic {
            when: When::Undo,
            cpu: 1,
            address: 0xffff_82d0_4000_1000,
            symbol: "serve<a, b>".into(),
            function: "serve".into(),
            head: 0x11,
            others: 1,
            repair,
            outage: 400_000,
            lost: None,
        };
        let two = Panic { repair: None, when: When::Fresh, lost: Some("x y".into()), ..one.clone() };
        let text = format!("{}\n{}\n", line(&one), line(&Panic { lost: Some("x\ny".into()), ..two.clone() }));
        assert_eq!(read(&text).unwrap(), [one.clone(), two]);
        let late = read(&format!("{}\nlost\tz\n", line(&one))).unwrap();
        assert_eq!(late[0].lost.as_deref(), Some("z"));
        assert!(read("any 1\n").is_err());
    }
}
