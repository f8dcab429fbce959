//! The initramfs of every guest: busybox, the lab's init and tests, static helper programs, kernel modules.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::command::{output, timed, up_to_date};
use crate::cpio::Archive;
use crate::kernel::Kernel;
use crate::packages::{Suite, unpacked};
use crate::pygrub;
use crate::toolstack;
use crate::vmlinux;
use crate::workspace::Workspace;

/// Kernel modules by the name that `lab.load=` and the guest's `load` take.
const MODULE_GROUPS: [(&str, &[&str]); 11] = [
    ("xen", &["xen-privcmd", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xenfs"]),
    ("disk", &["virtio_pci", "virtio_blk", "ahci", "nvme", "sd_mod", "ext4"]),
    ("virtio-disk", &["virtio_pci", "virtio_blk"]),
    ("net", &["virtio_pci", "virtio_net", "e1000e"]),
    ("efi", &["efivarfs"]),
    ("msr", &["msr"]),
    ("bios", &["edd"]),
    ("input", &["xhci_pci", "usbhid", "hid_generic", "evdev"]),
    ("frontend", &["xen-blkfront", "xen-netfront"]),
    ("backend", &["xen-blkback", "xen-netback", "loop", "bridge", "tun"]),
    ("null-disk", &["null_blk"]),
];

/// Makes the initramfs for a kernel if it is not up to date, and returns it.
pub(crate) fn make(workspace: &Workspace, kernel: &Kernel) -> Result<PathBuf> {
    let result = workspace.build(&format!("initrd/{}.cpio.gz", kernel.release));
    let guest = sources(&workspace.path("ci/guest"))?;
    let tool = std::env::current_exe()?;
    let mut inputs: Vec<&Path> = guest.iter().map(PathBuf::as_path).collect();
    inputs.extend([kernel.module_folder.as_path(), tool.as_path()]);
    if up_to_date(&result, &inputs) {
        return Ok(result);
    }
    let busybox = unpacked(workspace, Suite::Bookworm, "busybox-static")?.join("bin/busybox");
    timed(&format!("making the initramfs for Linux {}", kernel.release), || {
        let mut tree = Tree::default();
        add_busybox(&mut tree, &busybox)?;
        add_guest(&mut tree, workspace, |_| true)?;
        add_modules(&mut tree, kernel, |_| true)?;
        fs::create_dir_all(workspace.build("initrd"))?;
        compress(&tree.finish(), &result)
    })?;
    Ok(result)
}

/// Programs and modules that a guest's tests want.
const GUESTS_PROGRAMS: [&str; 2] = ["compute", "suspend-channel"];
const GUESTS_MODULES: [&str; 2] = ["xen", "frontend"];

/// A small one for guests, not compressed.
fn make_small(workspace: &Workspace, kernel: &Kernel) -> Result<Vec<u8>> {
    let busybox = unpacked(workspace, Suite::Bookworm, "busybox-static")?.join("bin/busybox");
    let mut tree = Tree::default();
    add_busybox(&mut tree, &busybox)?;
    add_guest(&mut tree, workspace, |program| GUESTS_PROGRAMS.contains(&program))?;
    add_modules(&mut tree, kernel, |group| GUESTS_MODULES.contains(&group))?;
    Ok(tree.finish())
}

/// What guests may boot beside Dom0's own kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Guests {
    /// The kernel of another suite, in a folder of its name in `/guests`.
    pub(crate) kernel: Option<Suite>,
    /// A disk with a boot loader's configuration, `/guests/disk.img`; pygrub is there to read it.
    pub(crate) disk: bool,
}

/// The kernel's initramfs with the archive of its suite's toolstack behind it, and what guests boot from.
pub(crate) fn with_toolstack(workspace: &Workspace, kernel: &Kernel, more: Guests) -> Result<PathBuf> {
    let plain = make(workspace, kernel)?;
    let mut parts = vec![
        plain.clone(),
        toolstack::make(workspace, kernel.suite)?,
        guests(workspace, kernel, &plain, "guests")?,
    ];
    let mut name = format!("{}-toolstack", kernel.release);
    if let Some(suite) = more.kernel {
        let other = Kernel::get(workspace, suite)?;
        let folder = format!("guests/{}", suite.name());
        parts.push(guests(workspace, &other, &make(workspace, &other)?, &folder)?);
        name = format!("{name}-and-{}", suite.name());
    }
    if more.disk {
        ensure!(kernel.suite == Suite::Bookworm, "pygrub is there for Debian 12 alone");
        parts.push(pygrub::make(workspace, kernel, &plain)?);
        name.push_str("-and-pygrub");
    }
    let result = workspace.build(&format!("initrd/{name}.cpio.gz"));
    let inputs: Vec<&Path> = parts.iter().map(PathBuf::as_path).collect();
    if !up_to_date(&result, &inputs) {
        let mut bytes = Vec::new();
        for part in &parts {
            bytes.extend(fs::read(part)?);
            // Linux looks for the next archive there.
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        fs::write(&result, bytes)?;
    }
    Ok(result)
}

/// The archive with what guests boot, in `folder`. As a distribution has them, packed: `vmlinuz`, and Dom0's initramfs as
/// `initrd`. So that nobody unpacks anything, for most guests: `vmlinux`, and `ramdisk` with what they need.
fn guests(workspace: &Workspace, kernel: &Kernel, initramfs: &Path, folder: &str) -> Result<PathBuf> {
    let result = workspace.build(&format!("initrd/{}-{}.cpio", kernel.release, folder.replace('/', "-")));
    let tool = std::env::current_exe()?;
    if !up_to_date(&result, &[initramfs, &kernel.image, tool.as_path()]) {
        let mut tree = Tree::default();
        tree.file(&format!("{folder}/vmlinuz"), 0o644, &fs::read(&kernel.image)?);
        tree.file(&format!("{folder}/initrd"), 0o644, &fs::read(initramfs)?);
        tree.file(&format!("{folder}/vmlinux"), 0o644, &fs::read(vmlinux::make(workspace, kernel)?)?);
        tree.file(&format!("{folder}/ramdisk"), 0o644, &make_small(workspace, kernel)?);
        fs::write(&result, tree.finish())?;
    }
    Ok(result)
}

/// An archive that makes parent folders by itself.
#[derive(Default)]
pub(crate) struct Tree {
    archive: Archive,
    folders: BTreeSet<String>,
}

impl Tree {
    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.folder(&path[..at]);
        }
    }

    fn folder(&mut self, path: &str) {
        if self.folders.insert(path.to_string()) {
            self.archive.folder(path);
        }
    }

    /// A regular file with its permission bits.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parents(path);
        self.archive.file(path, mode, content);
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.archive.link(path, target);
    }

    /// The finished archive.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.archive.finish()
    }
}

