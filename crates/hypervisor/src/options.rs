//! The command line's options: parsed by boot before anything else is decided, then part of the sealed record.

use boot_info::BootFacts;
use command_line::{Consoles, Options, PageTableIsolation, RebootMethod, Sharing};
use spin::Mutex;

use crate::console::log;
use crate::sealed::{self, sealed};

/// Boot's copy, until there is the sealed record.
static EARLY: Mutex<Option<Options>> = Mutex::new(None);

/// The options; Xen's defaults as long as nobody has seen a command line.
pub(crate) fn current() -> Options {
    if sealed::is_mapped() { sealed().options } else { EARLY.lock().unwrap_or_default() }
}

/// Takes the options from the facts, for [`current`].
pub(crate) fn read(facts: &BootFacts) -> Options {
    let options = command_line::parse(facts.command_line().as_bytes()).options;
    *EARLY.lock() = Some(options);
    options
}

/// Logs what of the command line is wrong, and what of it has no effect here though it has one in Xen.
pub(crate) fn report(facts: &BootFacts) {
    let parsed = command_line::parse(facts.command_line().as_bytes());
    // An option of the self-test, which is ours alone.
    let ours = |token: &[u8]| token.starts_with(b"boot-selftest");
    for diagnostic in parsed.diagnostics.iter().filter(|found| !ours(found.token)) {
        log!("{diagnostic}");
    }
    let dropped = parsed.diagnostics.dropped();
    if dropped > 0 {
        log!("command line: {dropped} more options ignored");
    }
    report_unsupported(&parsed.options);
}

fn report_unsupported(options: &Options) {
    let Consoles { com1, com2, other, .. } = options.console;
    let shared = [com1, com2].into_iter().flatten().any(|sharing| sharing != Sharing::None);
    let lines = [
        (
            options.vga.other_mode,
            "vga=ask, gfx-, mode- and text-80x30, 34 and 60 are not supported: the screen stays in the boot loader's mode; \
             in GRUB, gfxpayload sets it",
        ),
        (other, "console=pv, dbgp, ehci and xhci are not supported"),
        (shared, "console=com1H, com1L, com2H and com2L are not supported: the line is not shared"),
        (
            com1.is_some() && com2.is_some(),
            "console=com1,com2: one serial console is supported, com1 is taken",
        ),
        (options.iommu.is_given(), "iommu= is noted: no IOMMU is used yet"),
        (options.cpuid.is_given(), "cpuid= is not supported yet: Dom0 sees the features of the CPU"),
        (
            options.spec_ctrl.is_given(),
            "spec-ctrl= is not supported yet: no mitigation of speculation is applied",
        ),
        (
            options.xpti != PageTableIsolation::default(),
            "xpti= is not supported yet: page tables are not isolated",
        ),
        (
            options.ucode.module != 0 || options.ucode.scan,
            "ucode= is not supported yet: the microcode stays the firmware's",
        ),
        (options.dom0.pvh, "dom0=pvh is not supported: Dom0 is a PV domain"),
        (
            options.reboot.method == Some(RebootMethod::Xen),
            "reboot=xen is not supported: the ACPI register is used",
        ),
    ];
    for (_, line) in lines.into_iter().filter(|(asked, _)| *asked) {
        log!("command line: {line}");
    }
}
