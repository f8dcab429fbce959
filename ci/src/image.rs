//! The bare-metal image: `dist/revenant` and its symbols `dist/revenant.debug`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{progress, run, timed, up_to_date};
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
    timed("building the image (the first time core too: a minute)", || {
        let mut cargo = toolchain.cargo_image(workspace, "build");
        cargo.arg("--bin").arg("revenant");
        if !features.is_empty() {
            cargo.arg("--features").arg(features.join(","));
        }
        run(&mut cargo)
    })?;
    let built = workspace.build("image").join(IMAGE_TARGET).join("image/revenant");
    let image = workspace.image();
    let debug = workspace.path("dist/revenant.debug");
    fs::create_dir_all(workspace.path("dist"))?;
    if up_to_date(&image, &[built.as_path()]) && same_size(&built, &debug) {
        return Ok(image);
    }
    fs::copy(&built, &debug).with_context(|| format!("copying {}", built.display()))?;
    run(Command::new("objcopy").arg("--strip-debug").arg(&debug).arg(&image))?;
    progress(&format!("image: {} ({} KiB)", image.display(), fs::metadata(&image)?.len() / 1024));
    Ok(image)
}

fn same_size(left: &std::path::Path, right: &std::path::Path) -> bool {
    let size = |path| fs::metadata(path).map(|meta| meta.len()).ok();
    size(left).is_some() && size(left) == size(right)
}
