//! Law: a file has at most 400 lines; up to 700 with a reason in its header.

use super::{Tree, Violation};

const USUAL: usize = 400;
const MOST: usize = 700;
/// A comment of this text within the first lines gives the reason.
const REASON: &str = "Long file: ";
const HEADER: usize = 30;

pub(super) fn judge(tree: &Tree) -> Vec<Violation> {
    let source =
        |path: &str| [".rs", ".S", ".s", ".c", ".h", ".sh"].iter().any(|ending| path.ends_with(ending));
    let mut violations = Vec::new();
    for file in tree.files.iter().filter(|file| source(&file.path)) {
        let lines = file.text.lines().count();
        let excused = file.text.lines().take(HEADER).any(gives_reason);
        let most = if excused { MOST } else { USUAL };
        if lines > most {
            violations.push(Violation::new(&file.path, format!("{lines} lines, more than {most}")));
        }
    }
    violations
}

fn gives_reason(line: &str) -> bool {
    let comment = line.trim_start().strip_prefix("//").map(|rest| rest.trim_start_matches(['/', '!', ' ']));
    comment.and_then(|text| text.strip_prefix(REASON)).is_some_and(|reason| !reason.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn a_reason_buys_length_up_to_a_point() {
        let lines = |count: usize, head: &str| format!("{head}\n{}", "x\n".repeat(count - 1));
        let why = "//! Long file: one table";
        let texts =
            [lines(400, ""), lines(401, ""), lines(700, why), lines(701, why), lines(401, "// Long file: ")];
        let files: Vec<(&str, &str)> = ["a.rs", "b.rs", "c.rs", "d.rs", "e.rs"]
            .into_iter()
            .zip(texts.iter().map(String::as_str))
            .collect();
        let found: Vec<String> = judge(&tree(&files)).into_iter().map(|violation| violation.place).collect();
        assert_eq!(found, ["b.rs", "d.rs", "e.rs"]);
    }
}
