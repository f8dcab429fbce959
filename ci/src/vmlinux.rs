//! A kernel as it runs: the ELF file in a bzImage, without the zeros at the ends of its segments. A guest of it is made in a
//! fraction of the time, for `xl` has nothing to unpack.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};

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
            let elf = unpack(payload(&file).context("no payload in the bzImage")?)?;
            fs::create_dir_all(workspace.build("initrd"))?;
            Ok(fs::write(&result, trimmed(&elf).context("the kernel is no ELF file")?)?)
        })?;
    }
    Ok(result)
}

/// Offsets in a bzImage (Linux, Documentation/x86/boot.rst): sectors of the setup code, place and length of what is packed.
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;
/// Behind what is packed stands its size unpacked.
const SIZE: usize = 4;

/// What is packed in a bzImage.
fn payload(file: &[u8]) -> Option<&[u8]> {
    let setup = (usize::from(*file.get(SETUP_SECTORS)?) + 1) * SECTOR;
    let start = setup.checked_add(number(file, PAYLOAD_OFFSET, 4)?)?;
    file.get(start..start.checked_add(number(file, PAYLOAD_LENGTH, 4)?)?.checked_sub(SIZE)?)
}

/// Unpacks what Debian's kernels are packed by: xz in Debian 12, zstd in Debian 13.
fn unpack(packed: &[u8]) -> Result<Vec<u8>> {
    let program = match packed {
        [0xfd, b'7', b'z', ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        _ => bail!("packed by something else than xz and zstd"),
    };
    let mut child = Command::new(program)
        .args(["-d", "-c", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let mut input = child.stdin.take().context("no way to write")?;
    let packed = packed.to_vec();
    // Beside the reading, for neither end waits for the other then.
    let writer = thread::spawn(move || input.write_all(&packed));
    let output = child.wait_with_output()?;
    let written = writer.join().is_ok_and(|result| result.is_ok());
    ensure!(output.status.success() && written, "{program} cannot unpack the kernel");
    Ok(output.stdout)
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
        assert_eq!((payload(&[0; 700]), trimmed(&[0; 50])), (None, None));
        let mut file = kernel();
        file.truncate(0x3008);
        assert_eq!(trimmed(&file), None);
        assert!(unpack(b"plain").is_err());
    }

    #[test]
    fn a_payload_ends_before_its_size() {
        let mut file = vec![0; 4 * SECTOR];
        file[SETUP_SECTORS] = 1;
        file[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 8].copy_from_slice(&[3, 0, 0, 0, 9, 0, 0, 0]);
        file[2 * SECTOR + 3..][..9].copy_from_slice(b"kernel\0\0\0");
        assert_eq!(payload(&file), Some(&b"kerne"[..]));
    }
}
