//! What the hypervisor cannot boot with, and the line that says so: each input gets one quick boot, which ends before
//! Dom0 runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::command::{progress, seconds};
use crate::expect::Step;
use crate::kernel::Kernel;
use crate::lanes;
use crate::options::{Given, Options};
use crate::packages::Suite;
use crate::qemu::{End, Outcome};
use crate::stand;
use crate::tally::{Tally, report};
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// The first boot module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Module {
    /// Debian's kernel.
    Debian,
    /// None.
    Nothing,
    /// A file that [`make_files`] makes.
    Made(&'static str),
}

/// One input that is refused.
#[derive(Debug, Clone, Copy)]
struct BadInput {
    /// What is wrong with it.
    name: &'static str,
    kernel: Module,
    /// A large initrd instead of a short one.
    large_initrd: bool,
    /// The machine's memory in MiB.
    memory: u32,
    /// Hypervisor options.
    xen: &'static str,
    /// The processor's model.
    model: &'static str,
    /// UEFI firmware: the BIOS makes ACPI tables of its own where QEMU gives none.
    uefi: bool,
    /// More QEMU arguments.
    qemu: &'static str,
    /// What the console says after "Cannot boot: ".
    says: &'static str,
}

const USUAL: BadInput = BadInput {
    name: "",
    kernel: Module::Made("text"),
    large_initrd: false,
    memory: 512,
    xen: "",
    model: "EPYC-Milan",
    uefi: false,
    qemu: "",
    says: "",
};

/// Wall-time limit of one boot in seconds; it takes one to three.
const LIMIT: u64 = 60;

const INPUTS: [BadInput; 16] = [
    BadInput {
        name: "no boot module",
        kernel: Module::Nothing,
        says: "no Dom0 kernel: the boot loader passed no module; add",
        ..USUAL
    },
    BadInput { name: "a text file as kernel", says: "kernel: not a bzImage or ELF64", ..USUAL },
    BadInput {
        name: "a truncated bzImage",
        kernel: Module::Made("truncated"),
        says: "kernel: bzImage payload 0x",
        ..USUAL
    },
    BadInput {
        name: "an ELF file without Xen notes",
        kernel: Module::Made("no-notes"),
        says: "kernel: no Xen ELF notes",
        ..USUAL
    },
    BadInput {
        name: "a kernel compressed with lzo",
        kernel: Module::Made("lzo"),
        says: "kernel: unsupported compression lzo: give",
        ..USUAL
    },
    BadInput {
        name: "a damaged xz payload",
        kernel: Module::Made("damaged"),
        says: "kernel: xz payload is damaged",
        ..USUAL
    },
    BadInput {
        name: "an initrd larger than dom0_mem",
        kernel: Module::Debian,
        large_initrd: true,
        xen: "dom0_mem=96M",
        says: "dom0: kernel, initrd and tables need",
        ..USUAL
    },
    BadInput {
        name: "dom0_mem too small",
        kernel: Module::Debian,
        xen: "dom0_mem=16M",
        says: "dom0: kernel, initrd and tables need",
        ..USUAL
    },
    BadInput {
        name: "dom0_mem larger than the machine",
        kernel: Module::Debian,
        xen: "dom0_mem=4096M,max:4096M",
        says: "dom0_mem: 4096 MiB asked for, ",
        ..USUAL
    },
    BadInput { name: "a machine with 8 MiB", memory: 8, says: "memory: ", ..USUAL },
    BadInput {
        name: "a machine with too little memory to unpack a kernel",
        kernel: Module::Debian,
        memory: 96,
        says: "kernel: unpacking it needs ",
        ..USUAL
    },
    BadInput { name: "mem= below what is loaded", xen: "mem=2560K", says: "mem=: ", ..USUAL },
    BadInput { name: "a CPU without NX", model: "EPYC-Milan,-nx", says: "CPU: it lacks nx: switch", ..USUAL },
    BadInput {
        name: "a CPU without PAT and PGE",
        model: "EPYC-Milan,-pat,-pge",
        says: "CPU: it lacks pat pge: ",
        ..USUAL
    },
    BadInput { name: "a CPU without long mode", model: "pentium3", says: "CPU: ", ..USUAL },
    BadInput {
        name: "a machine without ACPI",
        uefi: true,
        qemu: "-machine acpi=off",
        says: "firmware: no ACPI root pointer",
        ..USUAL
    },
];

/// Where the made files are.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.build("scratch/bad")
}

