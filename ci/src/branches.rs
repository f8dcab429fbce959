//! Indirect branches of the image: all go through the thunk that boot makes what the processor needs
//! (`machine::thunk`).

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::command::output;

/// The thunk.
const THUNK: &str = "__x86_indirect_thunk_r11";

/// Code that may branch for itself: it runs once, before any guest, and where the thunk is not mapped yet.
const BEFORE_GUESTS: [&str; 2] = ["boot_long", "bios_ask"];

/// Fails when an ELF file has an indirect branch outside of the thunk, and when nothing goes through it.
pub(crate) fn check(file: &Path) -> Result<()> {
    let found = Branches::parse(&output(Command::new("objdump").arg("-d").arg(file))?);
    ensure!(found.plain.is_empty(), "indirect branches without a thunk:\n{}", found.plain.join("\n"));
    ensure!(found.through > 0, "{}: no branch goes through the thunk", file.display());
    Ok(())
}

/// What a disassembly has.
#[derive(Debug, Default, PartialEq, Eq)]
struct Branches {
    /// Branches to the thunk.
    through: usize,
    /// Indirect ones: the function and the instruction.
    plain: Vec<String>,
}

impl Branches {
    /// Of objdump's text, in the syntax whose only stars are those of indirect branches.
    fn parse(text: &str) -> Branches {
        let mut found = Branches::default();
        let mut function = "";
        for line in text.lines() {
            if let Some((_, name)) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
                function = name;
            } else if line.ends_with(&format!("<{THUNK}>")) {
                found.through += 1;
            } else if line.contains('*') && !BEFORE_GUESTS.contains(&function) {
                found.plain.push(format!("{function}: {}", line.trim()));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thunk_and_what_runs_first_may_branch() {
        let text = "\nffff82d040016a40 <handler>:\n\
            ffff82d040016a40:\tff 15 a6 e0 0c 00    \tcall   *0xce0a6(%rip)        # ffff82d0400e9668 <table>\n\
            ffff82d040016a46:\te8 f5 ff ff ff       \tcall   ffff82d040016a40 <__x86_indirect_thunk_r11>\n\
            ffff82d040016a4b:\te8 f0 ff ff ff       \tcall   ffff82d040016a40 <other>\n\
            ffff82d040016a50:\t3e ff e0             \tnotrack jmp *%rax\n\
            \n000000000020027a <boot_long>:\n  20027a:\tff e0                \tjmp    *%rax\n";
        let found = Branches::parse(text);
        assert_eq!((found.through, found.plain.len()), (1, 2));
        assert!(found.plain[0].starts_with("handler: ffff82d040016a40:"), "{}", found.plain[0]);
    }
}
