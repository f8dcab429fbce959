//! Law: no unfinished work in the tree.

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

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn notes_count_in_comments_macros_in_code() {
        let text =
            format!("// {}: later\nfn f() {{ todo!() }}\n// todo! in words\nunimplemented!();", NOTES[0]);
        let found: Vec<String> = judge(&tree(&[("a.rs", &text)])).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[1].starts_with("a.rs:2") && found[2].starts_with("a.rs:4"), "{found:?}");
    }
}