fn add_busybox(tree: &mut Tree, busybox: &Path) -> Result<()> {
    for folder in ["bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tests", "tmp", "usr", "var"] {
        tree.folder(folder);
    }
    tree.archive.device("dev/console", (5, 1));
    tree.archive.device("dev/null", (1, 3));
    tree.file("bin/busybox", 0o755, &fs::read(busybox)?);
    for applet in output(Command::new(busybox).arg("--list"))?.lines().filter(|name| *name != "busybox") {
        tree.link(&format!("bin/{applet}"), "busybox");
    }
    Ok(())
}

/// How a 32-bit program without a library is built.
const BARE_32: [&str; 5] = ["-m32", "-nostdlib", "-ffreestanding", "-fno-pic", "-fno-stack-protector"];

/// How a kernel for guests is built: one segment, beside the usual place of the hypercall page.
const KERNEL: [&str; 5] = [
    "-nostdlib",
    "-static",
    "-no-pie",
    "-Wl,--build-id=none,--no-warn-rwx-segments,-N",
    "-Wl,-Ttext=0xffffffff80001000",
];

/// The lab's own part: scripts as they are, C programs that are `wanted`, built statically, kernels in assembly.
fn add_guest(tree: &mut Tree, workspace: &Workspace, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let base = workspace.path("ci/guest");
    let programs = workspace.build("guest");
    fs::create_dir_all(&programs)?;
    for path in sources(&base)? {
        let name = path.strip_prefix(&base)?.to_string_lossy().into_owned();
        if let Some(program) = name.strip_suffix(".c") {
            let (program, more) = match program.strip_suffix(".32") {
                // There is no 32-bit library here: such a program does without.
                Some(program) => (program, BARE_32.as_slice()),
                None => (program, [].as_slice()),
            };
            if !wanted(program) {
                continue;
            }
            let built = programs.join(program);
            output(
                Command::new("gcc")
                    .args(["-static", "-O2", "-Wall", "-Werror", "-s"])
                    .args(more)
                    .arg("-o")
                    .arg(&built)
                    .arg(&path),
            )?;
            tree.file(&format!("bin/{program}"), 0o755, &fs::read(&built)?);
        } else if let Some(kernel) = name.strip_suffix(".S") {
            let built = programs.join(path.file_stem().unwrap_or_default());
            output(Command::new("gcc").args(KERNEL).arg("-o").arg(&built).arg(&path))?;
            tree.file(kernel, 0o644, &fs::read(&built)?);
        } else if !name.ends_with(".h") {
            let executable = fs::metadata(&path)?.permissions().mode() & 0o111 != 0;
            tree.file(&name, if executable { 0o755 } else { 0o644 }, &fs::read(&path)?);
        }
    }
    Ok(())
}

/// All files below a folder, sorted.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn add_modules(tree: &mut Tree, kernel: &Kernel, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let index = kernel.modules()?;
    for (group, names) in MODULE_GROUPS.into_iter().filter(|(group, _)| wanted(group)) {
        let mut list = String::new();
        for path in index.load_order(names)? {
            let plain = path.strip_suffix(".xz").unwrap_or(&path);
            let place = format!("lib/modules/{}/{plain}", kernel.release);
            list.push_str(&format!("/{place}\n"));
            if tree.folders.insert(place.clone()) {
                tree.file(&place, 0o644, &plain_module(&kernel.module_folder.join(&path))?);
            }
        }
        tree.file(&format!("etc/modules/{group}"), 0o644, list.as_bytes());
    }
    Ok(())
}

/// A module's ELF file: Debian 13 compresses them, and busybox does not decompress.
fn plain_module(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|ending| ending == "xz") {
        let result = Command::new("xz").arg("-dc").arg(path).output()?;
        anyhow::ensure!(result.status.success(), "xz cannot read {}", path.display());
        return Ok(result.stdout);
    }
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Writes an archive as `gzip` does, without its time and name.
pub(crate) fn compress(archive: &[u8], result: &Path) -> Result<()> {
    let plain = result.with_extension("");
    fs::write(&plain, archive)?;
    output(Command::new("gzip").args(["-n", "-6", "-f"]).arg(&plain))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_made_once() {
        let mut tree = Tree::default();
        tree.file("a/b/c", 0o644, b"");
        tree.file("a/b/d", 0o644, b"");
        assert_eq!(tree.folders.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "a/b"]);
    }
}
