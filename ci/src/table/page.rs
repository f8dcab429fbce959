//! `docs/xl.md`: what each command does on Xen and here.

use std::fmt::Write as _;

use super::compare::Verdict;
use super::record::Row;

const HEAD: &str = "# What the stock tools answer\n
Each line was run in the same Dom0, with a PV guest named `pv` running, on Debian's Xen 4.17 and on Revenant, and exit
codes and output were compared; `make table ROWS=all` writes this page. What varies by nature (times, addresses, free
memory) is masked by `ci/table/masks`; what may differ, and why, stands in `ci/table/differences`. Everything else is equal,
or the test fails. Of `ci/guest/etc/xl-table/rows` those that begin with `~` take part only in that; the others are in
`make test` as well.
";

/// Characters of an error that are shown.
const SHOWN: usize = 70;

/// Makes the page, and says whether all rows are there. `rows_file` is what the guest reads, whose comments are headings.
pub(crate) fn page(rows_file: &str, peer: &[Row], ours: &[Row], verdicts: &[Verdict]) -> (String, bool) {
    let mut text = HEAD.to_string();
    let mut complete = true;
    let mut results = peer.iter().zip(ours).zip(verdicts).peekable();
    for line in rows_file.lines().filter(|line| !line.is_empty() && !line.starts_with('!')) {
        if let Some(heading) = line.strip_prefix("# ") {
            let columns = "| command | Xen 4.17 | Revenant | why it differs |\n|---|---|---|---|";
            let _ = writeln!(text, "\n## {heading}\n\n{columns}");
            continue;
        }
        let line = line.trim_start_matches(['~', ' ']);
        if line.starts_with('!') {
            continue;
        }
        let Some(((peer, ours), verdict)) = results.next_if(|((peer, _), _)| peer.command == line) else {
            complete = false;
            continue;
        };
        let (here, why) = match verdict {
            Verdict::Same => ("the same".into(), String::new()),
            Verdict::Allowed(reasons) => (summary(ours), reasons.join("; ")),
            Verdict::Wrong(_) => (summary(ours), "**wrong**".into()),
        };
        let _ = writeln!(text, "| {} | {} | {here} | {why} |", code(line), summary(peer));
    }
    (text, complete)
}

/// One line for what came of a command.
fn summary(row: &Row) -> String {
    let shown = row.output.iter().rev().find(|line| !line.trim().is_empty());
    match (row.exit, shown, row.output.len()) {
        (0, None, _) => "succeeds".into(),
        (0, Some(line), 1) => code(line),
        (0, Some(_), lines) => format!("{lines} lines"),
        (exit, None, _) => format!("exit code {exit}"),
        (exit, Some(line), _) => format!("exit code {exit}: {}", code(line)),
    }
}

/// Text as code in a table's cell.
fn code(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut short: String = words.join(" ").chars().map(|c| if c == '`' { '\'' } else { c }).collect();
    if let Some((cut, _)) = short.char_indices().nth(SHOWN) {
        short.truncate(cut);
        short.push('…');
    }
    format!("`{}`", short.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_under_their_headings() {
        let row = |command: &str, output: &[&str], exit| Row {
            command: command.into(),
            output: output.iter().map(ToString::to_string).collect(),
            exit,
        };
        let peer = [row("xl a | b", &["x", "y"], 0), row("xl c", &["no `c`"], 1)];
        let ours = [peer[0].clone(), row("xl c", &[], 2)];
        let verdicts = [Verdict::Same, Verdict::Allowed(vec!["so".into()])];
        let (text, complete) =
            page("# First\nxl a | b\n! sleep 1\n~! sleep 2\n# Second\n~ xl c\n", &peer, &ours, &verdicts);
        assert!(complete && text.contains("## First\n"), "{text}");
        assert!(text.contains("| `xl a \\| b` | 2 lines | the same |  |\n"), "{text}");
        assert!(text.ends_with("| `xl c` | exit code 1: `no 'c'` | exit code 2 | so |\n"), "{text}");
    }
}
