//! A kernel as it runs: the ELF file in a bzImage, without the zeros at the ends of its segments. A guest of it is made in a
//! fraction of the time, for `xl` has nothing to unpack.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use guest_loader::bzimage::{self, Kernel as Packed};
use guest_loader::decompress::{decompress_into, decompressed_size_hint};

use crate::command::{timed, up_to_date};
use crate::kernel::Kernel;
use crate::workspace::Workspace;

/// Makes the file if it is not there yet.
pub(crate) fn make(workspace: &Workspace, kernel: &Kernel) -> Result<PathBuf> {
    let result = workspace.build(&format!("initrd/vmlinux-{}", kernel.release));
    let tool = std::env::current_exe()?;
    if !up_to_date(&result, &[&kernel.image, &tool]) {
        timed(&format!("unpacking Linux {}", kernel.release), || {
            let file = fs::read(&kernel.image)?;
            let elf = unpacked(&file)?;
            fs::create_dir_all(workspace.build("initrd"))?;
            Ok(fs::write(&result, trimmed(&elf).context("the kernel is no ELF file")?)?)
        })?;
    }
    Ok(result)
}

/// The ELF file in a boot module, by what the hypervisor unpacks Dom0's with.
fn unpacked(file: &[u8]) -> Result<Vec<u8>> {
    let packed = match bzimage::payload(file)? {
        Packed::Elf(elf) => return Ok(elf.to_vec()),
        Packed::Payload(packed) => packed,
    };
    let size = decompressed_size_hint(packed).context("no size behind what is packed")?;
    let mut elf = vec![0; size as usize];
    let length = decompress_into(packed, &mut elf)?;
    elf.truncate(length);
    Ok(elf)
}

/// Sizes and fields of the ELF header and of a program header.
const HEADER: usize = 64;
const PROGRAM: usize = 56;
const PROGRAMS: usize = 32;
const SECTIONS: usize = 40;
const COUNT: usize = 56;
/// Three halves: size, count and names of section headers.
const SECTION_FIELDS: usize = 58;
const OFFSET: usize = 8;
const IN_FILE: usize = 32;
const ALIGN: usize = 48;
const LOAD: usize = 1;
const PAGE: usize = 4096;

/// The file with program headers alone, and of each segment what is behind its last byte left out.
fn trimmed(elf: &[u8]) -> Option<Vec<u8>> {
    let (first, count) = (number(elf, PROGRAMS, 8)?, number(elf, COUNT, 2)?);
    let mut out = elf.get(..HEADER)?.to_vec();
    put(&mut out, PROGRAMS, HEADER);
    put(&mut out, SECTIONS, 0);
    out.get_mut(SECTION_FIELDS..HEADER)?.fill(0);
    let headers = elf.get(first..)?.get(..count * PROGRAM)?;
    out.extend_from_slice(headers);
    // Where segments were, and are now.
    let mut moved = Vec::new();
    for (at, header) in places(headers).filter(|(_, header)| kind(header) == Some(LOAD)) {
        let (old, length) = (number(header, OFFSET, 8)?, number(header, IN_FILE, 8)?);
        let bytes = elf.get(old..)?.get(..length)?;
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        out.resize(out.len().next_multiple_of(PAGE), 0);
        moved.push((old..old + length, out.len()));
        for (field, value) in [(OFFSET, out.len()), (IN_FILE, used), (ALIGN, PAGE)] {
            put(&mut out, at + field, value);
        }
        out.extend_from_slice(&bytes[..used]);
    }
    // Notes lie in a segment.
    for (at, header) in places(headers).filter(|(_, header)| kind(header) != Some(LOAD)) {
        let old = number(header, OFFSET, 8)?;
        let (range, new) = moved.iter().find(|(range, _)| range.contains(&old))?;
        put(&mut out, at + OFFSET, old - range.start + new);
    }
    Some(out)
}

/// The program headers, and where each stands in the new file.
fn places(headers: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    headers.chunks(PROGRAM).enumerate().map(|(index, header)| (HEADER + index * PROGRAM, header))
}

fn kind(header: &[u8]) -> Option<usize> {
    number(header, 0, 4)
}

/// A little-endian number of at most 8 bytes.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let mut word = [0; 8];
    word[..size].copy_from_slice(bytes.get(at..at.checked_add(size)?)?);
    usize::try_from(u64::from_le_bytes(word)).ok()
}

/// Stores 8 bytes into what is there.
fn put(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two segments, the second half zeros, and notes in the first.
    fn kernel() -> Vec<u8> {
        let mut file = vec![0; HEADER];
        put(&mut file, PROGRAMS, HEADER);
        put(&mut file, SECTIONS, 77);
        file[COUNT..COUNT + 2].copy_from_slice(&3_u16.to_le_bytes());
        for (kind, offset, length) in [(1, 0x2000, 0x10), (1, 0x3000, 0x20), (4, 0x2008, 4)] {
            let mut header = vec![0; PROGRAM];
            put(&mut header, 0, kind);
            put(&mut header, OFFSET, offset);
            put(&mut header, IN_FILE, length);
            file.extend(header);
        }
        file.resize(0x2000, 0);
        file.extend([1; 0x10]);
        file.resize(0x3000, 0);
        file.extend([2; 0x10]);
        file.extend([0; 0x10]);
        file
    }

    #[test]
    fn zeros_behind_a_segment_are_left_out() {
        let file = trimmed(&kernel()).unwrap();
        assert_eq!(file.len(), 0x2010);
        assert_eq!((number(&file, SECTIONS, 8), &file[SECTION_FIELDS..HEADER]), (Some(0), &[0; 6][..]));
        let fields: Vec<_> = places(&file[HEADER..][..3 * PROGRAM])
            .map(|(_, header)| (number(header, OFFSET, 8).unwrap(), number(header, IN_FILE, 8).unwrap()))
            .collect();
        assert_eq!(fields, [(0x1000, 0x10), (0x2000, 0x10), (0x1008, 4)]);
        assert_eq!((&file[0x1000..0x1010], &file[0x2000..]), (&[1; 0x10][..], &[2; 0x10][..]));
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        assert_eq!(trimmed(&[0; 50]), None);
        let mut file = kernel();
        file.truncate(0x3008);
        assert_eq!(trimmed(&file), None);
        assert!(unpacked(b"plain").is_err());
    }
}
