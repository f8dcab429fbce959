//! What the machine's firmware says.

use boot_info::{BootFacts, Cpu, E820Entry, E820Kind, Fadt, IoBlock, Range};
use ids::Maddr;

pub(crate) fn facts() -> BootFacts {
    let mut facts = BootFacts::EMPTY;
    for (start, len, kind) in [
        (0, 0x9_fc00, E820Kind::RAM),
        (0x10_0000, 0x7fe0_0000, E820Kind::RAM),
        (0xfffc_0000, 0x4_0000, E820Kind::RESERVED),
    ] {
        facts.memory.insert(E820Entry { start: Maddr(start), len, kind }).expect("room");
    }
    for (apic_id, acpi_id) in [(0x20, 0x10), (0x21, 0x11)] {
        let cpu = Cpu { apic_id, acpi_id, enabled: true, online_capable: false };
        facts.acpi.madt.cpus.push(cpu);
    }
    facts.acpi.fadt = Some(fadt());
    (facts.image, facts.cpu.physical_bits) = (Range { start: 0x20_0000, end: 0x30_0000 }, 36);
    // Two GiB from 2 GiB on, and one that is not used.
    facts.cpu.memory_types.extend([(0x8000_0001, 0xf_8000_0800), (0x1000, 0)]);
    (facts.cpu.vendor, facts.cpu.signature) = (*b"AuthenticAMD", 0x0083_0f10 | 1);
    facts
}

fn fadt() -> Fadt {
    let none = Maddr(0);
    Fadt {
        sci_interrupt: 9,
        smi_command: 0,
        acpi_enable: 0,
        pm1a_event: None,
        pm1b_event: None,
        pm1a_control: Some(IoBlock { port: 0x604, len: 2 }),
        pm1b_control: None,
        pm_timer: None,
        pm_timer_is_32_bit: false,
        century: 0,
        boot_flags: 0,
        flags: 0,
        reset: None,
        facs: none,
        dsdt: none,
    }
}
