//! What the machine's firmware says.

use boot_info::bios;
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
    facts.bios.read(&bios_answers()).expect("no call took too long");
    (facts.image, facts.cpu.physical_bits) = (Range { start: 0x20_0000, end: 0x30_0000 }, 36);
    // Two GiB from 2 GiB on, and one that is not used.
    facts.cpu.memory_types.extend([(0x8000_0001, 0xf_8000_0800), (0x1000, 0)]);
    (facts.cpu.xcr0, facts.cpu.xsave_bytes) = (0x207, 2696);
    (facts.cpu.vendor, facts.cpu.signature) = (*b"AuthenticAMD", 0x0083_0f10 | 1);
    facts
}

/// A disk that says that it has more parameters than there are, the signature of another, a monitor, two keys held.
fn bios_answers() -> [u8; bios::BYTES] {
    let mut answers = [0; bios::BYTES];
    let mut put = |at: u16, bytes: &[u8]| answers[at.into()..][..bytes.len()].copy_from_slice(bytes);
    put(bios::DISK_COUNT, &[1]);
    put(bios::DISKS, &[0x80, 0x30, 7, 0, 2, 1, 15, 63, 0xff, 0xff, 9, 0]);
    put(bios::SIGNATURE_COUNT, &[1]);
    put(bios::SIGNATURES, &[0x81, 0, 0, 0, 0xde, 0xc0, 0xed, 0xfe]);
    put(bios::ABILITY, &[3, 1]);
    put(bios::KEYS, &[0x21]);
    put(bios::STAGE, &[6]);
    answers[bios::EDID..].fill(0xee);
    answers
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
