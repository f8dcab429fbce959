//! The Linux bzImage container (Linux Documentation/arch/x86/boot.rst, boot protocol 2.08 and later).

use crate::LoadError;

/// Offset of the number of 512-byte setup sectors (`setup_sects`).
const SETUP_SECTS: usize = 0x1f1;
/// Offset of the magic "HdrS".
const HEADER_MAGIC: usize = 0x202;
/// Offset of the protocol version.
const VERSION: usize = 0x206;
/// Offset of `payload_offset`, counted from the start of the protected-mode code.
const PAYLOAD_OFFSET: usize = 0x248;
/// Offset of `payload_length`.
const PAYLOAD_LENGTH: usize = 0x24c;
/// First protocol version with the payload fields.
const FIRST_VERSION: u16 = 0x0208;
/// `setup_sects` = 0 means this number.
const DEFAULT_SETUP_SECTS: u64 = 4;
/// Bytes in a setup sector.
const SECTOR: u64 = 512;
/// First four bytes of an ELF file.
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";

/// What the first boot module holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel<'a> {
    /// The compressed payload of a bzImage: unpack with [`crate::decompress`].
    Payload(&'a [u8]),
    /// A bare ELF64 file, ready for [`crate::elf_kernel`].
    Elf(&'a [u8]),
}

/// Finds the kernel in a boot module.
///
/// # Errors
/// The file is neither a bzImage nor ELF64, its protocol is too old, or its payload lies outside the file.
pub fn payload(file: &[u8]) -> Result<Kernel<'_>, LoadError> {
    if bytes_at(file, 0) == Some(ELF_MAGIC) {
        return Ok(Kernel::Elf(file));
    }
    if bytes_at(file, HEADER_MAGIC) != Some(*b"HdrS") {
        return Err(LoadError::NotAKernel);
    }
    let version = bytes_at(file, VERSION).map(u16::from_le_bytes).ok_or(LoadError::NotAKernel)?;
    if version < FIRST_VERSION {
        return Err(LoadError::OldBootProtocol(version));
    }
    let setup_sects = match bytes_at(file, SETUP_SECTS).ok_or(LoadError::NotAKernel)? {
        [0] => DEFAULT_SETUP_SECTS,
        [n] => u64::from(n),
    };
    let offset = u32_at(file, PAYLOAD_OFFSET).ok_or(LoadError::NotAKernel)?;
    let length = u32_at(file, PAYLOAD_LENGTH).ok_or(LoadError::NotAKernel)?;
    // At most 256 sectors and two u32 values: no overflow in u64.
    let start = (setup_sects + 1) * SECTOR + u64::from(offset);
    let end = start + u64::from(length);
    let outside = LoadError::PayloadOutsideFile { start, end, file_len: file.len() as u64 };
    let range = usize::try_from(start).map_err(|_| outside)?..usize::try_from(end).map_err(|_| outside)?;
    match file.get(range) {
        Some(payload) if payload.len() >= 8 => {
            if bytes_at(payload, 0) == Some(ELF_MAGIC) {
                return Ok(Kernel::Elf(payload));
            }
            Ok(Kernel::Payload(payload))
        }
        _ => Err(outside),
    }
}

fn bytes_at<const N: usize>(file: &[u8], offset: usize) -> Option<[u8; N]> {
    file.get(offset..)?.first_chunk::<N>().copied()
}

fn u32_at(file: &[u8], offset: usize) -> Option<u32> {
    bytes_at(file, offset).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn image(setup_sects: u8, version: u16, offset: u32, length: u32, len: usize) -> Vec<u8> {
        let mut file = vec![0u8; len];
        file[SETUP_SECTS] = setup_sects;
        file[HEADER_MAGIC..][..4].copy_from_slice(b"HdrS");
        file[VERSION..][..2].copy_from_slice(&version.to_le_bytes());
        file[PAYLOAD_OFFSET..][..4].copy_from_slice(&offset.to_le_bytes());
        file[PAYLOAD_LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
        file
    }

    #[test]
    fn payload_is_found_after_the_setup_sectors() {
        let mut file = image(3, 0x20f, 16, 32, 4096);
        file[2048 + 16] = 0xfd;
        let Ok(Kernel::Payload(found)) = payload(&file) else { panic!("payload expected") };
        assert_eq!((found.len(), found[0]), (32, 0xfd));
        let zero = image(0, 0x208, 0, 8, 4096);
        assert_eq!(payload(&zero), Ok(Kernel::Payload(&zero[5 * 512..][..8])), "0 sectors mean 4");
    }

    #[test]
    fn a_bare_elf_is_taken_as_it_is() {
        let file = [0x7f, b'E', b'L', b'F', 2];
        assert_eq!(payload(&file), Ok(Kernel::Elf(&file)));
    }

    #[test]
    fn refusals_name_the_limit() {
        let message = payload(b"MZ").unwrap_err().to_string();
        assert!(message.contains("no 'HdrS' at 0x202") && message.contains("first module"), "{message}");
        assert_eq!(payload(&image(3, 0x207, 0, 32, 4096)), Err(LoadError::OldBootProtocol(0x207)));
        for (offset, length) in [(0, 4096), (u32::MAX, 8), (8, u32::MAX), (0, 7)] {
            let file = image(3, 0x20f, offset, length, 4096);
            assert!(matches!(payload(&file), Err(LoadError::PayloadOutsideFile { .. })));
        }
    }

    #[test]
    fn a_truncated_header_is_refused() {
        let file = image(3, 0x20f, 0, 64, 4096);
        for len in 0..0x250 {
            assert!(payload(&file[..len]).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_header_gives_a_part_of_the_file_or_an_error(
            head in proptest::collection::vec(any::<u8>(), 0x260), sects in any::<u8>(), offset in 0u32..8192, length in any::<u32>()
        ) {
            let mut file = head;
            file.resize(8192, 0);
            let small = image(sects, 0x20f, offset, length % 8192, 8192);
            let _ = payload(&file);
            if let Ok(Kernel::Payload(found)) = payload(&small) {
                prop_assert_eq!(found.len() as u32, length % 8192);
            }
        }
    }
}
