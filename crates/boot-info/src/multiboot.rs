//! Facts from a Multiboot2 information structure (GNU GRUB Multiboot2 specification 2.0, chapter 3.6).

use core::fmt;

use multiboot2::BootInformation;

use crate::facts::MAX_COMMAND_LINE;
use crate::{BootFacts, Display, E820Entry, E820Kind, Full, Module, Overflow};
use ids::Maddr;

/// Why the boot loader's information cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultibootError {
    /// A tag of this type is shorter than its fixed part.
    ShortTag(u32),
    /// A tag of this type holds impossible values.
    BadTag(u32),
    /// There is no memory map.
    NoMemoryMap,
    /// More than there is room for.
    Overflow(&'static str),
}

impl fmt::Display for MultibootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortTag(kind) => write!(f, "Multiboot2 tag {kind} is too short"),
            Self::BadTag(kind) => write!(f, "Multiboot2 tag {kind} is corrupt"),
            Self::NoMemoryMap => f.write_str("the boot loader gave no memory map"),
            Self::Overflow(what) => write!(f, "the boot loader gave too many {what}"),
        }
    }
}

impl From<Overflow> for MultibootError {
    fn from(overflow: Overflow) -> Self {
        Self::Overflow(overflow.0)
    }
}

impl From<Full> for MultibootError {
    fn from(_: Full) -> Self {
        Self::Overflow("memory ranges")
    }
}

const COMMAND_LINE: u32 = 1;
const MODULE: u32 = 3;
const MEMORY_MAP: u32 = 6;
const FRAMEBUFFER: u32 = 8;
const EFI_TABLE_32: u32 = 11;
const EFI_TABLE_64: u32 = 12;
const ROOT_POINTER_V1: u32 = 14;
const ROOT_POINTER_V2: u32 = 15;
const EFI_MEMORY_MAP: u32 = 17;
/// Bytes of a memory map entry in version 0 of that tag.
const MEMORY_MAP_ENTRY: u32 = 24;

/// Bytes of a tag's fixed part, header included, for the types read here.
const fn fixed_part(kind: u32) -> u32 {
    match kind {
        EFI_TABLE_32 => 12,
        MODULE | MEMORY_MAP | EFI_TABLE_64 | EFI_MEMORY_MAP => 16,
        ROOT_POINTER_V1 => 28,
        FRAMEBUFFER => 32,
        ROOT_POINTER_V2 => 44,
        _ => 8,
    }
}

impl BootFacts {
    /// Takes memory map, command line and modules from the boot loader's information.
    ///
    /// # Errors
    /// See [`MultibootError`]; the facts are then incomplete.
    pub fn read_multiboot(&mut self, info: &BootInformation<'_>) -> Result<(), MultibootError> {
        // The accessors of the library panic on tags shorter than their type: check all before using any.
        for tag in info.tags() {
            let (kind, size) = (u32::from(tag.header().typ), tag.header().size);
            let Some(rest) = size.checked_sub(fixed_part(kind)) else {
                return Err(MultibootError::ShortTag(kind));
            };
            if kind == MEMORY_MAP && rest % MEMORY_MAP_ENTRY != 0 {
                return Err(MultibootError::BadTag(kind));
            }
            self.read_firmware_tag(kind, tag.payload())?;
        }
        self.read_memory_map(info)?;
        if let Some(tag) = info.command_line_tag() {
            let text = tag.cmdline().map_err(|_| MultibootError::BadTag(COMMAND_LINE))?;
            if text.len() > MAX_COMMAND_LINE {
                return Err(MultibootError::Overflow("bytes of command line"));
            }
            self.command_line = self.keep_text(text)?;
        }
        for tag in info.module_tags() {
            let (start, end) = (u64::from(tag.start_address()), u64::from(tag.end_address()));
            let len = end.checked_sub(start).ok_or(MultibootError::BadTag(MODULE))?;
            let text = tag.cmdline().map_err(|_| MultibootError::BadTag(MODULE))?;
            let command_line = self.keep_text(text)?;
            let module = Module { start: Maddr(start), len, command_line };
            self.modules.try_push(module).map_err(|_| MultibootError::Overflow("modules"))?;
        }
        Ok(())
    }

    /// Tags that say where firmware's things are; `payload` has at least the type's fixed part.
    fn read_firmware_tag(&mut self, kind: u32, payload: &[u8]) -> Result<(), MultibootError> {
        match kind {
            EFI_MEMORY_MAP => {
                let size = le(payload, 0, 4).and_then(|size| usize::try_from(size).ok());
                self.efi.read_memory(size.unwrap_or(0), payload.get(8..).unwrap_or(&[]))?;
            }
            FRAMEBUFFER => self.display = display(payload).unwrap_or_default(),
            EFI_TABLE_32 => self.efi_system_table = le(payload, 0, 4).map(Maddr),
            EFI_TABLE_64 => self.efi_system_table = le(payload, 0, 8).map(Maddr),
            ROOT_POINTER_V2 => self.root_pointer = payload.first_chunk().copied(),
            ROOT_POINTER_V1 if self.root_pointer.is_none() => {
                let mut copy = [0; 36];
                copy[..20].copy_from_slice(&payload[..20]);
                self.root_pointer = Some(copy);
            }
            _ => {}
        }
        Ok(())
    }

    fn read_memory_map(&mut self, info: &BootInformation<'_>) -> Result<(), MultibootError> {
        let tag = info.memory_map_tag().ok_or(MultibootError::NoMemoryMap)?;
        if tag.entry_size() != MEMORY_MAP_ENTRY {
            return Err(MultibootError::BadTag(MEMORY_MAP));
        }
        for area in tag.memory_areas() {
            let kind = E820Kind(u32::from(area.typ())).without_loaders();
            let entry = E820Entry { start: Maddr(area.start_address()), len: area.size(), kind };
            self.memory.insert(entry)?;
        }
        Ok(())
    }
}

/// The little-endian number in `len` bytes (at most 8) from `at` on.
fn le(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let mut number = [0; 8];
    number.get_mut(..len)?.copy_from_slice(bytes.get(at..at.checked_add(len)?)?);
    Some(u64::from_le_bytes(number))
}

/// The frame buffer tag (3.6.12). Palette modes are as good as none.
fn display(payload: &[u8]) -> Option<Display> {
    let short = |at| le(payload, at, 4).and_then(|value| u16::try_from(value).ok());
    let (width, height) = (short(12)?, short(16)?);
    let field = |at: usize| Some((*payload.get(at)?, *payload.get(at + 1)?));
    match payload.get(21)? {
        1 => Some(Display::Pixels {
            address: le(payload, 0, 8)?,
            pitch: u32::try_from(le(payload, 8, 4)?).ok()?,
            width,
            height,
            bits: *payload.get(20)?,
            red: field(24)?,
            green: field(26)?,
            blue: field(28)?,
        }),
        2 => Some(Display::Text { columns: width, rows: height, font_height: 16, cursor_x: 0, cursor_y: 0 }),
        _ => None,
    }
}
