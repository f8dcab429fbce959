//! The guest's kernel: an ELF file that is all data, with the notes Dom0's builder wants, and where the
//! simulated guest keeps what.

use guest_loader::fake::{self, Header};

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

/// The file: notes, a page.
pub(crate) fn file() -> Vec<u8> {
    let notes = fake::dom0_notes(BASE, ENTRY);
    let (notes_at, len) = (fake::body_at(2), notes.len() as u64);
    let text = Header {
        kind: fake::LOAD,
        flags: 7,
        offset: notes_at + len,
        vaddr: BASE + START,
        paddr: START,
        file_len: 4096,
        memory_len: MEMORY,
    };
    let page = (0..4096_u32).map(|index| (index * 7 + 1) as u8);
    let body: Vec<u8> = notes.into_iter().chain(page).collect();
    fake::elf(START, &[text, Header::notes(notes_at, len)], &body, &[])
}
