//! Tables built here, whole and damaged.
extern crate std;

use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

struct Fake(Vec<u8>);

impl Firmware for Fake {
    fn bytes(&self, maddr: Maddr, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(maddr.0).ok()?;
        self.0.get(start..start.checked_add(len)?)
    }
}

fn read(firmware: &Fake, copy: Option<[u8; 36]>, efi: Option<Maddr>) -> Result<AcpiFacts, AcpiError> {
    let mut facts = AcpiFacts::EMPTY;
    facts.read(firmware, copy, efi).map(|()| facts)
}

fn fix_sum(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
}

fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut table = vec![0; HEADER];
    table[..4].copy_from_slice(signature);
    table.extend_from_slice(body);
    let len = u32::try_from(table.len()).unwrap();
    table[4..8].copy_from_slice(&len.to_le_bytes());
    fix_sum(&mut table, 9);
    table
}

fn madt() -> Vec<u8> {
    let mut body = vec![0, 0, 0xe0, 0xfe, 1, 0, 0, 0];
    body.extend([0, 8, 1, 0, 1, 0, 0, 0]);
    body.extend([0, 8, 2, 4, 0, 0, 0, 0]);
    body.extend([0, 8, 3, 5, 2, 0, 0, 0]);
    body.extend([9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
    body.extend([1, 12, 7, 0, 0, 0, 0xc0, 0xfe, 16, 0, 0, 0]);
    body.extend([2, 10, 0, 9, 20, 0, 0, 0, 0x0f, 0]);
    body.extend([4, 6, 0xff, 5, 0, 1]);
    body.extend([200, 3, 1]);
    table(b"APIC", &body)
}

fn fadt() -> Vec<u8> {
    let mut body = vec![0; 244 - HEADER];
    let mut put =
        |at: usize, bytes: &[u8]| body[at - HEADER..at - HEADER + bytes.len()].copy_from_slice(bytes);
    put(46, &[9, 0, 0xb2]);
    put(64, &[4, 6]);
    put(76, &[8, 6]);
    put(88, &[4, 2, 0, 4]);
    put(108, &[0x32]);
    put(112, &(RESET | 1 << 8).to_le_bytes());
    put(116, &[1, 8, 0, 0, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0, 0x0f]);
    table(b"FACP", &body)
}
const RESET: u32 = 1 << 10;

/// Memory with a root pointer in the BIOS area and the tables from 0x1000 on.
fn machine(tables: &[Vec<u8>], version: u8) -> Fake {
    let mut memory = vec![0; 0x10_0000];
    let mut at = 0x1000;
    let mut pointers = Vec::new();
    for table in tables {
        memory[at..at + table.len()].copy_from_slice(table);
        let address = at as u64;
        pointers.extend_from_slice(&address.to_le_bytes()[..if version >= 2 { 8 } else { 4 }]);
        at += table.len().next_multiple_of(16);
    }
    let root = table(if version >= 2 { b"XSDT" } else { b"RSDT" }, &pointers);
    memory[at..at + root.len()].copy_from_slice(&root);
    let mut pointer = [0; 36];
    pointer[..8].copy_from_slice(b"RSD PTR ");
    pointer[15] = version;
    let address = at as u64;
    let slot = if version >= 2 { 24..32 } else { 16..20 };
    pointer[slot.clone()].copy_from_slice(&address.to_le_bytes()[..slot.len()]);
    fix_sum(&mut pointer[..20], 8);
    if version >= 2 {
        fix_sum(&mut pointer, 32);
    }
    memory[0xf_5a60..0xf_5a60 + 36].copy_from_slice(&pointer);
    Fake(memory)
}

#[test]
fn both_versions_of_the_root_lead_to_all_facts() {
    let mcfg =
        table(b"MCFG", &[&[0; 8][..], &[0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0]].concat());
    let hpet =
        table(b"HPET", &[1, 2, 0x86, 0x80, 0, 64, 0, 0, 0, 0, 0xd0, 0xfe, 0, 0, 0, 0, 0, 0x80, 0x10, 0]);
    for version in [0, 2] {
        let memory = machine(&[madt(), fadt(), mcfg.clone(), hpet.clone()], version);
        let facts = read(&memory, None, None).unwrap();
        assert_eq!(facts.root.unwrap().address, Some(Maddr(0xf_5a60)));
        let cpus: Vec<_> = facts.madt.cpus.iter().map(|c| (c.apic_id, c.acpi_id, c.enabled)).collect();
        assert_eq!(cpus, [(0, 1, true), (5, 3, false), (0x100, 9, true)]);
        assert_eq!(
            (facts.madt.io_apics[0].gsi_base, facts.madt.io_apics[0].address),
            (16, Maddr(0xfec0_0000))
        );
        let line = facts.madt.overrides[0];
        assert_eq!(
            (line.source, line.gsi, line.polarity, line.trigger),
            (9, 20, Polarity::Low, Trigger::Level)
        );
        let nmi = facts.madt.local_nmis[0];
        assert_eq!(
            (nmi.acpi_id, nmi.lint, nmi.polarity, nmi.trigger),
            (None, 1, Polarity::High, Trigger::Edge)
        );
        let fadt = facts.fadt.unwrap();
        assert_eq!(fadt.pm_timer, Some(IoBlock { port: 0x608, len: 4 }));
        assert_eq!((fadt.pm1a_control, fadt.pm1b_control), (Some(IoBlock { port: 0x604, len: 2 }), None));
        assert_eq!((fadt.sci_interrupt, fadt.smi_command, fadt.century), (9, 0xb2, 0x32));
        assert!(
            fadt.pm_timer_is_32_bit
                && fadt.reset.is_some_and(|(at, value)| at.address == 0xcf9 && value == 15)
        );
        assert_eq!(facts.hpet.unwrap().address, Maddr(0xfed0_0000));
        assert_eq!(
            (facts.config_spaces[0].address, facts.config_spaces[0].last_bus),
            (Maddr(0xb000_0000), 0xff)
        );
    }
}

#[test]
fn uefi_leads_to_the_root_pointer() {
    let mut memory = machine(&[madt()], 2);
    let mut pointer = [0; 36];
    pointer.copy_from_slice(&memory.0[0xf_5a60..0xf_5a60 + 36]);
    memory.0[0xf_5a60..0xf_5a60 + 36].fill(0);
    memory.0[0x8_0000..0x8_0024].copy_from_slice(&pointer);
    let mut put = |at: usize, bytes: &[u8]| memory.0[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x7_0000, b"IBI SYST");
    put(0x7_0000 + 104, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0x07]);
    put(0x7_2000 + 24, b"\x71\xe8\x68\x88\xf1\xe4\xd3\x11\xbc\x22\x00\x80\xc7\x3c\x88\x81\x00\x00\x08");
    let facts = read(&memory, None, Some(Maddr(0x7_0000))).unwrap();
    assert_eq!(facts.root, Some(RootPointer { address: Some(Maddr(0x8_0000)), copy: pointer }));
    let wrong = read(&memory, None, Some(Maddr(0x7_0001)));
    assert_eq!(wrong, Err(AcpiError::NoRootPointer));
}

#[test]
fn damage_is_named() {
    assert_eq!(read(&Fake(vec![0; 0x10_0000]), None, None), Err(AcpiError::NoRootPointer));
    assert_eq!(read(&machine(&[fadt()], 2), None, None), Err(AcpiError::Missing(*b"APIC")));
    let mut wrong = madt();
    wrong[50] ^= 1;
    assert_eq!(read(&machine(&[wrong], 2), None, None), Err(AcpiError::Checksum(*b"APIC")));
    for len in [0, 1, 7, 200] {
        let mut endless = madt();
        endless[45] = len;
        fix_sum(&mut endless, 9);
        assert_eq!(read(&machine(&[endless], 2), None, None), Err(AcpiError::Malformed(*b"APIC")), "{len}");
    }
}

proptest! {
    #[test]
    fn no_table_makes_it_panic(
        damage in prop::collection::vec((0_usize..400, any::<u8>()), 0..12),
        version in 0_u8..3,
        which in 0_usize..3,
    ) {
        let mut tables = [madt(), fadt(), table(b"MCFG", &[0; 24])];
        for (at, byte) in damage {
            let len = tables[which].len();
            tables[which][at % len] = byte;
        }
        fix_sum(&mut tables[which], 9);
        let _ = read(&machine(&tables, version), None, None);
    }
}
