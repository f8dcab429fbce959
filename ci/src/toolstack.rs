//! Debian's Xen toolstack as a second initramfs archive, which is appended to the first where it is wanted.

use std::collections::BTreeMap;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{output, timed, up_to_date};
use crate::initramfs::{Tree, compress};
use crate::packages::{Suite, unpacked};
use crate::workspace::Workspace;

/// Packages that are searched for shared libraries, beside those whose names have a version.
const LIBRARIES: [&str; 23] = [
    "libc6",
    "libgcc-s1",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
    "libyajl2",
    "libnl-3-200",
    "libnl-route-3-200",
    "libuuid1",
    "zlib1g",
    "libbz2-1.0",
    "liblzma5",
    "liblzo2-2",
    "libzstd1",
    "libtinfo6",
    "libncurses6",
    "libpopt0",
];

/// The others.
fn versioned_libraries(suite: Suite) -> [String; 3] {
    // Debian 13 renamed libraries whose times have 64 bits since.
    let renamed = match suite {
        Suite::Bookworm => "",
        Suite::Trixie => "t64",
    };
    [format!("libxenmisc{}", suite.xen()), format!("libefiboot1{renamed}"), format!("libefivar1{renamed}")]
}

/// Where all those packages keep them; Debian 12's Xen has some in a folder of its own.
const LIBRARY_FOLDERS: [&str; 4] = [
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/xen-4.17/lib",
    "usr/lib/xen-4.17/lib/x86_64-linux-gnu",
];

/// Those of Xen's own programs that are taken.
const XEN_PROGRAMS: [&str; 30] = [
    "xl",
    "xenstored",
    "xenconsoled",
    "xen-init-dom0",
    "xenconsole",
    "libxl-save-helper",
    "xen-hptool",
    "xenpm",
    "xenwatchdogd",
    "xen-cpuid",
    "xenctx",
    "lsevtchn",
    "xentop",
    "xen-diag",
    "xen-livepatch",
    "xen-lowmemd",
    "xen-memshare",
    "xen-mfndump",
    "xen-ucode",
    "xencov",
    "xenlockprof",
    "xenperf",
    "xenstore-control",
    "xentrace",
    "flask-get-bool",
    "flask-getenforce",
    "flask-label-pci",
    "flask-loadpolicy",
    "flask-setenforce",
    "readnotes",
];

/// The other programs: package, folder, names. The hotplug scripts want bash and util-linux's flock.
const PROGRAMS: [(&str, &str, &[&str]); 6] = [
    (
        "xenstore-utils",
        "usr/bin",
        &[
            "xenstore-read",
            "xenstore-write",
            "xenstore-ls",
            "xenstore-list",
            "xenstore-rm",
            "xenstore-exists",
            "xenstore-watch",
            "xenstore-chmod",
        ],
    ),
    ("xen-utils-common", "usr/sbin", &["gdbsx", "xenhypfs"]),
    ("xen-utils-common", "usr/bin", &["xen-detect", "xenalyze"]),
    ("bash", "bin", &["bash"]),
    ("efibootmgr", "bin", &["efibootmgr"]),
    ("util-linux", "usr/bin", &["flock"]),
];

/// What the C library loads by itself when a thread is cancelled, as `libxenstore` does.
const UNWINDER: &str = "libgcc_s.so.1";
/// The loader's name is in every program.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// Makes the archive of a suite's toolstack if it is not there yet.
pub(crate) fn make(workspace: &Workspace, suite: Suite) -> Result<PathBuf> {
    let result = workspace.build(&format!("initrd/toolstack-{}.cpio.gz", suite.xen()));
    let tool = std::env::current_exe()?;
    if up_to_date(&result, &[tool.as_path()]) {
        return Ok(result);
    }
    let mut shelves = Vec::new();
    for package in LIBRARIES.into_iter().map(String::from).chain(versioned_libraries(suite)) {
        shelves.push(unpacked(workspace, suite, &package)?);
    }
    let sources = programs(workspace, suite)?;
    let scripts = unpacked(workspace, suite, "xen-utils-common")?;
    timed("making the toolstack's archive", || {
        let mut tree = Tree::default();
        for (place, file) in &sources {
            tree.file(place, 0o755, &read(file)?);
        }
        let mut programs: Vec<PathBuf> = sources.iter().map(|(_, file)| file.clone()).collect();
        let unwinder = shelved(UNWINDER, &shelves).with_context(|| format!("no package has {UNWINDER}"))?;
        tree.file(&format!("lib/x86_64-linux-gnu/{UNWINDER}"), 0o755, &read(&unwinder)?);
        programs.push(unwinder);
        for (name, file) in closure(programs, &shelves)? {
            tree.file(&format!("lib/x86_64-linux-gnu/{name}"), 0o755, &read(&file)?);
        }
        tree.link(&format!("lib64/{LOADER}"), &format!("/lib/x86_64-linux-gnu/{LOADER}"));
        add_scripts(&mut tree, &scripts)?;
        fs::create_dir_all(workspace.build("initrd"))?;
        compress(&tree.finish(), &result)
    })?;
    Ok(result)
}

