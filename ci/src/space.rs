//! Room on the disk: a machine whose logs or disks have no place to go to fails for no fault of the image's.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::command::output;
use crate::workspace::Workspace;

/// MiB that have to be left: more than a machine's logs and scratch disks take.
const NEEDED: u64 = 256;

/// Fails if the disk that results, logs or sockets go to is full, or nearly so.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    for folder in [workspace.build(""), env::temp_dir()] {
        let left = left(&folder)?;
        ensure!(left >= NEEDED, "the disk is full: {left} MiB are left in {}", folder.display());
    }
    Ok(())
}

/// MiB left on the disk of a folder.
fn left(folder: &Path) -> Result<u64> {
    let said = output(Command::new("df").args(["--output=avail", "--block-size=1M"]).arg(folder))?;
    parse(&said).with_context(|| format!("df says {said}"))
}

/// The number below the heading.
fn parse(said: &str) -> Option<u64> {
    said.lines().nth(1)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn df_is_understood() {
        assert_eq!((parse("Avail\n 3517\n"), parse("Avail\n")), (Some(3517), None));
        assert!(left(Path::new("/")).is_ok());
    }
}
