//! Law: dependency arrows are those of the table in `ARCHITECTURE.md`, and point down.

use std::collections::BTreeMap;

use super::tree::Member;
use super::{Tree, Violation};

const PLACE: &str = "ARCHITECTURE.md";

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
struct Floor {
    level: u32,
    /// Every crate of a lower floor is allowed.
    lower: bool,
    /// Arrows that are there, by name.
    named: Vec<String>,
}

pub(super) fn judge(tree: &Tree) -> Vec<Violation> {
    let Some(file) = tree.files.iter().find(|file| file.path == PLACE) else {
        return vec![Violation::new(PLACE, "is missing")];
    };
    let table = match parse(&file.text) {
        Ok(table) => table,
        Err(violation) => return vec![violation],
    };
    tree.members.iter().flat_map(|member| judge_member(tree, &table, member)).collect()
}

fn judge_member(tree: &Tree, table: &BTreeMap<String, Floor>, member: &Member) -> Vec<Violation> {
    let place = format!("{}/Cargo.toml", member.folder);
    let Some(own) = table.get(&member.name) else {
        return vec![Violation::new(place, format!("{} has no floor in {PLACE}", member.name))];
    };
    let mut violations = Vec::new();
    let ours = |name: &String| tree.members.iter().any(|other| other.name == *name);
    let arrows: Vec<String> = dependencies(&member.manifest).into_iter().filter(ours).collect();
    for arrow in &arrows {
        // A crate without a floor is reported for itself.
        let Some(other) = table.get(arrow) else { continue };
        let named = own.named.contains(arrow);
        if other.level > own.level || (other.level == own.level && !named) {
            let how = if other.level > own.level { "up" } else { "sideways" };
            violations.push(Violation::new(&place, format!("{} -> {arrow} points {how}", member.name)));
        } else if !named && !own.lower {
            violations.push(Violation::new(&place, format!("{} -> {arrow} is not in {PLACE}", member.name)));
        }
    }
    for named in own.named.iter().filter(|named| !arrows.contains(named)) {
        violations.push(Violation::new(PLACE, format!("{} -> {named} is no arrow of the code", member.name)));
    }
    violations
}

/// The fenced block that begins with a `floor | crate | ...` line.
fn parse(text: &str) -> Result<BTreeMap<String, Floor>, Violation> {
    let mut table = BTreeMap::new();
    let head = |line: &str| line.replace(' ', "").starts_with("floor|crate");
    let start = text.lines().position(head).ok_or_else(|| Violation::new(PLACE, "has no floor table"))?;
    for (number, line) in text.lines().enumerate().skip(start + 1) {
        if line.starts_with("```") {
            break;
        }
        if line.trim().is_empty() || line.starts_with("---") {
            continue;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (level, name, arrows) = match cells[..] {
            [level, name] => (level, name, ""),
            [level, name, arrows] => (level, name, arrows),
            _ => return Err(Violation::at(PLACE, number, "is no line of the floor table")),
        };
        let level = level.parse().map_err(|_| Violation::at(PLACE, number, "has no floor number"))?;
        let words: Vec<String> =
            arrows.split([' ', ',']).filter(|word| !word.is_empty()).map(String::from).collect();
        let lower = words.iter().any(|word| word == "lower");
        let named = words.into_iter().filter(|word| word != "lower").collect();
        if table.insert(name.to_string(), Floor { level, lower, named }).is_some() {
            return Err(Violation::at(PLACE, number, format!("names {name} twice")));
        }
    }
    Ok(table)
}

/// The names under `[dependencies]` and `[build-dependencies]`, of targets too; tests may depend on anything.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut counts = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.split(']').next().unwrap_or_default();
            let last = section.rsplit('.').next().unwrap_or_default();
            counts = ["dependencies", "build-dependencies"].contains(&last);
            let table = section.rsplit_once('.').filter(|(kind, _)| {
                kind.ends_with("dependencies")
                    && !kind.ends_with("dev-dependencies")
                    && !section.starts_with("workspace")
            });
            names.extend(table.filter(|_| !counts).map(|(_, name)| name.to_string()));
        } else if let Some((key, _)) = line.split_once('=').filter(|_| counts && !line.starts_with('#')) {
            names.push(key.split('.').next().unwrap_or(key).trim().trim_matches('"').to_string());
        }
    }
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    const TABLE: &str = "# A\n```floors\nfloor | crate | may depend on\n2 | top | lower\n1 | mid | lower\n1 | side | mid\n\
                         0 | low |\n0 | leaf\n```\nfloor text\n";

    fn judged(manifests: &[(&str, &str)]) -> Vec<String> {
        let mut files = vec![("ARCHITECTURE.md".to_string(), TABLE.to_string())];
        for (name, dependencies) in manifests {
            let text = format!("[package]\nname = \"{name}\"\n[dependencies]\n{dependencies}\n");
            files.push((format!("{name}/Cargo.toml"), text));
        }
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        judge(&tree(&files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn down_is_allowed_and_strangers_do_not_count() {
        assert!(
            judged(&[
                ("top", "mid.workspace = true\nserde = \"1\""),
                ("mid", "low = { path = \"../low\" }"),
                ("low", "")
            ])
            .is_empty()
        );
    }

    #[test]
    fn up_sideways_and_unnamed_are_not() {
        let found = judged(&[
            ("low", "mid.workspace = true"),
            ("mid", "side.workspace = true"),
            ("leaf", "low.workspace = true"),
            ("side", "mid.workspace = true\nlow.workspace = true"),
        ]);
        let text = found.join("\n");
        assert!(text.contains("low -> mid points up"), "{text}");
        assert!(
            text.contains("mid -> side points sideways") && text.contains("leaf -> low points sideways"),
            "{text}"
        );
        assert!(text.contains("side -> low is not in ARCHITECTURE.md"), "{text}");
        assert_eq!(found.len(), 4, "{text}");
    }

    #[test]
    fn a_named_arrow_must_exist_and_each_crate_have_a_floor() {
        assert_eq!(judged(&[("side", "")]), ["ARCHITECTURE.md: side -> mid is no arrow of the code"]);
        assert_eq!(judged(&[("other", "")]), ["other/Cargo.toml: other has no floor in ARCHITECTURE.md"]);
    }

    #[test]
    fn all_shapes_of_dependencies_are_read() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\na = \"1\"\n# c = 1\nb.workspace = true\n[dependencies.d]\npath = \"..\"\n\
                        [dev-dependencies]\ne = \"1\"\n[dev-dependencies.f]\n[target.'cfg(unix)'.dependencies]\ng = \"1\"\n[lints]\nworkspace = true\n";
        assert_eq!(dependencies(manifest), ["a", "b", "d", "g"]);
    }

    #[test]
    fn a_damaged_table_is_reported() {
        for text in ["", "floor | crate\nx | y\n", "floor | crate\n1 | y\n1 | y\n", "floor | crate\n1\n"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
