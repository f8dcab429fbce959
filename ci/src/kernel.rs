//! Debian's Linux kernels: the bzImage and the modules of a suite.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{output, timed};
use crate::modules::ModuleIndex;
use crate::packages::{Suite, stands_for, unpacked};
use crate::workspace::Workspace;

/// One unpacked kernel.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// Whose it is.
    pub(crate) suite: Suite,
    /// As `uname -r` prints it.
    pub(crate) release: String,
    /// The bzImage.
    pub(crate) image: PathBuf,
    /// The folder that `modules.dep` paths are relative to.
    pub(crate) module_folder: PathBuf,
}

impl Kernel {
    /// The suite's `linux-image-amd64`, unpacked and indexed.
    pub(crate) fn get(workspace: &Workspace, suite: Suite) -> Result<Kernel> {
        let package = stands_for(workspace, suite, "linux-image-amd64")?;
        let root = unpacked(workspace, suite, &package)?;
        let release = package.strip_prefix("linux-image-").unwrap_or(&package).to_string();
        let image = root.join("boot").join(format!("vmlinuz-{release}"));
        let module_folder = merged_usr(&root)?.join("modules").join(&release);
        if !module_folder.join("modules.dep").exists() {
            timed(&format!("indexing the modules of Linux {release}"), || {
                output(Command::new("/sbin/depmod").arg("-b").arg(&root).arg(&release))
            })?;
        }
        Ok(Kernel { suite, release, image, module_folder })
    }

    /// The kernel's module index.
    pub(crate) fn modules(&self) -> Result<ModuleIndex> {
        let read = |name: &str| {
            let path = self.module_folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        Ok(ModuleIndex::parse(&read("modules.dep")?, &read("modules.builtin")?))
    }
}

/// `lib` of an unpacked package; Debian 13 ships `usr/lib` alone, and depmod looks in `lib`.
fn merged_usr(root: &Path) -> Result<PathBuf> {
    let lib = root.join("lib");
    if !lib.exists() {
        std::os::unix::fs::symlink("usr/lib", &lib)?;
    }
    Ok(lib)
}
