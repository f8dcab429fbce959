//! Two records beside each other, less what may differ.

use std::fmt::Write as _;

use super::record::Row;
use super::rules::{Act, Rule};

/// What came of comparing a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Equal.
    Same,
    /// Different, as a rule allows, for these reasons.
    Allowed(Vec<String>),
    /// Different: how.
    Wrong(String),
}

/// Compares row by row. The second list is of what is wrong beside the rows: some that only one record has, and rules
/// that allow what does not occur.
pub(crate) fn compare(peer: &[Row], ours: &[Row], rules: &[Rule]) -> (Vec<Verdict>, Vec<String>) {
    let mut used = vec![false; rules.len()];
    let mut wrong = Vec::new();
    let mut verdicts = Vec::new();
    for (place, row) in ours.iter().enumerate() {
        verdicts.push(match peer.get(place).filter(|other| other.command == row.command) {
            Some(other) => judge(other, row, rules, &mut used),
            None => Verdict::Wrong("  Xen's record has another row here: measure it again\n".into()),
        });
    }
    if peer.len() != ours.len() {
        wrong.push(format!("Xen's record has {} rows, ours {}", peer.len(), ours.len()));
    }
    for (rule, _) in rules.iter().zip(used).filter(|(_, used)| !used) {
        wrong.push(format!("nothing differs that the rule for '{}' is needed for", rule.pattern));
    }
    (verdicts, wrong)
}

/// Of the peer's rows those that `ours` has too, in order.
pub(crate) fn same_rows(peer: &[Row], ours: &[Row]) -> Vec<Row> {
    let mut rest = peer.iter();
    ours.iter()
        .filter_map(|row| {
            rest.clone().position(|other| other.command == row.command).and_then(|at| rest.nth(at))
        })
        .cloned()
        .collect()
}

fn judge(peer: &Row, ours: &Row, rules: &[Rule], used: &mut [bool]) -> Verdict {
    if peer == ours {
        return Verdict::Same;
    }
    let (mut peer_left, mut ours_left) = (peer.clone(), ours.clone());
    let mut reasons = Vec::new();
    for (rule, used) in rules.iter().zip(used).filter(|(rule, _)| rule.covers(ours)) {
        let before = (peer_left.clone(), ours_left.clone());
        for act in &rule.acts {
            match act {
                Act::Lines(what) => {
                    peer_left.output.retain(|line| !what.is_match(line));
                    ours_left.output.retain(|line| !what.is_match(line));
                }
                Act::Output => {
                    peer_left.output.clear();
                    ours_left.output.clear();
                }
                Act::Exit => peer_left.exit = ours_left.exit,
                Act::Mask(..) | Act::Drop(_) | Act::Sort => {}
            }
        }
        if before != (peer_left.clone(), ours_left.clone()) {
            *used = true;
            reasons.push(rule.because.clone());
        }
    }
    if peer_left == ours_left {
        return Verdict::Allowed(reasons);
    }
    Verdict::Wrong(difference(&peer_left, &ours_left))
}

/// Lines of one side alone, in the manner of diff: `-` Xen's, `+` ours.
fn difference(peer: &Row, ours: &Row) -> String {
    let mut text = String::new();
    if peer.exit != ours.exit {
        let _ = writeln!(text, "  exit code {} on Xen, {} here", peer.exit, ours.exit);
    }
    let (a, b) = (&peer.output, &ours.output);
    // Lengths of the longest common sequences of the rests.
    let mut common = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] =
                if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || i < a.len() && common[i + 1][j] >= common[i][j + 1] {
            let _ = writeln!(text, "  - {}", a[i]);
            i += 1;
        } else {
            let _ = writeln!(text, "  + {}", b[j]);
            j += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::rules::parse;

    fn row(command: &str, output: &[&str], exit: i32) -> Row {
        Row { command: command.into(), output: output.iter().map(ToString::to_string).collect(), exit }
    }

    #[test]
    fn equal_rows_need_no_rule() {
        let rows = [row("a", &["x"], 0)];
        assert_eq!(compare(&rows, &rows, &[]), (vec![Verdict::Same], vec![]));
        let rules = parse("rows a\n lines x\n because y\n").unwrap();
        assert_eq!(compare(&rows, &rows, &rules).1.len(), 1, "a rule that is not needed");
    }

    #[test]
    fn differences_are_shown_or_allowed() {
        let peer = [row("a", &["x", "same", "z"], 0)];
        let ours = [row("a", &["y", "same", "z"], 1)];
        let (verdicts, _) = compare(&peer, &ours, &[]);
        assert_eq!(verdicts, [Verdict::Wrong("  exit code 0 on Xen, 1 here\n  - x\n  + y\n".into())]);
        let rules = parse("rows a|b\n lines ^[xy]$\n exit\n because it is so\n").unwrap();
        assert_eq!(compare(&peer, &ours, &rules), (vec![Verdict::Allowed(vec!["it is so".into()])], vec![]));
        let rules = parse("rows a\n lines ^y$\n exit\n because no\n").unwrap();
        assert_eq!(compare(&peer, &ours, &rules).0, [Verdict::Wrong("  - x\n".into())]);
    }

    #[test]
    fn a_part_is_compared_with_its_part() {
        let peer = ["a", "b", "a", "c"].map(|command| row(command, &[], 0));
        let ours = ["a", "a", "x", "c"].map(|command| row(command, &[], 0));
        let same: Vec<String> = same_rows(&peer, &ours).into_iter().map(|row| row.command).collect();
        assert_eq!(same, ["a", "a", "c"]);
    }

    #[test]
    fn other_rows_are_wrong() {
        let (verdicts, wrong) = compare(&[row("a", &[], 0), row("b", &[], 0)], &[row("c", &[], 0)], &[]);
        assert!(matches!(&verdicts[..], [Verdict::Wrong(_)]));
        assert_eq!(wrong.len(), 1);
    }
}