/// Makes the files that are wrong in one way each, from Debian's kernel.
fn make_files(workspace: &Workspace, image: &Path) -> Result<()> {
    let folder = folder(workspace);
    fs::create_dir_all(&folder)?;
    let kernel = Kernel::get(workspace, Suite::Bookworm)?.image;
    let good = fs::read(&kernel).with_context(|| format!("reading {}", kernel.display()))?;
    let payload =
        good.windows(6).position(|bytes| bytes == b"\xfd7zXZ\0").context("Debian 12's kernel is xz")?;
    let changed = |at: usize, with: &[u8]| {
        let mut file = good.clone();
        file[at..at + with.len()].copy_from_slice(with);
        file
    };
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes);
    write("text", b"This is no kernel.\n")?;
    write("truncated", &good[..1 << 20])?;
    write("lzo", &changed(payload, b"\x89LZO"))?;
    write("damaged", &changed(payload + 0x1_0000, &[0xa5; 64]))?;
    fs::copy(image, folder.join("no-notes"))?;
    fs::File::create(folder.join("large"))?.set_len(64 << 20)?;
    Ok(())
}

impl BadInput {
    fn options(&self, workspace: &Workspace, image: &Path) -> Options {
        let made = |name: &str| Given::File(folder(workspace).join(name));
        let mut options = Options {
            kernel_file: match self.kernel {
                Module::Debian => Given::Usual,
                Module::Nothing => Given::Nothing,
                Module::Made(name) => made(name),
            },
            initrd: match (self.kernel, self.large_initrd) {
                (Module::Nothing, _) => Given::Nothing,
                (_, true) => made("large"),
                (_, false) => made("text"),
            },
            name: format!("bad-input-{}", self.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")),
            steps: vec![Step::See(format!("(XEN) Cannot boot: {}", self.says)), Step::See("\n".into())],
            // Its last words are what is waited for; a panic is not.
            survives: true,
            refuse: vec!["Panic on CPU".into(), "panicked at".into(), "Boot complete".into()],
            xen: format!("noreboot {}", self.xen).trim_end().into(),
            image: Some(image.into()),
            timeout: Duration::from_secs(LIMIT),
            quiet: true,
            ..Options::default()
        };
        options.machine.memory = self.memory;
        options.machine.uefi = self.uefi;
        options.machine.model = self.model.into();
        options.machine.more = self.qemu.split_whitespace().map(String::from).collect();
        options
    }
}

fn title(input: &BadInput) -> String {
    format!("{} is refused in one line", input.name)
}

/// Whether there are any that `matches`.
pub(crate) fn any(matches: impl Fn(&str) -> bool) -> bool {
    INPUTS.iter().any(|input| matches(&title(input)))
}

/// Boots with every one of them that `matches`.
pub(crate) fn run(
    workspace: &Workspace,
    toolchain: &Toolchain,
    image: &Path,
    matches: impl Fn(&str) -> bool,
) -> Result<Tally> {
    let chosen: Vec<&BadInput> = INPUTS.iter().filter(|input| matches(&title(input))).collect();
    if chosen.is_empty() {
        return Ok(Tally::default());
    }
    progress(&format!("{} bad inputs", chosen.len()));
    make_files(workspace, image)?;
    let one = |input: &BadInput| match stand::boot(workspace, toolchain, &input.options(workspace, image)) {
        Ok(outcome) => judge(input, &outcome),
        Err(error) => report(&title(input), Some(format!("{error:#}"))),
    };
    Ok(lanes::run(lanes::room(), chosen, |_| 1, one, Tally::add))
}

/// Prints how a boot ended; whether it was as it must be.
fn judge(input: &BadInput, outcome: &Outcome) -> Tally {
    let (line, took) = (said(&outcome.log), seconds(outcome.took));
    match &outcome.end {
        End::Done => {
            println!("test {} ... ok ({took}): {line}", title(input));
            Tally::held()
        }
        end => {
            println!("test {} ... FAILED ({took}): {line}\n    {end}", title(input));
            Tally::broken_with_log(&format!("{}: {end}", title(input)), &outcome.log)
        }
    }
}

/// The line of a log that says why there is no boot.
fn said(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| Some(line.split_once("Cannot boot: ")?.1.trim().to_string()));
    line.unwrap_or_else(|| "nothing".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_bad_input_has_a_name_and_a_line() {
        let names: HashSet<&str> = INPUTS.iter().map(|input| input.name).collect();
        assert_eq!(names.len(), INPUTS.len());
        assert!(INPUTS.iter().all(|input| !input.says.is_empty()));
    }

    #[test]
    fn they_differ_from_a_usual_boot_as_said() {
        let workspace = Workspace::find();
        let options = |index: usize| INPUTS[index].options(&workspace, Path::new("/image"));
        assert_eq!((options(0).kernel_file, options(0).initrd), (Given::Nothing, Given::Nothing));
        assert!(matches!(options(1).kernel_file, Given::File(file) if file.ends_with("bad/text")));
        assert_eq!(
            (options(7).xen.as_str(), options(7).kernel_file),
            ("noreboot dom0_mem=16M", Given::Usual)
        );
    }
}
