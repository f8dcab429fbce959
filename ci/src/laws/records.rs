//! Law: every durable type (the vault's `record!`) says which lock covers it and what rebuilds what derives from it.

use super::lexer::code_only;
use super::tree::SourceFile;
use super::{Tree, Violation};

const WORDS: [&str; 2] = ["Lock:", "Rebuild:"];

pub(super) fn judge(tree: &Tree) -> Vec<Violation> {
    // Records of tests outlive nothing.
    let ours = |file: &&SourceFile| {
        file.ends("rs") && file.path.contains("/src/") && !file.path.ends_with("/tests.rs")
    };
    tree.files.iter().filter(ours).flat_map(judge_file).collect()
}

fn judge_file(file: &SourceFile) -> Vec<Violation> {
    let code = code_only(&file.text);
    // Unit tests stand last in a file.
    let shipped = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
    let mut violations = Vec::new();
    for (at, _) in code[..shipped].match_indices("record!") {
        let Some(open) = code[at..].find('{').map(|open| at + open) else { continue };
        let Some(end) = closing(&code, open) else { continue };
        let before = doc_above(&file.text, at);
        for (name, place, doc) in structs(&file.text[open + 1..end], &code[open + 1..end]) {
            let missing: Vec<&str> =
                WORDS.into_iter().filter(|word| !doc.contains(word) && !before.contains(word)).collect();
            if !missing.is_empty() {
                let line = file.text[..open + 1 + place].matches('\n').count();
                let what = format!("{name} does not say {}", missing.join(" and "));
                violations.push(Violation::at(&file.path, line, what));
            }
        }
    }
    violations
}

/// The comment lines directly above a place.
fn doc_above(text: &str, at: usize) -> String {
    let lines: Vec<&str> = text[..at].lines().collect();
    let above = lines.iter().rev().skip(usize::from(!text[..at].ends_with('\n')));
    above.take_while(|line| line.trim_start().starts_with("//")).copied().collect()
}

/// The place of the bracket that closes the one at `open`.
fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The structs of a block: name, place, and the text between the one before and it (its comment).
fn structs<'a>(text: &'a str, code: &str) -> Vec<(String, usize, &'a str)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("struct ").map(|at| from + at) {
        let name =
            code[at + 7..].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        found.push((name.to_string(), at, &text[from..at]));
        from = code[at..].find('{').and_then(|open| closing(code, at + open)).unwrap_or(code.len());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    fn judged(text: &str) -> Vec<String> {
        judge(&tree(&[("a/src/b.rs", text)])).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn both_words_are_asked_of_every_struct() {
        let good = "/// A frame. Lock: the frame's. Rebuild: `frames::rebuild`.\n    pub struct Frame { a: Durable<u8> }\n";
        assert!(judged(&format!("record! {{\n{good}}}")).is_empty());
        let bad = "/// Lock: none\npub struct Other {\n  b: [Durable<u8>; { 4 }],\n}\n";
        assert_eq!(
            judged(&format!("vault::record! {{\n{good}{bad}}}")),
            ["a/src/b.rs:5: Other does not say Rebuild:"]
        );
    }

    #[test]
    fn a_comment_above_the_block_counts() {
        assert!(
            judged("// Lock: its own.\n// Rebuild: none.\nrecord! {\n    pub struct X { }\n}").is_empty()
        );
        assert_eq!(judged("// Lock: its own. Rebuild: none.\n\nrecord! {\n    pub struct X { }\n}").len(), 1);
    }

    #[test]
    fn words_tests_and_the_definition_do_not_count() {
        assert!(judged("/// [`record!`](x)\nmacro_rules! record { () => { struct X {} } }").is_empty());
        assert!(judged("#[cfg(test)]\nmod tests { record! { struct X {} } }").is_empty());
        assert!(judge(&tree(&[("a/tests/b.rs", "record! { struct X {} }")])).is_empty());
    }
}
