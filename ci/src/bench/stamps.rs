//! When a boot reaches its stages: the TSC at the image's entry and at the kernel's.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::bench::gdb::{Register, Stub};
use crate::command::progress;

/// What a Multiboot2 loader leaves in EAX (Multiboot2 specification, section 3.3).
const MULTIBOOT2: u64 = 0x36d7_6289;

/// The alignment at which images are placed, and how far below the memory's end the loader may put one.
const STEP: u64 = 2 << 20;
const HIGH_STEPS: u64 = 16;

/// Where a boot is stopped to look at the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    /// The first instruction after the boot loader: the hypervisor's, or the compressed kernel's.
    pub(crate) image: u64,
    /// A Multiboot2 loader comes before it, and may put the image higher by a multiple of [`STEP`].
    pub(crate) multiboot: bool,
    /// The first instruction of the decompressed kernel.
    pub(crate) kernel: u64,
    /// The machine's memory in bytes.
    pub(crate) memory: u64,
}

/// The TSC at these places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamps {
    /// At the image's entry.
    pub(crate) image: u64,
    /// At the kernel's.
    pub(crate) kernel: u64,
}

impl Places {
    /// The places of a boot: `hypervisor` and `kernel` are the files that GRUB loads, `memory` the machine's MiB.
    pub(crate) fn find(hypervisor: Option<&Path>, kernel: &Path, memory: u32) -> Result<Places> {
        let memory = u64::from(memory) << 20;
        let image = BzImage::read(kernel)?;
        match hypervisor {
            None => {
                // Without address randomisation the kernel is unpacked to where GRUB put it: one address, twice.
                Ok(Places { image: image.preferred, multiboot: false, kernel: image.preferred, memory })
            }
            Some(file) => Ok(Places {
                image: elf_entry(&plain(file)?).with_context(|| format!("reading {}", file.display()))?,
                multiboot: true,
                kernel: xen_entry(&image.unpacked(kernel)?).context("the kernel has no Xen entry")?,
                memory,
            }),
        }
    }

    /// Where the image's entry may be: as linked, or at the memory's end (Multiboot2, relocatable header tag).
    fn image_places(&self) -> Vec<u64> {
        let mut places = vec![self.image];
        if self.multiboot {
            let offset = self.image % STEP;
            places.extend((1..=HIGH_STEPS).map(|step| self.memory - step * STEP + offset));
        }
        places
    }

    /// Lets a frozen machine run and takes the stamps; then it runs on by itself.
    pub(crate) fn watch(self, socket: &Path, limit: Duration) -> Result<Stamps> {
        let mut stub = Stub::connect(socket)?;
        stub.run_to(&self.image_places(), limit)?;
        // The boot loader's own code may pass there before.
        while self.multiboot && stub.register(Register::Rax)? & 0xffff_ffff != MULTIBOOT2 {
            stub.step()?;
            stub.run_to(&self.image_places(), limit)?;
        }
        let image = stub.time_stamp()?;
        progress(&format!("  the image is entered at {:.2} G", giga(image)));
        stub.step()?;
        stub.run_to(&[self.kernel], limit)?;
        let kernel = stub.time_stamp()?;
        progress(&format!("  the kernel starts at {:.2} G", giga(kernel)));
        stub.leave()?;
        Ok(Stamps { image, kernel })
    }

    /// [`Places::watch`] in a thread of its own.
    pub(crate) fn watcher(self, socket: &Path, limit: Duration) -> thread::JoinHandle<Result<Stamps>> {
        let socket = socket.to_path_buf();
        thread::spawn(move || self.watch(&socket, limit))
    }
}

fn giga(count: u64) -> f64 {
    count as f64 / 1e9
}

/// A file's content, unpacked if it is gzip's.
fn plain(file: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    if bytes.starts_with(&[0x1f, 0x8b]) { filter(&["gzip", "-dc"], &bytes) } else { Ok(bytes) }
}

