//! The bare-metal image: `dist/revenant` and its symbols `dist/revenant.debug`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::branches;
use crate::command::{progress, run};
use crate::toolchain::{IMAGE_TARGET, Toolchain};
use crate::workspace::Workspace;

/// Whether this checkout has the crate of the image at all.
pub(crate) fn exists(workspace: &Workspace) -> bool {
    workspace.path("crates/hypervisor/Cargo.toml").exists()
}

/// Builds the image and returns its path. `features` are passed to cargo (a chaos build, for example).
pub(crate) fn build(workspace: &Workspace, toolchain: &Toolchain, features: &[String]) -> Result<PathBuf> {
    if !exists(workspace) {
        bail!("there is no crates/hypervisor in this checkout yet, so no image to build");
    }
    let built = workspace.build("image").join(IMAGE_TARGET).join("image/revenant");
    let first = if built.exists() { "" } else { ", the first time with core: a minute" };
    progress(&format!("building the image{first}"));
    let mut cargo = toolchain.cargo_image(workspace, "build");
    cargo.args(["--quiet", "--bin", "revenant"]);
    if !features.is_empty() {
        cargo.arg("--features").arg(features.join(","));
    }
    run(&mut cargo)?;
    let image = result(workspace, features);
    let debug = image.with_extension("debug");
    fs::create_dir_all(workspace.path("dist"))?;
    if image.exists() && same_content(&built, &debug) {
        return Ok(image);
    }
    branches::check(&built)?;
    fs::copy(&built, &debug).with_context(|| format!("copying {}", built.display()))?;
    run(Command::new("objcopy").arg("--strip-debug").arg(&debug).arg(&image))?;
    progress(&format!("image: {} ({} KiB)", image.display(), fs::metadata(&image)?.len() / 1024));
    Ok(image)
}

/// Where the image of these features goes: one with features never passes for the plain one.
fn result(workspace: &Workspace, features: &[String]) -> PathBuf {
    let mut name = "dist/revenant".to_string();
    for feature in features {
        name.push('+');
        name.push_str(feature);
    }
    workspace.path(&name)
}

/// By content: cargo gives a result from its cache the old time of its making.
fn same_content(left: &Path, right: &Path) -> bool {
    matches!((fs::read(left), fs::read(right)), (Ok(left), Ok(right)) if left == right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_show_in_the_name() {
        let workspace = Workspace::find();
        assert!(result(&workspace, &[]).ends_with("dist/revenant"));
        assert!(result(&workspace, &["chaos".into(), "x".into()]).ends_with("dist/revenant+chaos+x"));
    }
}
