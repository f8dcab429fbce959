//! The Xen ELF notes (public/elfnote.h): what a PV kernel tells its builder.

use crate::LoadError;
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::note::{Note, NoteIterator};

/// Owner name of the notes.
const OWNER: &[u8] = b"Xen";
/// XENFEAT_dom0 (public/features.h).
const FEATURE_DOM0: u32 = 11;
/// Feature names of the FEATURES string, by bit (public/features.h).
const FEATURES: [(&str, u32); 8] = [
    ("writable_page_tables", 0),
    ("writable_descriptor_tables", 1),
    ("auto_translated_physmap", 2),
    ("supervisor_mode_kernel", 3),
    ("pae_pgdir_above_4gb", 4),
    ("hvm_callback_vector", 8),
    ("hvm_pirqs", 10),
    ("dom0", FEATURE_DOM0),
];
/// XENFEAT_supervisor_mode_kernel, which no x86-64 hypervisor offers.
const FEATURE_SUPERVISOR: u32 = 3;

/// Note types (public/elfnote.h).
mod kind {
    pub(super) const ENTRY: u64 = 1;
    pub(super) const HYPERCALL_PAGE: u64 = 2;
    pub(super) const VIRT_BASE: u64 = 3;
    pub(super) const PADDR_OFFSET: u64 = 4;
    pub(super) const XEN_VERSION: u64 = 5;
    pub(super) const GUEST_OS: u64 = 6;
    pub(super) const LOADER: u64 = 8;
    pub(super) const PAE_MODE: u64 = 9;
    pub(super) const FEATURES: u64 = 10;
    pub(super) const HV_START_LOW: u64 = 12;
    pub(super) const L1_MFN_VALID: u64 = 13;
    pub(super) const SUSPEND_CANCEL: u64 = 14;
    pub(super) const INIT_P2M: u64 = 15;
    pub(super) const MOD_START_PFN: u64 = 16;
    pub(super) const SUPPORTED_FEATURES: u64 = 17;
    pub(super) const PHYS32_ENTRY: u64 = 18;
    /// Above this lie crash and dump notes, which are not for the builder.
    pub(super) const MAX: u64 = PHYS32_ENTRY;
}

/// The notes of one kernel, with the defaults of those that are absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notes {
    count: u32,
    /// ENTRY: first instruction of the PV kernel (default: the ELF header's).
    pub entry: u64,
    /// VIRT_BASE: virtual address of pseudo-physical 0 (default 0).
    pub virt_base: u64,
    /// PADDR_OFFSET: subtracted from the segments' physical addresses (default 0).
    pub paddr_offset: u64,
    /// XEN_VERSION is present and starts with "xen-3.0".
    pub is_xen_3_0: bool,
    /// LOADER starts with "generic" or GUEST_OS with "linux".
    pub is_generic_loader: bool,
    /// PAE_MODE was given (it says nothing on x86-64).
    pub has_pae_mode: bool,
    /// FEATURES and SUPPORTED_FEATURES: bits the kernel can use.
    pub supported_features: u32,
    /// FEATURES marked '!': bits the kernel needs. A bit that Xen's 64-bit PV guests never see is recorded only.
    pub required_features: u32,
    /// SUPPORTED_FEATURES is present.
    pub has_supported_features: bool,
    /// HYPERCALL_PAGE: virtual address of a page to fill with hypercall stubs.
    pub hypercall_page: Option<u64>,
    /// HV_START_LOW: lowest address the hypervisor may use.
    pub hv_start_low: Option<u64>,
    /// L1_MFN_VALID: mask and value that mark an L1 entry as holding a machine frame.
    pub l1_mfn_valid: Option<(u64, u64)>,
    /// SUSPEND_CANCEL: the suspend hypercall may return 1.
    pub suspend_cancel: bool,
    /// INIT_P2M: virtual address at which to map the frame list.
    pub init_p2m: Option<u64>,
    /// MOD_START_PFN: the initrd stays unmapped and is named by frame number.
    pub mod_start_pfn: bool,
    /// PHYS32_ENTRY: the PVH entry point.
    pub phys32_entry: Option<u64>,
}

impl Notes {
    /// No notes yet; `elf_entry` is the ELF header's entry point.
    pub const fn new(elf_entry: u64) -> Self {
        Self {
            count: 0,
            entry: elf_entry,
            virt_base: 0,
            paddr_offset: 0,
            is_xen_3_0: false,
            is_generic_loader: false,
            has_pae_mode: false,
            supported_features: 0,
            required_features: 0,
            has_supported_features: false,
            hypercall_page: None,
            hv_start_low: None,
            l1_mfn_valid: None,
            suspend_cancel: false,
            init_p2m: None,
            mod_start_pfn: false,
            phys32_entry: None,
        }
    }

