//! A kernel file made by hand.

use guest_loader::fake::{self, Header, xen_note};

/// Base of the kernel's addresses.
pub(crate) const BASE: u64 = 0xffff_ffff_8000_0000;
/// Physical start of its text.
pub(crate) const TEXT: u64 = 0x100_0000;
/// Bytes of text in the file; not a whole number of pages or words.
pub(crate) const TEXT_BYTES: u64 = 0x5_2345;
/// Physical start of its data, which has a virtual address of 0.
pub(crate) const DATA: u64 = 0x108_0010;
/// Bytes of data in the file.
pub(crate) const DATA_BYTES: u64 = 0x1003;
/// Bytes of data in memory.
pub(crate) const DATA_MEMORY: u64 = 0x9_0000;
/// First instruction.
pub(crate) const ENTRY: u64 = BASE + TEXT + 0x123;
/// Where the frame list is wanted.
pub(crate) const FRAME_LIST: u64 = 0x80_0000_0000;

/// Which notes it has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) init_p2m: bool,
    pub(crate) mod_start_pfn: bool,
    pub(crate) hypercall_page: Option<u64>,
}

/// Byte `index` of text and data.
pub(crate) fn text_byte(index: u64) -> u8 {
    (index * 7 + index / 4096 + 1) as u8
}

/// Byte `index` of the data.
pub(crate) fn data_byte(index: u64) -> u8 {
    (index * 11 + 5) as u8
}

pub(crate) fn notes(wishes: Wishes) -> Vec<u8> {
    let mut notes = fake::dom0_notes(BASE, ENTRY);
    if wishes.init_p2m {
        notes.extend(xen_note(15, &FRAME_LIST.to_le_bytes()));
    }
    if wishes.mod_start_pfn {
        notes.extend(xen_note(16, &1_u32.to_le_bytes()));
    }
    if let Some(page) = wishes.hypercall_page {
        notes.extend(xen_note(2, &page.to_le_bytes()));
    }
    notes
}

/// The file: notes, text, data.
pub(crate) fn file(notes: &[u8]) -> Vec<u8> {
    let notes_at = fake::body_at(3);
    let text_at = notes_at + notes.len() as u64;
    let load = |flags, offset, vaddr, paddr, file_len, memory_len| Header {
        kind: fake::LOAD,
        flags,
        offset,
        vaddr,
        paddr,
        file_len,
        memory_len,
    };
    let headers = [
        load(5, text_at, BASE + TEXT, TEXT, TEXT_BYTES, TEXT_BYTES + 0x2000),
        load(6, text_at + TEXT_BYTES, 0, DATA, DATA_BYTES, DATA_MEMORY),
        Header::notes(notes_at, notes.len() as u64),
    ];
    let content = (0..TEXT_BYTES).map(text_byte).chain((0..DATA_BYTES).map(data_byte));
    let body: Vec<u8> = notes.iter().copied().chain(content).collect();
    fake::elf(TEXT, &headers, &body, &[])
}
