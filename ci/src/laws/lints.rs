//! Law: every member takes the workspace's lints.

use super::{Tree, Violation};

pub(super) fn judge(tree: &Tree) -> Vec<Violation> {
    let lacks = |manifest: &str| {
        let section =
            manifest.split_once("[lints]").map(|(_, rest)| rest.split('[').next().unwrap_or_default());
        !section.is_some_and(|text| text.lines().any(|line| line.replace(' ', "") == "workspace=true"))
    };
    let broken = tree.members.iter().filter(|member| lacks(&member.manifest));
    broken
        .map(|member| {
            Violation::new(format!("{}/Cargo.toml", member.folder), "lacks `[lints] workspace = true`")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn the_section_counts_not_the_word() {
        let good = "[package]\nname = \"a\"\n[lints]\nworkspace = true\n";
        let bad = "[package]\nname = \"b\"\n[dependencies]\nx.workspace = true\n[lints]\n[features]\nworkspace = true\n";
        let found = judge(&tree(&[("a/Cargo.toml", good), ("b/Cargo.toml", bad)]));
        assert_eq!(found.len(), 1);
        assert!(found[0].place.starts_with("b/"));
    }
}
