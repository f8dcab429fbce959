//! From options to a booted machine: takes the artefacts, writes the medium, runs it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

use crate::command::progress;
use crate::expect::Conversation;
use crate::image;
use crate::initramfs::{self, Guests};
use crate::inspect::Inspection;
use crate::iso::BootEntry;
use crate::kernel::Kernel;
use crate::machine;
use crate::options::{Below, Options};
use crate::packages::{Suite, unpacked};
use crate::qemu::{self, Outcome, Run, Visitor};
use crate::scratch;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// Texts after which no good news comes, from the kernel.
const KERNEL_LAST_WORDS: [&str; 1] = ["Kernel panic - not syncing"];

/// The same from a hypervisor: Xen's and ours. A run that is to survive a panic goes on.
const HYPERVISOR_LAST_WORDS: [&str; 3] = ["Panic on CPU", "(XEN) panicked at", "(XEN) Cannot boot"];

/// A suite's Xen for `multiboot2`.
pub(crate) fn peer(workspace: &Workspace, suite: Suite) -> Result<PathBuf> {
    let name = format!("{}-amd64", suite.xen());
    let package = unpacked(workspace, suite, &format!("xen-hypervisor-{name}"))?;
    Ok(package.join(format!("boot/xen-{name}.gz")))
}

/// Downloads and makes all that runs need, for every kernel.
pub(crate) fn artefacts(workspace: &Workspace) -> Result<()> {
    for suite in [Suite::Bookworm, Suite::Trixie] {
        peer(workspace, suite)?;
        let kernel = Kernel::get(workspace, suite)?;
        initramfs::with_toolstack(workspace, &kernel, Guests::default())?;
    }
    progress("the artefacts are complete");
    Ok(())
}

/// Held while anything is made that machines share: images, kernels, initramfs.
static MAKING: Mutex<()> = Mutex::new(());

/// What GRUB is to load for these options.
fn entry(workspace: &Workspace, toolchain: &Toolchain, options: &Options) -> Result<BootEntry> {
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let hypervisor = match (options.below, &options.image) {
        (Below::Bare, _) => None,
        (Below::Peer, _) => Some(peer(workspace, options.kernel)?),
        (Below::Revenant, Some(image)) => Some(image.clone()),
        (Below::Revenant, None) => Some(image::build(workspace, toolchain, &options.features)?),
    };
    let kernel = Kernel::get(workspace, options.kernel)?;
    let initrd = options.initrd.or_usual(|| match options.toolstack {
        true => initramfs::with_toolstack(workspace, &kernel, options.guests),
        false => initramfs::make(workspace, &kernel),
    })?;
    let kernel = options.kernel_file.or_usual(|| Ok(kernel.image))?;
    Ok(BootEntry {
        hypervisor: hypervisor.map(|image| (image, hypervisor_options(options))),
        kernel: kernel.map(|image| (image, kernel_options(options))),
        initrd,
        graphics: options.machine.graphics.clone(),
    })
}

/// Writes the boot medium for these options.
fn medium(workspace: &Workspace, toolchain: &Toolchain, options: &Options) -> Result<PathBuf> {
    let entry = entry(workspace, toolchain, options)?;
    let iso = entry.write(&workspace.build(&format!("iso/{}", options.name)))?;
    if options.machine.uefi {
        machine::make_variables(&iso).context("making the UEFI's memory (ci/setup.sh installs ovmf)")?;
    }
    Ok(iso)
}

/// The options that GRUB gives the hypervisor; all are Xen's names.
fn hypervisor_options(options: &Options) -> String {
    let memory = options.dom0_memory;
    let fixed =
        format!("com1=115200,8n1 console=com1 loglvl=all guest_loglvl=all dom0_mem={memory}M,max:{memory}M");
    format!("{fixed} {}", options.xen).trim_end().to_string()
}

fn kernel_options(options: &Options) -> String {
    let console = match options.below {
        Below::Bare => "console=ttyS0,115200 earlyprintk=ttyS0,115200",
        Below::Peer | Below::Revenant => "console=hvc0 earlyprintk=xen",
    };
    // A machine that is looked into stays up, and busy.
    let hold = if options.inspection == Inspection::None { "" } else { " lab.hold" };
    // A dead kernel restarts at once, which ends the run instead of using up its time.
    format!("{console} panic=-1 {}{hold}", options.append.trim()).trim_end().to_string()
}

/// Boots, holds the conversation, and returns how it ended.
pub(crate) fn boot(workspace: &Workspace, toolchain: &Toolchain, options: &Options) -> Result<Outcome> {
    boot_for(workspace, toolchain, options, &mut |_| Ok(None))
}

/// Boots, and hands the machine to `visitor` where the conversation says so.
pub(crate) fn boot_for(
    workspace: &Workspace,
    toolchain: &Toolchain,
    options: &Options,
    visitor: &mut Visitor<'_>,
) -> Result<Outcome> {
    let iso = medium(workspace, toolchain, options)?;
    let mut refuse = options.refuse.clone();
    refuse.extend(KERNEL_LAST_WORDS.map(str::to_string));
    if !options.survives {
        refuse.extend(HYPERVISOR_LAST_WORDS.map(str::to_string));
    }
    let talk = Conversation::new(options.steps.clone(), refuse);
    let mut options = options.clone();
    options.machine.inspected |= options.inspection != Inspection::None;
    scratch::provide(workspace, &options.name, &mut options.machine.more)?;
    qemu::converse(workspace, &run(&options, &iso), talk, visitor)
        .with_context(|| format!("running {}", options.name))
}

/// Boots to a shell on the user's terminal.
pub(crate) fn interactive(workspace: &Workspace, toolchain: &Toolchain, options: &Options) -> Result<()> {
    let iso = medium(workspace, toolchain, options)?;
    let what: String = match options.below {
        Below::Revenant => "Revenant".into(),
        Below::Peer => format!("Xen {}", options.kernel.xen()),
        Below::Bare => "no hypervisor".into(),
    };
    progress(&format!(
        "booting {what} with Linux of {} on {} CPU, {} MiB (a shell in about half a minute)",
        options.kernel.name(),
        options.machine.cpus,
        options.machine.memory
    ));
    progress("leave with Ctrl-] x, or 'poweroff -f' in the shell; Ctrl-A three times switches Xen's console");
    let reason = qemu::interactive(workspace, &run(options, &iso))?;
    progress(&format!("the machine ended: {reason}; console log: .build/logs/{}.log", options.name));
    Ok(())
}

fn run<'a>(options: &'a Options, iso: &'a std::path::Path) -> Run<'a> {
    Run {
        name: &options.name,
        machine: &options.machine,
        iso,
        limit: options.timeout,
        echo: !options.quiet,
        inspection: options.inspection,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consoles_differ_below() {
        let mut options =
            Options { append: "lab.test=x".into(), xen: "noreboot".into(), ..Options::default() };
        assert_eq!(kernel_options(&options), "console=hvc0 earlyprintk=xen panic=-1 lab.test=x");
        assert!(hypervisor_options(&options).ends_with("dom0_mem=512M,max:512M noreboot"));
        options.below = Below::Bare;
        assert!(kernel_options(&options).starts_with("console=ttyS0"));
    }
}
