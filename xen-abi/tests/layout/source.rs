//! A scan of the crate's sources for what the tables must contain.

use std::collections::BTreeSet;
use std::path::Path;

/// The lines of all source files.
fn lines() -> Vec<String> {
    fn collect(folder: &Path, lines: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("reads the sources") {
            let path = entry.expect("reads the sources").path();
            if path.is_dir() {
                collect(&path, lines);
            } else {
                let text = std::fs::read_to_string(&path).expect("reads a source");
                lines.extend(text.lines().map(str::to_owned));
            }
        }
    }
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

/// `Struct.field` of every field of every `repr(C)` structure, apart from padding and reserved ones (`_...`).
pub(crate) fn struct_fields() -> BTreeSet<String> {
    let (mut fields, mut structure, mut layout) = (BTreeSet::new(), None, false);
    for line in lines() {
        if line.starts_with("#[repr(C") {
            layout = true;
        } else if let Some(rest) = line.strip_prefix("pub struct ") {
            structure = layout.then(|| rest.split([' ', '(']).next().unwrap_or_default().to_owned());
            layout = false;
        } else if line == "}" {
            structure = None;
        } else if let (Some(name), Some(rest)) = (&structure, line.strip_prefix("    pub ")) {
            let field = rest.split(':').next().unwrap_or_default();
            if !field.starts_with('_') {
                fields.insert(format!("{name}.{field}"));
            }
        }
    }
    fields
}

/// The table of every use of `constants!`: its first line of the form `NAME: type;`.
pub(crate) fn families() -> BTreeSet<String> {
    let (mut tables, mut opened) = (BTreeSet::new(), false);
    for line in lines() {
        let code = line.trim();
        if code == "constants! {" {
            opened = true;
        } else if opened && !code.starts_with("///") {
            tables.insert(code.split(':').next().unwrap_or_default().to_owned());
            opened = false;
        }
    }
    tables
}

/// Every constant declared at the top level outside of `constants!`.
pub(crate) fn plain_constants() -> Vec<String> {
    lines()
        .iter()
        .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next().map(str::to_owned))
        .filter(|name| !name.starts_with("fn "))
        .collect()
}
