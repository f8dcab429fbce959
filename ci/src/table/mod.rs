//! What the stock tools answer, compared with Debian's Xen: the same commands in the same Dom0
//! (`ci/guest/tests/xl-table`) on both, the peer's answers kept with the code.

mod compare;
mod page;
mod record;
mod rules;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::command::progress;
use crate::expect::Step;
use crate::options::{Below, Options};
use crate::qemu::End;
use crate::stand;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;
use compare::{Verdict, compare};
use record::Row;

/// The guest's test.
pub(crate) const TEST: &str = "xl-table";
/// Wall time for it on a busy machine.
const LIMIT: Duration = Duration::from_secs(3600);
/// What Debian's Xen answered where only the choice of rows was run, and where all were: what earlier rows do is seen in
/// later ones.
const PEER: &str = "ci/table/xen-4.17";
const PEER_ALL: &str = "ci/table/xen-4.17-all";
const MASKS: &str = "ci/table/masks";
const DIFFERENCES: &str = "ci/table/differences";
const PAGE: &str = "docs/xl.md";
const ROWS: &str = "ci/guest/etc/xl-table/rows";

/// Runs the table on what the options say, or takes what the last run said if a word is `again`. Debian's Xen: keeps the
/// answers. Ours: compares. With the word `all` no row is left out, and the page is written.
pub(crate) fn run(workspace: &Workspace, toolchain: &Toolchain, options: &Options) -> Result<bool> {
    let mut options = options.clone();
    let says = |word: &str| options.words.iter().any(|given| given == word);
    let (again, all) = (says("again"), says("all"));
    options.name = format!("table-{}", if options.below == Below::Peer { "peer" } else { "revenant" });
    let log = if again {
        workspace.build(&format!("logs/{}.log", options.name))
    } else {
        options.toolstack = true;
        options.machine.cpus = 2;
        options.quiet = true;
        options.timeout = options.timeout.max(LIMIT);
        options.append.push_str(&format!(" lab.test={TEST}{}", if all { " lab.set=TABLE=all" } else { "" }));
        options.steps = vec![Step::See(format!("LAB-RESULT {TEST} pass"))];
        options.refuse = vec![format!("LAB-RESULT {TEST} fail")];
        let outcome = stand::boot(workspace, toolchain, &options)?;
        ensure!(outcome.end == End::Done, "{}; console log: {}", outcome.end, outcome.log.display());
        outcome.log
    };
    if options.below == Below::Peer {
        let rows = masked(workspace, &log)?;
        fs::write(workspace.path(record_of(all)), record::render(&rows))?;
        progress(&format!("{}: {} rows", record_of(all), rows.len()));
        return Ok(true);
    }
    let (report, page) = compared(workspace, &log, all)?;
    if all {
        fs::write(workspace.path(PAGE), page)?;
    }
    print!("{report}");
    Ok(report.is_empty())
}

fn record_of(all: bool) -> &'static str {
    if all { PEER_ALL } else { PEER }
}

/// Compares the rows on a machine's console with the same ones of the peer: what is wrong, if anything is.
pub(crate) fn judge(workspace: &Workspace, log: &Path) -> Result<Option<String>> {
    let (peer, ours) = (peer(workspace, false)?, masked(workspace, log)?);
    let (peer, ours) = (compare::same_rows(&peer, &ours), compare::same_rows(&ours, &peer));
    // A part of the rows does not need every rule.
    let (verdicts, _) = compare(&peer, &ours, &rules::parse(&read(workspace, DIFFERENCES)?)?);
    Ok(Some(report(&ours, &verdicts)).filter(|report| !report.is_empty()))
}

/// What is wrong with which row.
fn report(ours: &[Row], verdicts: &[Verdict]) -> String {
    let wrong = ours.iter().zip(verdicts).filter_map(|(row, verdict)| match verdict {
        Verdict::Wrong(how) => Some(format!("{}\n{how}", row.command)),
        Verdict::Same | Verdict::Allowed(_) => None,
    });
    wrong.collect()
}

/// What is wrong, and the page. Rows that only one of the records has are no part of it; what is wrong with the rules
/// shows only if there are none.
fn compared(workspace: &Workspace, log: &Path, all: bool) -> Result<(String, String)> {
    let (peer, ours) = (peer(workspace, all)?, masked(workspace, log)?);
    let (peer, ours) = (compare::same_rows(&peer, &ours), compare::same_rows(&ours, &peer));
    let (verdicts, unused) = compare(&peer, &ours, &rules::parse(&read(workspace, DIFFERENCES)?)?);
    let mut report = report(&ours, &verdicts);
    let (page, complete) = page::page(&read(workspace, ROWS)?, &peer, &ours, &verdicts);
    if complete {
        unused.iter().for_each(|line| report.push_str(&format!("{line}\n")));
    }
    Ok((report, page))
}

/// The peer's rows. They are masked again: a rule that is new need not wait for the next measurement.
fn peer(workspace: &Workspace, all: bool) -> Result<Vec<Row>> {
    let mut peer = record::parse(&read(workspace, record_of(all))?)?;
    mask_all(workspace, &mut peer)?;
    Ok(peer)
}

/// The rows on a console, without what varies by nature.
fn masked(workspace: &Workspace, log: &Path) -> Result<Vec<Row>> {
    let console = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let text = record::from_console(&console)?;
    // As it was, for looking into.
    fs::write(log.with_extension("table"), &text)?;
    let mut rows = record::parse(&text)?;
    mask_all(workspace, &mut rows)?;
    Ok(rows)
}

fn mask_all(workspace: &Workspace, rows: &mut [Row]) -> Result<()> {
    let rules = rules::parse(&read(workspace, MASKS)?)?;
    rows.iter_mut().for_each(|row| rules::mask(&rules, row));
    Ok(())
}

fn read(workspace: &Workspace, name: &str) -> Result<String> {
    fs::read_to_string(workspace.path(name)).with_context(|| format!("reading {name}"))
}
