//! Law: `unsafe` and assembly stand only in the crates that exist for them; all others forbid the former. What is
//! declared elsewhere has its proof like any unsafe block, for which the linter looks.

use super::lexer::{code_only, lines_with_word};
use super::tree::Member;
use super::{Tree, Violation};

const UNSAFE: [&str; 5] = ["vault", "machine", "guest-memory", "locks", "hypervisor"];
/// Tests that may in spite of their crate: a file and the reason.
const TESTS: [(&str, &str); 1] =
    [("crates/boot-info/tests/multiboot.rs", "multiboot2 reads its information through a pointer alone")];
const ASSEMBLY: [&str; 3] = ["machine", "hypervisor", "vault"];
const ASSEMBLY_WORDS: [&str; 3] = ["asm", "global_asm", "naked_asm"];

pub(super) fn judge(tree: &Tree) -> Vec<Violation> {
    tree.members.iter().flat_map(|member| judge_member(tree, member)).collect()
}

fn judge_member(tree: &Tree, member: &Member) -> Vec<Violation> {
    let mut violations = Vec::new();
    let may_unsafe = UNSAFE.contains(&member.name.as_str());
    let may_assembly = ASSEMBLY.contains(&member.name.as_str());
    let mut forbids = false;
    for file in tree.rust_of(member) {
        let code = code_only(&file.text);
        let root =
            ["/src/lib.rs", "/src/main.rs"].iter().any(|end| file.path == format!("{}{end}", member.folder));
        forbids |= root && code.contains("#![forbid(unsafe_code)]");
        if !may_unsafe && TESTS.iter().all(|(path, _)| *path != file.path) {
            let lines = lines_with_word(&code, "unsafe");
            violations.extend(
                lines.iter().map(|line| Violation::at(&file.path, *line, "unsafe outside its crates")),
            );
        }
        violations.extend(unproved(&code, &file.text).map(|line| {
            Violation::at(&file.path, line, "a block of foreign declarations without // SAFETY:")
        }));
        if !may_assembly {
            let found = ASSEMBLY_WORDS.iter().flat_map(|word| lines_with_word(&code, &format!("{word}!")));
            violations
                .extend(found.map(|line| Violation::at(&file.path, line, "assembly outside its crates")));
        }
    }
    if !may_unsafe && !forbids {
        violations.push(Violation::new(&member.folder, "the crate's root lacks #![forbid(unsafe_code)]"));
    }
    violations
}

/// Lines of blocks of foreign declarations that no comment right above them justifies.
fn unproved<'a>(code: &'a str, text: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_block = |line: &str| line.trim_start().starts_with("unsafe extern") && line.ends_with('{');
    let lines: Vec<&str> = text.lines().collect();
    let blocks = code.lines().enumerate().filter(move |(_, line)| is_block(line) && !line.contains("fn "));
    blocks.filter_map(move |(index, _)| {
        let above = lines[..index].iter().rev().take_while(|line| line.trim_start().starts_with("//"));
        (!above.into_iter().any(|line| line.contains("SAFETY:"))).then_some(index)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    fn judged(name: &str, code: &str) -> Vec<String> {
        let manifest = format!("[package]\nname = \"{name}\"\n");
        let files = [("c/Cargo.toml", manifest.as_str()), ("c/src/lib.rs", code)];
        judge(&tree(&files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_logic_crate_forbids_it() {
        assert!(judged("frames", "#![forbid(unsafe_code)]\n// unsafe and asm! in words\n").is_empty());
        assert_eq!(judged("frames", "").len(), 1);
        assert_eq!(
            judged("frames", "#![forbid(unsafe_code)]\nunsafe fn f() {}\ncore::arch::asm!(\"\")").len(),
            2
        );
    }

    #[test]
    fn foreign_declarations_are_justified() {
        let block = "unsafe extern \"C\" {\n    static x: u8;\n}\n";
        let found = ["c/src/lib.rs:2: a block of foreign declarations without // SAFETY:"];
        assert_eq!(judged("machine", &format!("\n{block}")), found);
        assert!(judged("machine", &format!("// SAFETY: a label,\n// of ours.\n{block}")).is_empty());
        assert!(judged("machine", "unsafe extern \"C\" fn f() {\n}\n").is_empty());
    }

    #[test]
    fn the_named_crates_may() {
        assert!(judged("machine", "unsafe { asm!(\"hlt\") }").is_empty());
        assert_eq!(
            judged("locks", "unsafe {}\nasm!(\"\");"),
            ["c/src/lib.rs:2: assembly outside its crates"]
        );
    }
}
