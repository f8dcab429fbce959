//! The unpacked kernel: an x86-64 ELF64 executable (System V gABI, chapter 5), bounds-checked.
//!
//! Segments are placed by physical address: Linux's per-CPU segment has virtual address 0, so `p_vaddr` says
//! nothing about where a segment goes.

use crate::LoadError;
use crate::notes::Notes;
use elf::ElfBytes;
use elf::abi::{EM_X86_64, PF_W, PF_X, PT_LOAD, PT_NOTE, SHT_NOTE};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::segment::ProgramHeader;

/// A parsed kernel file. Every segment's bytes are known to lie in the file.
#[derive(Debug)]
pub struct ElfKernel<'a> {
    elf: ElfBytes<'a, LittleEndian>,
    file: &'a [u8],
    physical_start: u64,
    physical_end: u64,
}

/// One piece of the kernel to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// `p_paddr`.
    pub physical: u64,
    /// The bytes from the file; the rest up to `memory_len` is zero.
    pub bytes: &'a [u8],
    /// Length in memory, never less than `bytes.len()`.
    pub memory_len: u64,
}

/// Where the kernel lies in its virtual address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte of the lowest segment.
    pub start: u64,
    /// After the last byte of the highest segment.
    pub end: u64,
    /// What to add (modulo 2^64) to a physical address to get its virtual one.
    pub offset: u64,
}

impl<'a> ElfKernel<'a> {
    /// Parses `file` and checks every loadable segment.
    ///
    /// # Errors
    /// [`LoadError::BadElf`] when the file is not an x86-64 ELF64 or a segment lies outside it.
    pub fn parse(file: &'a [u8]) -> Result<Self, LoadError> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file)
            .map_err(|_| LoadError::BadElf("header is damaged or not little-endian"))?;
        if elf.ehdr.class != Class::ELF64 {
            return Err(LoadError::BadElf("not a 64-bit file"));
        }
        if elf.ehdr.e_machine != EM_X86_64 {
            return Err(LoadError::BadElf("not for x86-64"));
        }
        let (mut physical_start, mut physical_end) = (u64::MAX, 0);
        for header in loadable(&elf)? {
            segment_bytes(file, &header).ok_or(LoadError::BadElf("a segment lies outside the file"))?;
            if header.p_memsz < header.p_filesz {
                return Err(LoadError::BadElf("a segment is larger in the file than in memory"));
            }
            let end = header.p_paddr.checked_add(header.p_memsz);
            physical_start = physical_start.min(header.p_paddr);
            physical_end =
                physical_end.max(end.ok_or(LoadError::BadElf("a segment ends beyond the address space"))?);
        }
        if physical_start >= physical_end {
            return Err(LoadError::BadElf("no loadable segment"));
        }
        Ok(Self { elf, file, physical_start, physical_end })
    }

    /// The entry point of the ELF header, used when there is no ENTRY note.
    pub fn entry(&self) -> u64 {
        self.elf.ehdr.e_entry
    }

    /// The loadable segments, in file order.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'a>> + '_ {
        let headers = loadable(&self.elf).ok().into_iter().flatten();
        headers.filter_map(|header| {
            let bytes = segment_bytes(self.file, &header)?;
            Some(Segment { physical: header.p_paddr, bytes, memory_len: header.p_memsz })
        })
    }

    /// The Xen ELF notes: from the PT_NOTE segments, else from the SHT_NOTE sections.
    ///
    /// # Errors
    /// See [`Notes::add`]; [`LoadError::NoNotes`] when there are none.
    pub fn notes(&self) -> Result<Notes, LoadError> {
        let mut notes = Notes::new(self.entry());
        for header in self.elf.segments().into_iter().flatten().filter(|header| header.p_type == PT_NOTE) {
            if let Some(bytes) = segment_bytes(self.file, &header) {
                notes.add(bytes)?;
            }
        }
        if notes.is_empty() {
            let sections = self.elf.section_headers().into_iter().flatten();
            for header in sections.filter(|header| header.sh_type == SHT_NOTE) {
                if let Some(bytes) = file_range(self.file, header.sh_offset, header.sh_size) {
                    notes.add(bytes)?;
                }
            }
        }
        if notes.is_empty() { Err(LoadError::NoNotes) } else { Ok(notes) }
    }

    /// The kernel's virtual span: physical addresses plus VIRT_BASE less PADDR_OFFSET.
    ///
    /// # Errors
    /// [`LoadError::BadLayout`] when the span wraps, starts below VIRT_BASE, or does not hold the entry point.
    pub fn span(&self, notes: &Notes) -> Result<Span, LoadError> {
        let offset = notes.virt_base.wrapping_sub(notes.paddr_offset);
        let start = self.physical_start.wrapping_add(offset);
        let len = self.physical_end - self.physical_start; // start < end since `parse`
        let end = start.checked_add(len).ok_or(LoadError::BadLayout("the kernel wraps the address space"))?;
        if start < notes.virt_base {
            return Err(LoadError::BadLayout("the kernel starts below VIRT_BASE"));
        }
        if !(start..end).contains(&notes.entry) {
            return Err(LoadError::BadLayout("the entry point lies outside the kernel"));
        }
        Ok(Span { start, end, offset })
    }
}

impl Segment<'_> {
    /// The virtual address of the segment's first byte.
    pub fn virtual_start(&self, span: &Span) -> u64 {
        self.physical.wrapping_add(span.offset)
    }
}

/// PT_LOAD segments that are writable or executable, which are the ones that Xen loads.
fn loadable<'a>(
    elf: &ElfBytes<'a, LittleEndian>,
) -> Result<impl Iterator<Item = ProgramHeader> + use<'a>, LoadError> {
    let headers = elf.segments().ok_or(LoadError::BadElf("no program headers"))?;
    Ok(headers.into_iter().filter(|header| {
        header.p_type == PT_LOAD && header.p_flags & (PF_W | PF_X) != 0 && header.p_memsz > 0
    }))
}

fn segment_bytes<'a>(file: &'a [u8], header: &ProgramHeader) -> Option<&'a [u8]> {
    file_range(file, header.p_offset, header.p_filesz)
}

fn file_range(file: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    file.get(start..start.checked_add(usize::try_from(len).ok()?)?)
}
