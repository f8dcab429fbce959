//! QEMU plugins of `ci/plugin`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::command::output;
use crate::workspace::Workspace;

/// Compiles the plugin of that name.
pub(crate) fn compile(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let folder = workspace.build("plugin");
    fs::create_dir_all(&folder)?;
    let built = folder.join(format!("{name}.so"));
    let mut compiler = Command::new("gcc");
    compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-fvisibility=hidden", "-o"]);
    output(compiler.arg(&built).arg(workspace.path(&format!("ci/plugin/{name}.c"))))?;
    Ok(built)
}
