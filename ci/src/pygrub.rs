//! pygrub, which boots guests from their own disks, as one more initramfs archive: the program with Python, and a disk that
//! a guest can be booted from, with GRUB's configuration, a kernel and the lab's initramfs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{output, timed, up_to_date};
use crate::initramfs::{Tree, compress};
use crate::kernel::Kernel;
use crate::packages::{Suite, unpacked};
use crate::toolstack::closure;
use crate::workspace::Workspace;

/// Packages that are searched for the libraries that Python and pygrub need beside the toolstack's.
const LIBRARIES: [&str; 9] = [
    "libc6",
    "libexpat1",
    "zlib1g",
    "libffi8",
    "libncursesw6",
    "libtinfo6",
    "libext2fs2",
    "libcom-err2",
    "libxenmisc4.17",
];
/// Where Python's own library is.
const LIBRARY: &str = "usr/lib/python3.11";
/// Extension modules of it that pygrub wants.
const EXTENSIONS: [&str; 4] = ["_ctypes", "_curses", "_curses_panel", "resource"];
/// Folders of it that pygrub wants.
const FOLDERS: [&str; 8] = ["", "curses", "ctypes", "encodings", "logging", "collections", "importlib", "re"];
/// pygrub's own modules, and how it reads file systems.
const MODULES: &str = "usr/lib/xen-4.17/lib/python";
const READERS: &str = "usr/lib/xen-4.17/lib/x86_64-linux-gnu/xenfsimage";

/// What the disk's boot loader would offer.
const GRUB: &str = "set default=0\nset timeout=1\nmenuentry 'The lab' {\n\
    \tlinux /boot/vmlinuz console=hvc0 lab.load=frontend lab.test=guest-booted\n\tinitrd /boot/initrd\n}\n";
/// MiB of the disk.
const SIZE: u64 = 64;

/// Makes the archive if it is not there yet; the disk's kernel is this one.
pub(crate) fn make(workspace: &Workspace, kernel: &Kernel, initramfs: &Path) -> Result<PathBuf> {
    let result = workspace.build(&format!("initrd/{}-pygrub.cpio.gz", kernel.release));
    let tool = std::env::current_exe()?;
    if up_to_date(&result, &[tool.as_path(), initramfs]) {
        return Ok(result);
    }
    let package = |name: &str| unpacked(workspace, Suite::Bookworm, name);
    let shelves = LIBRARIES.iter().map(|name| package(name)).collect::<Result<Vec<_>>>()?;
    let (xen, misc) = (package("xen-utils-4.17")?, package("libxenmisc4.17")?);
    let (python, minimal) = (package("python3.11-minimal")?, package("libpython3.11-minimal")?);
    let (standard, terminals) = (package("libpython3.11-stdlib")?, package("ncurses-base")?);
    timed("making pygrub's archive", || {
        let mut tree = Tree::default();
        let mut programs = vec![python.join("usr/bin/python3.11")];
        add(&mut tree, &python, Path::new("usr/bin/python3.11"))?;
        tree.link("usr/bin/python3", "python3.11");
        add(&mut tree, &xen, Path::new("usr/lib/xen-4.17/bin/pygrub"))?;
        // Its menu is drawn by curses, for the terminal that libxl names.
        add(&mut tree, &terminals, Path::new("lib/terminfo/v/vt100"))?;
        for root in [&minimal, &standard] {
            programs.extend(add_python(&mut tree, root)?);
        }
        for (root, folder) in [(&xen, MODULES), (&misc, READERS)] {
            for file in files(&root.join(folder))?.into_iter().filter(|file| is_of_pygrub(file)) {
                add(&mut tree, root, file.strip_prefix(root)?)?;
                if file.extension().is_some_and(|ending| ending == "so") {
                    programs.push(file);
                }
            }
        }
        for (name, file) in closure(programs, &shelves)? {
            tree.file(&format!("lib/x86_64-linux-gnu/{name}"), 0o755, &fs::read(&file)?);
        }
        tree.file("guests/disk.img", 0o644, &disk(workspace, kernel, initramfs)?);
        compress(&tree.finish(), &result)
    })?;
    Ok(result)
}

/// Neither the toolstack's other modules nor readers of other file systems than the disk's: their libraries are not there.
fn is_of_pygrub(file: &Path) -> bool {
    let path = file.to_string_lossy();
    !path.contains("/python/xen/") && (!path.contains(READERS) || path.contains("/ext2fs"))
}

/// The modules of a package of Python's library; the answer is those that are shared objects.
fn add_python(tree: &mut Tree, root: &Path) -> Result<Vec<PathBuf>> {
    let mut seen = BTreeSet::new();
    for folder in FOLDERS.into_iter().filter(|folder| root.join(LIBRARY).join(folder).is_dir()) {
        for entry in fs::read_dir(root.join(LIBRARY).join(folder))? {
            let file = entry?.path();
            if file.is_file() && file.extension().is_some_and(|ending| ending == "py") {
                seen.insert(file);
            }
        }
    }
    let mut shared = Vec::new();
    let dynamic = root.join(LIBRARY).join("lib-dynload");
    for file in if dynamic.is_dir() { files(&dynamic)? } else { Vec::new() } {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if EXTENSIONS.iter().any(|wanted| name.split('.').next() == Some(wanted)) {
            shared.push(file.clone());
            seen.insert(file);
        }
    }
    for file in &seen {
        add(tree, root, file.strip_prefix(root)?)?;
    }
    Ok(shared)
}

/// A file of an unpacked package, in its place.
fn add(tree: &mut Tree, root: &Path, place: &Path) -> Result<()> {
    let file = root.join(place);
    let content = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    tree.file(&place.to_string_lossy(), 0o755, &content);
    Ok(())
}

/// All regular files below a folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    found.sort();
    Ok(found)
}

/// A disk with one ext4 file system on all of it, filled without being mounted.
fn disk(workspace: &Workspace, kernel: &Kernel, initramfs: &Path) -> Result<Vec<u8>> {
    let (folder, image) = (workspace.build("initrd/disk"), workspace.build("initrd/disk.img"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("boot/grub"))?;
    fs::write(folder.join("boot/grub/grub.cfg"), GRUB)?;
    fs::copy(&kernel.image, folder.join("boot/vmlinuz"))?;
    fs::copy(initramfs, folder.join("boot/initrd"))?;
    fs::File::create(&image)?.set_len(SIZE << 20)?;
    output(Command::new("/sbin/mkfs.ext4").args(["-q", "-F", "-d"]).arg(&folder).arg(&image))?;
    let content = fs::read(&image)?;
    fs::remove_dir_all(&folder)?;
    fs::remove_file(&image)?;
    Ok(content)
}
