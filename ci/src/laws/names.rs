//! Law: no crate, folder, file or module is named for being of use to others.

use std::collections::BTreeSet;

use super::lexer::code_only;
use super::{Tree, Violation};

const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "misc", "helper", "helpers"];

pub(super) fn judge(tree: &Tree) -> Vec<Violation> {
    let mut violations = BTreeSet::new();
    for file in &tree.files {
        for part in file.path.split('/') {
            let stem = part.split('.').next().unwrap_or(part);
            if EMPTY_NAMES.iter().any(|name| stem.split(['-', '_']).any(|word| word == *name)) {
                violations.insert((file.path.clone(), format!("the name {stem} says nothing")));
            }
        }
        if file.ends("rs") {
            for (number, line) in code_only(&file.text).lines().enumerate() {
                if let Some(name) = module(line).filter(|name| EMPTY_NAMES.contains(name)) {
                    violations.insert((
                        format!("{}:{}", file.path, number + 1),
                        format!("the module name {name} says nothing"),
                    ));
                }
            }
        }
    }
    violations.into_iter().map(|(place, what)| Violation::new(place, what)).collect()
}

/// The name of the module that a line of code declares.
fn module(line: &str) -> Option<&str> {
    let mut words = line.split([' ', ';', '{', '(', ')']).filter(|word| !word.is_empty());
    words.find(|word| *word == "mod")?;
    words.next()
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn empty_names_are_found_wherever_they_stand() {
        let found = judge(&tree(&[
            ("a/utils/x.rs", ""),
            ("a/page_common.rs", ""),
            ("a/commonly.rs", ""),
            ("a/b.rs", "pub(crate) mod misc {}\nmod miscellany;\n// mod util;"),
        ]));
        let places: Vec<&str> = found.iter().map(|violation| violation.place.as_str()).collect();
        assert_eq!(places, ["a/b.rs:1", "a/page_common.rs", "a/utils/x.rs"]);
    }
}
