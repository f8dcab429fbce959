//! The machine in the log, as boot found it.

use boot_info::BootFacts;

use crate::console::log;

/// CPUs, what ACPI says, the screen.
pub(crate) fn machine(facts: &BootFacts) {
    let acpi = &facts.acpi;
    let vendor = core::str::from_utf8(&facts.cpu.vendor).unwrap_or("?");
    log!("{vendor} {:#x}, {} CPUs:", facts.cpu.signature, facts.cpus().len());
    for (number, cpu) in facts.cpus().iter().enumerate() {
        log!("  CPU {number}: APIC {}, ACPI {}", cpu.apic_id, cpu.acpi_id);
    }
    for line in &acpi.madt.overrides {
        log!("  ISA {} is GSI {}, {:?} {:?}", line.source, line.gsi, line.polarity, line.trigger);
    }
    if let Some(address) = acpi.root.and_then(|root| root.address) {
        log!("ACPI root pointer at {:#x}", address.0);
    }
    if let Some(fadt) = &acpi.fadt {
        let ports =
            [fadt.pm1a_control, fadt.pm1b_control, fadt.pm_timer].map(|block| block.map_or(0, |b| b.port));
        log!(
            "PM1a control {:#x}, PM1b {:#x}, PM timer {:#x}, SCI {}",
            ports[0],
            ports[1],
            ports[2],
            fadt.sci_interrupt
        );
    }
    for space in &acpi.config_spaces {
        let (first, last) = (space.first_bus, space.last_bus);
        log!("PCI segment {} buses {first:#x} to {last:#x} at {:#x}", space.segment, space.address.0);
    }
    log!("Screen: {:?}", facts.display);
}

/// The memory map and the boot modules.
pub(crate) fn memory(facts: &BootFacts) {
    log!("Memory map:");
    for entry in facts.memory.iter() {
        let end = entry.start.0.wrapping_add(entry.len).wrapping_sub(1);
        log!("  [{:016x}, {end:016x}] ({})", entry.start.0, entry.kind.name());
    }
    for module in facts.modules() {
        let range = module.range();
        log!("Module [{:#x}, {:#x}) {}", range.start, range.end, facts.module_command_line(module));
    }
}
