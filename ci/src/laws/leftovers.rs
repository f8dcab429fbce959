//! Law: no unfinished work in the tree, and no example in documentation that nobody runs.

use super::lexer::{code_only, lines_with_word};
use super::{Tree, Violation};

/// Words of notes to oneself, split so that this file does not contain them.
const NOTES: [&str; 3] = [concat!("FIX", "ME"), concat!("X", "XX"), concat!("HA", "CK")];
const MACROS: [&str; 2] = ["todo!", "unimplemented!"];

pub(super) fn judge(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.files.iter().filter(|file| !file.ends("md")) {
        for word in NOTES {
            let lines = lines_with_word(&file.text, word);
            violations
                .extend(lines.iter().map(|line| Violation::at(&file.path, *line, format!("{word} is left"))));
        }
        if file.ends("rs") {
            violations.extend(untested_examples(&file.text).into_iter().map(|line| {
                Violation::at(&file.path, line, "an example of code in documentation: tests do not run it")
            }));
            let code = code_only(&file.text);
            for word in MACROS {
                let lines = lines_with_word(&code, word);
                violations.extend(
                    lines.iter().map(|line| Violation::at(&file.path, *line, format!("{word} is left"))),
                );
            }
        }
    }
    violations
}

/// Lines of documentation that open a block of code rather than of text.
fn untested_examples(text: &str) -> Vec<usize> {
    let mut open = false;
    let mut found = Vec::new();
    for (number, line) in (0..).zip(text.lines()) {
        let doc = line.trim_start();
        let Some(doc) = doc.strip_prefix("///").or_else(|| doc.strip_prefix("//!")) else { continue };
        if let Some(language) = doc.trim_start().strip_prefix("```") {
            if !open && language.trim() != "text" {
                found.push(number);
            }
            open = !open;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn notes_count_in_comments_macros_in_code() {
        let text =
            format!("// {}: later\nfn f() {{ todo!() }}\n// todo! in words\nunimplemented!();", NOTES[0]);
        let found: Vec<String> = judge(&tree(&[("a.rs", &text)])).iter().map(ToString::to_string).collect();
        assert_eq!(untested_examples("//! ```text\n//! a\n//! ```\n/// ```\n/// f();\n/// ```\n"), [3]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[1].starts_with("a.rs:2") && found[2].starts_with("a.rs:4"), "{found:?}");
    }
}