/// What a program makes of `input`.
fn filter(command: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut child =
        Command::new(command[0]).args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut pipe = child.stdin.take().context("no input")?;
    let result = thread::scope(|scope| {
        scope.spawn(move || std::io::Write::write_all(&mut pipe, input));
        child.wait_with_output()
    })?;
    ensure!(result.status.success(), "{} failed", command[0]);
    Ok(result.stdout)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The entry of an ELF file of 32 or 64 bits (ELF specification, `e_entry`).
fn elf_entry(bytes: &[u8]) -> Result<u64> {
    let entry = match bytes.get(..5) {
        Some([0x7f, b'E', b'L', b'F', 1]) => u32_at(bytes, 0x18).map(u64::from),
        Some([0x7f, b'E', b'L', b'F', 2]) => u64_at(bytes, 0x18),
        _ => bail!("no ELF file"),
    };
    entry.context("a truncated ELF file")
}

/// The address in the note XEN_ELFNOTE_ENTRY (1) of an ELF file (`xen/elfnote.h`).
fn xen_entry(bytes: &[u8]) -> Option<u64> {
    let note = b"\x04\0\0\0\x08\0\0\0\x01\0\0\0Xen\0";
    let at = bytes.windows(note.len()).position(|window| window == note)?;
    u64_at(bytes, at + note.len())
}

/// The fields of a bzImage's header (Linux, Documentation/arch/x86/boot.rst).
#[derive(Debug)]
struct BzImage {
    /// The physical address that the kernel likes best.
    preferred: u64,
    /// Where the compressed kernel is in the file.
    payload: std::ops::Range<usize>,
}

impl BzImage {
    fn read(file: &Path) -> Result<BzImage> {
        let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        BzImage::parse(&bytes).with_context(|| format!("{} is no bzImage", file.display()))
    }

    fn parse(bytes: &[u8]) -> Option<BzImage> {
        (bytes.get(0x202..0x206)? == b"HdrS").then_some(())?;
        let sectors = usize::from(*bytes.get(0x1f1)?);
        let start = (sectors + 1) * 512 + u32_at(bytes, 0x248)? as usize;
        Some(BzImage {
            preferred: u64_at(bytes, 0x258)?,
            payload: start..start + u32_at(bytes, 0x24c)? as usize,
        })
    }

    /// The ELF file within; Debian 12's is xz.
    fn unpacked(&self, file: &Path) -> Result<Vec<u8>> {
        let bytes = fs::read(file)?;
        let payload = bytes.get(self.payload.clone()).context("a truncated kernel")?;
        ensure!(payload.starts_with(b"\xfd7zXZ\0"), "the kernel is not packed with xz");
        filter(&["xz", "-dc", "--single-stream"], payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_both_widths() {
        let mut file = b"\x7fELF\x01".to_vec();
        file.resize(0x20, 0);
        file[0x18] = 0x5a;
        file[0x1a] = 0x20;
        assert_eq!(elf_entry(&file).unwrap(), 0x20_005a);
        file[4] = 2;
        assert_eq!(elf_entry(&file).unwrap(), 0x20_005a);
        assert!(elf_entry(b"text").is_err());
    }

    #[test]
    fn the_xen_note_is_found() {
        let mut file = vec![0; 40];
        file.extend_from_slice(b"\x04\0\0\0\x08\0\0\0\x01\0\0\0Xen\0");
        file.extend_from_slice(&0xffff_ffff_8307_91c0_u64.to_le_bytes());
        assert_eq!(xen_entry(&file), Some(0xffff_ffff_8307_91c0));
        assert_eq!(xen_entry(&file[..50]), None);
    }

    #[test]
    fn a_filter_takes_more_than_a_pipe_holds() {
        let input = vec![7; 1 << 20];
        assert_eq!(filter(&["cat"], &input).unwrap(), input);
    }
}
