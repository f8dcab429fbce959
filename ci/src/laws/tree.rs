//! The source tree as the laws see it: crates and text files.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Folders that hold no source of ours.
const SKIPPED: [&str; 4] = ["target", "dist", ".build", ".git"];

/// Endings of the files that the laws read.
const ENDINGS: [&str; 9] = ["rs", "S", "s", "ld", "c", "h", "sh", "toml", "md"];

/// One text file; the path is relative to the checkout.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    pub(super) path: String,
    pub(super) text: String,
}

impl SourceFile {
    /// Whether the file's name ends so.
    pub(super) fn ends(&self, ending: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|it| it == ending)
    }
}

/// A package of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(super) name: String,
    /// Relative to the checkout.
    pub(super) folder: String,
    pub(super) manifest: String,
}

/// The whole checkout.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(super) members: Vec<Member>,
    pub(super) files: Vec<SourceFile>,
}

impl Tree {
    /// Reads a checkout.
    pub(crate) fn read(root: &Path) -> Result<Tree> {
        let mut files = Vec::new();
        walk(root, "", &mut files)?;
        Ok(Tree::of(files))
    }

    /// A tree of these files; every `Cargo.toml` with a package is a member.
    pub(super) fn of(files: Vec<SourceFile>) -> Tree {
        let member = |file: &SourceFile| {
            let folder = file.path.strip_suffix("Cargo.toml")?.trim_end_matches('/').to_string();
            let name = package_name(&file.text)?;
            Some(Member { name, folder, manifest: file.text.clone() })
        };
        Tree { members: files.iter().filter_map(member).collect(), files }
    }

    /// The Rust files of a member (those of members nested in its folder excluded).
    pub(super) fn rust_of<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a SourceFile> {
        self.files.iter().filter(move |file| {
            file.ends("rs") && self.owner(file).is_some_and(|owner| owner.folder == member.folder)
        })
    }

    /// The member a file belongs to: the one with the longest folder above it.
    fn owner(&self, file: &SourceFile) -> Option<&Member> {
        let above = |member: &&Member| file.path.starts_with(&format!("{}/", member.folder));
        self.members.iter().filter(above).max_by_key(|member| member.folder.len())
    }
}

/// The name in a manifest's `[package]` section.
fn package_name(manifest: &str) -> Option<String> {
    let section = manifest.split_once("[package]")?.1;
    let line = section.lines().skip(1).take_while(|line| !line.starts_with('[')).find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "name").then_some(value)
    })?;
    Some(line.trim().trim_matches('"').to_string())
}

fn walk(root: &Path, relative: &str, files: &mut Vec<SourceFile>) -> Result<()> {
    let folder = root.join(relative);
    let mut entries: Vec<_> = fs::read_dir(&folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if relative.is_empty() { name.clone() } else { format!("{relative}/{name}") };
        if entry.file_type()?.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                walk(root, &path, files)?;
            }
        } else if Path::new(&name).extension().is_some_and(|it| ENDINGS.iter().any(|ending| it == *ending)) {
            let text = fs::read_to_string(entry.path()).with_context(|| format!("reading {path}"))?;
            files.push(SourceFile { path, text });
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
    let file = |(path, text): &(&str, &str)| SourceFile { path: (*path).into(), text: (*text).into() };
    Tree::of(files.iter().map(file).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_manifests_with_a_package() {
        let tree = tree(&[
            ("Cargo.toml", "[workspace]\nmembers = []\n"),
            ("ci/Cargo.toml", "[package]\nname = \"lab\"\n"),
            ("ci/simulator/Cargo.toml", "[package]\nname = \"simulator\"\n"),
            ("ci/src/main.rs", ""),
            ("ci/simulator/src/lib.rs", ""),
        ]);
        let names: Vec<_> = tree.members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["lab", "simulator"]);
        let files: Vec<_> = tree.rust_of(&tree.members[0]).map(|file| file.path.as_str()).collect();
        assert_eq!(files, ["ci/src/main.rs"]);
    }
}
