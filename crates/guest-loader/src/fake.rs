//! Host only: kernel files made by hand, for tests.

use alloc::vec::Vec;

/// `PT_LOAD`.
pub const LOAD: u32 = 1;
/// `PT_NOTE`.
pub const NOTE: u32 = 4;
const ELF_HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;

/// A program header.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Its type.
    pub kind: u32,
    /// Its flags.
    pub flags: u32,
    /// Where its bytes are in the file.
    pub offset: u64,
    /// Virtual address.
    pub vaddr: u64,
    /// Physical address.
    pub paddr: u64,
    /// Bytes in the file.
    pub file_len: u64,
    /// Bytes in memory.
    pub memory_len: u64,
}

impl Header {
    /// That of notes at `offset`.
    pub const fn notes(offset: u64, len: u64) -> Self {
        Self { kind: NOTE, flags: 4, offset, vaddr: 0, paddr: 0, file_len: len, memory_len: len }
    }
}

/// A note.
pub fn note(owner: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [owner.len() as u32, desc.len() as u32, kind] {
        out.extend(word.to_le_bytes());
    }
    for part in [owner, desc] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// A note of Xen's.
pub fn xen_note(kind: u32, desc: &[u8]) -> Vec<u8> {
    note(b"Xen\0", kind, desc)
}

/// What every PV kernel says of itself that may be Dom0: version, loader, base of its addresses, first instruction,
/// features.
pub fn dom0_notes(base: u64, entry: u64) -> Vec<u8> {
    [
        xen_note(5, b"xen-3.0\0"),
        xen_note(8, b"generic\0"),
        xen_note(3, &base.to_le_bytes()),
        xen_note(1, &entry.to_le_bytes()),
        xen_note(17, &0x8801_u32.to_le_bytes()),
    ]
    .concat()
}

/// Offset of what comes behind so many program headers.
pub const fn body_at(headers: usize) -> u64 {
    ELF_HEADER + headers as u64 * PROGRAM_HEADER
}

/// A file: ELF header, program headers, body, section headers if there are any.
pub fn elf(entry: u64, headers: &[Header], body: &[u8], sections: &[[u8; 64]]) -> Vec<u8> {
    let sections_at = if sections.is_empty() { 0 } else { body_at(headers.len()) + body.len() as u64 };
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [entry, ELF_HEADER, sections_at] {
        out.extend(word.to_le_bytes());
    }
    out.extend([0; 4]);
    for half in [ELF_HEADER as u16, PROGRAM_HEADER as u16, headers.len() as u16, 64, sections.len() as u16, 0]
    {
        out.extend(half.to_le_bytes());
    }
    for header in headers {
        out.extend(header.kind.to_le_bytes());
        out.extend(header.flags.to_le_bytes());
        let Header { offset, vaddr, paddr, file_len, memory_len, .. } = *header;
        for word in [offset, vaddr, paddr, file_len, memory_len, 4] {
            out.extend(word.to_le_bytes());
        }
    }
    out.extend(body);
    out.extend(sections.iter().flatten());
    out
}
