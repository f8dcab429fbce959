//! The Rust toolchain that `ci/setup.sh` chose, for the host and for the image alike.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

/// The target triple of the image.
pub(crate) const IMAGE_TARGET: &str = "x86_64-unknown-none";

/// One cargo with its rustc, linter, formatter and linker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    rustdoc: PathBuf,
    linker: PathBuf,
}

impl Toolchain {
    /// Reads the choice that `ci/setup.sh` wrote.
    pub(crate) fn read(workspace: &Workspace) -> Result<Toolchain> {
        let file = workspace.build("toolchain");
        let text = fs::read_to_string(&file)
            .with_context(|| format!("{} is missing: run ci/setup.sh", file.display()))?;
        Toolchain::parse(&text)
    }

    fn parse(text: &str) -> Result<Toolchain> {
        let fields: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let field = |name: &str| fields.get(name).copied().with_context(|| format!("toolchain: no {name}"));
        Ok(Toolchain {
            cargo: field("CARGO")?.into(),
            rustc: field("RUSTC")?.into(),
            rustdoc: field("RUSTDOC")?.into(),
            linker: field("LINKER")?.into(),
        })
    }

    /// `cargo SUBCOMMAND` in the checkout, for host crates.
    pub(crate) fn cargo(&self, workspace: &Workspace, subcommand: &str) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(workspace.root()).arg(subcommand);
        command.env("RUSTC", &self.rustc).env("RUSTDOC", &self.rustdoc);
        command.env_remove("RUSTUP_TOOLCHAIN").env("PATH", self.search_path());
        command
    }

    /// Where cargo finds its linter: beside itself. Cargo puts its own folder of installed programs, where rustup keeps
    /// stand-ins for the linter of another toolchain, before a search path that does not name it.
    fn search_path(&self) -> OsString {
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = self.cargo.parent().map(PathBuf::from).into_iter();
        let folders = folders.chain(env::split_paths(&path)).chain(home.map(|home| home.join("bin")));
        env::join_paths(folders).unwrap_or(path.clone())
    }

    /// `cargo SUBCOMMAND` for the crate `hypervisor` on the bare machine, in a target folder of its own.
    pub(crate) fn cargo_image(&self, workspace: &Workspace, subcommand: &str) -> Command {
        let mut command = self.cargo(workspace, subcommand);
        command.args(["--package", "hypervisor", "--profile", "image", "--target", IMAGE_TARGET]);
        command.arg("--target-dir").arg(workspace.build("image"));
        // From source, for the compiled ones have indirect branches.
        command.arg("-Zbuild-std=core,alloc").env("RUSTC_BOOTSTRAP", "1");
        let script = workspace.path("crates/hypervisor/link.ld");
        // The separator is what cargo defines for this variable; paths may hold spaces.
        command.env("CARGO_ENCODED_RUSTFLAGS", self.image_flags(&script).join("\u{1f}"));
        command
    }

    /// The image is linked inside Xen's address range, where the target's own code model does not reach.
    fn image_flags(&self, script: &Path) -> Vec<String> {
        vec![
            "-Crelocation-model=pic".into(),
            "-Clink-arg=--no-pie".into(),
            format!("-Clink-arg=-T{}", script.display()),
            "-Cforce-frame-pointers=yes".into(),
            // Indirect branches go through the one of `machine::thunk`.
            "-Zretpoline-external-thunk=yes".into(),
            format!("-Clinker={}", self.linker.display()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str =
        "CARGO=/usr/bin/cargo\nRUSTC=/usr/bin/rustc\nRUSTDOC=/usr/bin/rustdoc\nLINKER=/usr/bin/ld.lld-19\n";

    #[test]
    fn the_choice_names_its_programs() {
        let toolchain = Toolchain::parse(DEBIAN).unwrap();
        assert_eq!(toolchain.rustc, Path::new("/usr/bin/rustc"));
        assert_eq!(toolchain.linker, Path::new("/usr/bin/ld.lld-19"));
    }

    #[test]
    fn a_damaged_choice_is_refused() {
        assert!(Toolchain::parse("").is_err());
        assert!(Toolchain::parse(&DEBIAN.replace("LINKER", "LINK")).is_err());
    }

    #[test]
    fn the_flags_name_linker_and_script() {
        let flags = Toolchain::parse(DEBIAN).unwrap().image_flags(Path::new("/a b/link.ld"));
        assert!(flags.contains(&"-Clink-arg=-T/a b/link.ld".to_string()));
        assert!(flags.contains(&"-Clinker=/usr/bin/ld.lld-19".to_string()));
    }
}