/// All programs: the place of each in the archive, and its file.
fn programs(workspace: &Workspace, suite: Suite) -> Result<Vec<(String, PathBuf)>> {
    let (xen, bin) = (format!("xen-utils-{}", suite.xen()), format!("usr/lib/xen-{}/bin", suite.xen()));
    let of_xen = (xen.as_str(), bin.as_str(), XEN_PROGRAMS.as_slice());
    let mut sources = Vec::new();
    for (package, folder, names) in iter::once(of_xen).chain(PROGRAMS) {
        let root = unpacked(workspace, suite, package)?;
        for name in names {
            let place = format!("{folder}/{name}");
            // Debian 13 ships all in `usr`; scripts name programs by their older places.
            let file =
                [root.join(&place), root.join("usr").join(&place)].into_iter().find(|file| file.exists());
            sources.push((place, file.with_context(|| format!("{package} has no {folder}/{name}"))?));
        }
    }
    Ok(sources)
}

/// The hotplug scripts and the toolstack's configuration.
fn add_scripts(tree: &mut Tree, root: &Path) -> Result<()> {
    for folder in ["etc/xen", "etc/xen/scripts"] {
        for entry in fs::read_dir(root.join(folder))? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = entry.file_name().to_string_lossy().into_owned();
                tree.file(&format!("{folder}/{name}"), 0o755, &read(&entry.path())?);
            }
        }
    }
    Ok(())
}

/// All shared libraries that the files need, by name, and where each is.
pub(crate) fn closure(files: Vec<PathBuf>, shelves: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut open = files;
    while let Some(file) = open.pop() {
        let listing = output(Command::new("readelf").arg("-d").arg(&file))?;
        for name in needed(&listing) {
            if !found.contains_key(name) {
                let place = shelved(name, shelves)
                    .with_context(|| format!("{} needs {name}, which no package has", file.display()))?;
                found.insert(name.to_string(), place.clone());
                open.push(place);
            }
        }
    }
    Ok(found)
}

/// The libraries named in the output of `readelf -d`.
fn needed(listing: &str) -> impl Iterator<Item = &str> {
    let lines = listing.lines().filter(|line| line.contains("(NEEDED)"));
    lines.filter_map(|line| line.split_once('[')?.1.split_once(']').map(|(name, _)| name))
}

fn shelved(name: &str, shelves: &[PathBuf]) -> Option<PathBuf> {
    let places =
        shelves.iter().flat_map(|shelf| LIBRARY_FOLDERS.iter().map(move |folder| shelf.join(folder)));
    places.map(|folder| folder.join(name)).find(|file| file.exists())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("reading {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_libraries_are_in_brackets() {
        let listing = " 0x0000000000000001 (NEEDED)  Shared library: [libxenctrl.so.4.17]\n\
                        0x000000000000000e (SONAME)  Library soname: [libx.so]\n 0x01 (NEEDED) [libc.so.6]\n";
        assert_eq!(needed(listing).collect::<Vec<_>>(), ["libxenctrl.so.4.17", "libc.so.6"]);
    }

    #[test]
    fn a_missing_library_is_named() {
        let error = closure(vec!["/bin/ls".into()], &[]).unwrap_err().to_string();
        assert!(error.contains("/bin/ls needs lib"), "{error}");
    }
}