    /// Whether no Xen note was seen.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds the Xen notes among `bytes`, a note segment or section: parts are padded to four bytes, whatever the
    /// header's alignment says (so Xen reads them). Notes of other owners and unknown types are passed over.
    ///
    /// # Errors
    /// [`LoadError::BadNote`] when a value has an impossible length.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        for note in NoteIterator::new(LittleEndian, Class::ELF64, 4, bytes) {
            if let Note::Unknown(note) = note
                && note.name.strip_suffix(b"\0").unwrap_or(note.name) == OWNER
                && note.n_type <= kind::MAX
            {
                self.count = self.count.saturating_add(1);
                self.add_one(note.n_type, note.desc)?;
            }
        }
        Ok(())
    }

    fn add_one(&mut self, note_type: u64, desc: &[u8]) -> Result<(), LoadError> {
        match note_type {
            kind::ENTRY => self.entry = number("ENTRY", desc)?,
            kind::HYPERCALL_PAGE => self.hypercall_page = Some(number("HYPERCALL_PAGE", desc)?),
            kind::VIRT_BASE => self.virt_base = number("VIRT_BASE", desc)?,
            kind::PADDR_OFFSET => self.paddr_offset = number("PADDR_OFFSET", desc)?,
            kind::XEN_VERSION => self.is_xen_3_0 = desc.starts_with(b"xen-3.0"),
            kind::GUEST_OS => self.is_generic_loader |= desc.starts_with(b"linux"),
            kind::LOADER => self.is_generic_loader |= desc.starts_with(b"generic"),
            kind::PAE_MODE => self.has_pae_mode = true,
            kind::FEATURES => self.add_features(desc),
            kind::HV_START_LOW => self.hv_start_low = Some(number("HV_START_LOW", desc)?),
            kind::L1_MFN_VALID => self.l1_mfn_valid = Some(mask_and_value(desc)?),
            kind::SUSPEND_CANCEL => self.suspend_cancel = number("SUSPEND_CANCEL", desc)? != 0,
            kind::INIT_P2M => self.init_p2m = Some(number("INIT_P2M", desc)?),
            kind::MOD_START_PFN => self.mod_start_pfn = number("MOD_START_PFN", desc)? != 0,
            kind::SUPPORTED_FEATURES => {
                self.has_supported_features = true;
                // Feature words above the first are empty in this ABI.
                self.supported_features |= (number("SUPPORTED_FEATURES", desc)? & 0xffff_ffff) as u32;
            }
            kind::PHYS32_ENTRY => self.phys32_entry = Some(number("PHYS32_ENTRY", desc)?),
            _ => {}
        }
        Ok(())
    }

    /// FEATURES: names separated by '|', '!' before a name that is required. Unknown names are passed over.
    fn add_features(&mut self, desc: &[u8]) {
        let text = desc.split(|&byte| byte == 0).next().unwrap_or(&[]);
        for item in text.split(|&byte| byte == b'|' || byte == b' ') {
            let (name, required) = match item {
                [b'!', name @ ..] => (name, true),
                name => (name, false),
            };
            if let Some((_, bit)) = FEATURES.iter().find(|(known, _)| known.as_bytes() == name) {
                self.supported_features |= 1 << bit;
                self.required_features |= u32::from(required) << bit;
            }
        }
    }

    /// Whether a Dom0 may be built from this kernel, by the rules that Xen applies.
    ///
    /// # Errors
    /// No notes, a wrong XEN_VERSION or LOADER, no dom0 bit in SUPPORTED_FEATURES, or a required feature that
    /// is not offered.
    pub fn check_dom0(&self) -> Result<(), LoadError> {
        if self.is_empty() {
            return Err(LoadError::NoNotes);
        }
        if !self.is_xen_3_0 {
            return Err(LoadError::BadNote("XEN_VERSION", "\"xen-3.0\""));
        }
        if !self.is_generic_loader {
            return Err(LoadError::BadNote("LOADER", "\"generic\" (or GUEST_OS \"linux\")"));
        }
        if self.has_supported_features && self.supported_features & (1 << FEATURE_DOM0) == 0 {
            return Err(LoadError::NotDom0Capable);
        }
        if self.required_features & (1 << FEATURE_SUPERVISOR) != 0 {
            return Err(LoadError::RequiredFeature("supervisor_mode_kernel"));
        }
        Ok(())
    }
}

/// A numeric note: 4 or 8 bytes, little-endian.
fn number(name: &'static str, desc: &[u8]) -> Result<u64, LoadError> {
    if let Ok(bytes) = <[u8; 8]>::try_from(desc) {
        Ok(u64::from_le_bytes(bytes))
    } else if let Ok(bytes) = <[u8; 4]>::try_from(desc) {
        Ok(u64::from(u32::from_le_bytes(bytes)))
    } else {
        Err(LoadError::BadNote(name, "a value of 4 or 8 bytes"))
    }
}

/// L1_MFN_VALID: mask and value, 8 bytes each (4 each in 32-bit kernels).
fn mask_and_value(desc: &[u8]) -> Result<(u64, u64), LoadError> {
    let (mask, value) = desc
        .split_at_checked(desc.len() / 2)
        .ok_or(LoadError::BadNote("L1_MFN_VALID", "a mask and a value"))?;
    Ok((number("L1_MFN_VALID", mask)?, number("L1_MFN_VALID", value)?))
}
