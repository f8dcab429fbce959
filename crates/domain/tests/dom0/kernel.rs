//! A kernel file made by hand.

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

fn note(kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [4, desc.len() as u32, kind] {
        out.extend(word.to_le_bytes());
    }
    out.extend(b"Xen\0");
    out.extend(desc);
    out.resize(out.len().next_multiple_of(4), 0);
    out
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
    let mut notes = [
        note(5, b"xen-3.0\0"),
        note(8, b"generic\0"),
        note(3, &BASE.to_le_bytes()),
        note(1, &ENTRY.to_le_bytes()),
        note(17, &0x8801_u32.to_le_bytes()),
    ]
    .concat();
    if wishes.init_p2m {
        notes.extend(note(15, &FRAME_LIST.to_le_bytes()));
    }
    if wishes.mod_start_pfn {
        notes.extend(note(16, &1_u32.to_le_bytes()));
    }
    if let Some(page) = wishes.hypercall_page {
        notes.extend(note(2, &page.to_le_bytes()));
    }
    notes
}

/// The file: ELF header, three program headers, notes, text, data.
pub(crate) fn file(notes: &[u8]) -> Vec<u8> {
    let notes_at = 64 + 3 * 56;
    let text_at = notes_at + notes.len() as u64;
    let data_at = text_at + TEXT_BYTES;
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [TEXT, 64, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend([0; 4]);
    for half in [64_u16, 56, 3, 64, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    let (load, note) = (1_u32, 4_u32);
    for (kind, flags, words) in [
        (load, 5_u32, [text_at, BASE + TEXT, TEXT, TEXT_BYTES, TEXT_BYTES + 0x2000, 4096]),
        (load, 6, [data_at, 0, DATA, DATA_BYTES, DATA_MEMORY, 4096]),
        (note, 4, [notes_at, 0, 0, notes.len() as u64, notes.len() as u64, 4]),
    ] {
        out.extend(kind.to_le_bytes());
        out.extend(flags.to_le_bytes());
        out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    out.extend(notes);
    out.extend((0..TEXT_BYTES).map(text_byte));
    out.extend((0..DATA_BYTES).map(data_byte));
    out
}
