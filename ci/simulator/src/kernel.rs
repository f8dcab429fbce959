//! The guest's kernel: an ELF file that is all data, with the notes Dom0's builder wants, and where the
//! simulated guest keeps what.

/// Base of the kernel's addresses.
pub(crate) const BASE: u64 = 0xffff_ffff_8000_0000;
/// Physical start of its one segment.
const START: u64 = 0x1000;
/// Bytes of it in memory.
const MEMORY: u64 = 0x80_000;
/// First instruction.
pub(crate) const ENTRY: u64 = BASE + START;
/// Handlers of traps, events and system calls lie here; nothing is ever executed.
pub(crate) const HANDLERS: u64 = BASE + START + 0x800;
/// Bytes of a vCPU's buffers for arguments.
pub(crate) const BUFFER_BYTES: u64 = 0x1_0000;

/// Where a vCPU keeps arguments of hypercalls, and instructions.
pub(crate) fn buffers(vcpu: u32) -> u64 {
    BASE + 0x2000 + u64::from(vcpu) * BUFFER_BYTES
}

/// Top of a vCPU's kernel stack.
pub(crate) fn stack(vcpu: u32) -> u64 {
    BASE + 0x62_000 + u64::from(vcpu) * 0x2000
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

/// The file: header, two program headers, notes, a page.
pub(crate) fn file() -> Vec<u8> {
    let notes = [
        note(5, b"xen-3.0\0"),
        note(8, b"generic\0"),
        note(3, &BASE.to_le_bytes()),
        note(1, &ENTRY.to_le_bytes()),
        note(17, &0x8801_u32.to_le_bytes()),
    ]
    .concat();
    let notes_at = 64 + 2 * 56;
    let text_at = notes_at + notes.len() as u64;
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [START, 64, 0] {
        out.extend(word.to_le_bytes());
    }
    out.extend([0; 4]);
    for half in [64_u16, 56, 2, 64, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    for (kind, flags, words) in [
        (1_u32, 7_u32, [text_at, BASE + START, START, 4096, MEMORY, 4096]),
        (4, 4, [notes_at, 0, 0, notes.len() as u64, notes.len() as u64, 4]),
    ] {
        out.extend(kind.to_le_bytes());
        out.extend(flags.to_le_bytes());
        out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    out.extend(notes);
    out.extend((0..4096_u32).map(|index| (index * 7 + 1) as u8));
    out
}
