//! Stock software from Debian: downloaded with a private apt configuration, unpacked, never installed.
//!
//! Each suite has its own apt state under the cache, so the machine's sources stay as they are. What was unpacked
//! once is used from then on; delete the folder `packages` of the cache to take newer versions.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{output, progress};
use crate::workspace::Workspace;

/// A Debian release that stock software is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Debian 12: Linux 6.1, Xen 4.17.
    Bookworm,
    /// Debian 13: Linux 6.12, Xen 4.20.
    Trixie,
}

impl Suite {
    /// Debian's name of the release.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Suite::Bookworm => "bookworm",
            Suite::Trixie => "trixie",
        }
    }

    /// The release of that name.
    pub(crate) fn parse(name: &str) -> Result<Suite> {
        match name {
            "bookworm" => Ok(Suite::Bookworm),
            "trixie" => Ok(Suite::Trixie),
            other => bail!("unknown kernel {other}: bookworm or trixie"),
        }
    }

    /// The version of its Xen, as packages' names have it.
    pub(crate) fn xen(self) -> &'static str {
        match self {
            Suite::Bookworm => "4.17",
            Suite::Trixie => "4.20",
        }
    }

    fn sources(self) -> String {
        let name = self.name();
        let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let mut text = String::new();
        for (base, suite) in [("debian", name.to_string()), ("debian-security", format!("{name}-security"))] {
            let _ = writeln!(text, "deb [signed-by={key}] http://deb.debian.org/{base} {suite} main");
        }
        text
    }
}

/// A package's files: unpacked on first use.
pub(crate) fn unpacked(workspace: &Workspace, suite: Suite, package: &str) -> Result<PathBuf> {
    let base = workspace.cache("packages").join(suite.name());
    let folder = base.join("root").join(package);
    if folder.join(".complete").exists() {
        return Ok(folder);
    }
    progress(&format!("downloading {package} of Debian {}", suite.name()));
    let apt = Apt::open(&base, suite)?;
    let file = match apt.download(package) {
        Ok(file) => file,
        // The lists may be older than the archive, which drops superseded versions.
        Err(_) => {
            apt.update(suite)?;
            apt.download(package)?
        }
    };
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    output(Command::new("dpkg").arg("-x").arg(&file).arg(&folder))?;
    fs::remove_file(&file)?;
    fs::write(folder.join(".complete"), "")?;
    Ok(folder)
}

/// The package that a meta package such as `linux-image-amd64` stands for at present, remembered in the cache.
pub(crate) fn stands_for(workspace: &Workspace, suite: Suite, meta: &str) -> Result<String> {
    let base = workspace.cache("packages").join(suite.name());
    let memory = base.join(format!("{meta}.is"));
    if let Ok(known) = fs::read_to_string(&memory) {
        return Ok(known);
    }
    let apt = Apt::open(&base, suite)?;
    let listing = output(apt.command("apt-cache").args(["depends", meta]))?;
    let real =
        first_dependency(&listing).with_context(|| format!("{meta} depends on nothing:\n{listing}"))?;
    fs::write(&memory, real)?;
    Ok(real.to_string())
}

/// The first hard dependency in the output of `apt-cache depends`.
fn first_dependency(listing: &str) -> Option<&str> {
    listing.lines().find_map(|line| line.trim().strip_prefix("Depends: "))
}

/// The private apt of one suite.
struct Apt {
    config: PathBuf,
    downloads: PathBuf,
}

impl Apt {
    /// Makes the private state if need be and fetches the package lists once.
    fn open(base: &Path, suite: Suite) -> Result<Apt> {
        let root = base.join("apt");
        let downloads = base.join("downloads");
        for folder in ["state/lists/partial", "cache/archives/partial", "etc"] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::create_dir_all(&downloads)?;
        let config = root.join("apt.conf");
        fs::write(root.join("etc/sources.list"), suite.sources())?;
        fs::write(&config, configuration(&root))?;
        let apt = Apt { config, downloads };
        let fetched = root.join("fetched");
        if !fetched.exists() {
            apt.update(suite)?;
            fs::write(fetched, "")?;
        }
        Ok(apt)
    }

    /// Fetches the package lists.
    fn update(&self, suite: Suite) -> Result<()> {
        progress(&format!("fetching the package lists of Debian {}", suite.name()));
        output(self.command("apt-get").args(["-qq", "update"])).map(|_| ())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).current_dir(&self.downloads);
        command
    }

    /// Downloads a package (apt verifies its signature chain) and returns the file.
    fn download(&self, package: &str) -> Result<PathBuf> {
        output(self.command("apt-get").args(["-qq", "download", package]))?;
        let prefix = format!("{package}_");
        for entry in fs::read_dir(&self.downloads)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(&prefix) && name.ends_with(".deb") {
                return Ok(path);
            }
        }
        bail!("apt-get download {package} left no file in {}", self.downloads.display())
    }
}

/// apt's configuration with all state below `root`.
fn configuration(root: &Path) -> String {
    let root = root.display();
    format!(
        "Dir::State \"{root}/state\";\nDir::State::status \"/var/lib/dpkg/status\";\nDir::Cache \"{root}/cache\";\n\
         Dir::Etc::sourcelist \"{root}/etc/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
         Dir::Etc::preferencesparts \"-\";\nDir::Etc::preferences \"-\";\n\
         APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n\
         APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nDebug::NoLocking \"1\";\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_package_names_its_real_one() {
        let listing = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n  Suggests: x\n";
        assert_eq!(first_dependency(listing), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(first_dependency("linux-image-amd64\n"), None);
    }

    #[test]
    fn both_suites_have_names_and_security_updates() {
        for suite in [Suite::Bookworm, Suite::Trixie] {
            assert_eq!(Suite::parse(suite.name()).unwrap(), suite);
            assert!(suite.sources().contains(&format!("{}-security main", suite.name())));
        }
        assert!(Suite::parse("sid").is_err());
    }

    #[test]
    fn the_machine_sources_are_not_read() {
        let text = configuration(Path::new("/c"));
        assert!(text.contains("Dir::Etc::sourceparts \"-\""));
        assert!(text.contains("Dir::State \"/c/state\""));
    }
}
