//! The house laws that a machine can judge. Each law is a function from the source tree to violations.

mod floors;
mod leftovers;
mod lexer;
mod lints;
mod names;
mod records;
mod size;
mod tree;
mod unsafety;

use std::fmt;

use anyhow::Result;

pub(crate) use tree::Tree;

use crate::tally::Tally;
use crate::workspace::Workspace;

/// One place that breaks a law.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// A path in the checkout, with a line where there is one.
    place: String,
    /// What is wrong there.
    what: String,
}

impl Violation {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Violation {
        Violation { place: place.into(), what: what.into() }
    }

    /// At a line (counted from 0) of a file.
    fn at(path: &str, line: usize, what: impl Into<String>) -> Violation {
        Violation::new(format!("{path}:{}", line + 1), what)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// A law: its name and its judge.
type Law = (&'static str, fn(&Tree) -> Vec<Violation>);

const LAWS: [Law; 7] = [
    ("arrows point down", floors::judge),
    ("unsafe and assembly where allowed", unsafety::judge),
    ("members take the workspace lints", lints::judge),
    ("files are short", size::judge),
    ("names say what a thing provides", names::judge),
    ("nothing is left over", leftovers::judge),
    ("durable types name lock and rebuild", records::judge),
];

/// Judges the checkout by every law, printing a line for each; returns how many held.
pub(crate) fn judge(workspace: &Workspace) -> Result<Tally> {
    let tree = Tree::read(workspace.root())?;
    let mut tally = Tally::default();
    for (name, law) in LAWS {
        let violations = law(&tree);
        println!("law {name} ... {}", if violations.is_empty() { "ok" } else { "FAILED" });
        for violation in &violations {
            println!("    {violation}");
        }
        tally.add(if violations.is_empty() { Tally::held() } else { Tally::broken(format!("law {name}")) });
    }
    Ok(tally)
}
