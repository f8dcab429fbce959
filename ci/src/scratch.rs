//! Disks and files that the QEMU tests of devices use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::workspace::Workspace;

/// What stands for a machine's own folder in the arguments below.
const FOLDER: &str = "SCRATCH";

/// Disks of three kinds over scratch files, and two cards that reach the files of `tftp`.
pub(crate) const DEVICES: &str = "-drive file=SCRATCH/virtio.img,format=raw,if=none,id=virtio \
    -device virtio-blk-pci,drive=virtio \
    -drive file=SCRATCH/sata.img,format=raw,if=none,id=sata -device ide-hd,drive=sata,bus=ide.3 \
    -drive file=SCRATCH/nvme.img,format=raw,if=none,id=nvme -device nvme,drive=nvme,serial=1 \
    -netdev user,id=first,net=10.0.2.0/24,tftp=SCRATCH/tftp -device e1000e,netdev=first \
    -netdev user,id=second,net=10.0.3.0/24,tftp=SCRATCH/tftp -device virtio-net-pci,netdev=second";

/// A screen with a monitor and two disks that the BIOS knows: an empty one, and one with a boot record. The medium is
/// booted nevertheless.
pub(crate) const BIOS: &str = "-boot d -device VGA \
    -drive file=SCRATCH/empty.img,format=raw,if=none,id=empty -device virtio-blk-pci,drive=empty \
    -drive file=SCRATCH/record.img,format=raw,if=none,id=record -device virtio-blk-pci,drive=record";

/// The same, with an option ROM that never answers the question about the monitor.
pub(crate) const HANGING_BIOS: &str = "-option-rom SCRATCH/hang.rom -boot d -device VGA \
    -drive file=SCRATCH/empty.img,format=raw,if=none,id=empty -device virtio-blk-pci,drive=empty \
    -drive file=SCRATCH/record.img,format=raw,if=none,id=record -device virtio-blk-pci,drive=record";

/// That ROM: takes interrupt 10h over, passes calls on, but waits for ever with interrupts on if AX is 4f15h.
const HANG: [u8; 47] = [
    0x55, 0xaa, 1, // signature, length in 512 bytes; called here
    0x66, 0x50, 0x1e, 0x31, 0xc0, 0x8e, 0xd8, // push eax, ds; ds = 0
    0x66, 0xa1, 0x40, 0, 0x2e, 0x66, 0xa3, 0x2f, 0, // keep the old vector at 2fh
    0xc7, 0x06, 0x40, 0, 0x21, 0, 0x8c, 0x0e, 0x42, 0, // the new one: cs:21h
    0x1f, 0x66, 0x58, 0xcb, // pop ds, eax; retf
    0x3d, 0x15, 0x4f, 0x74, 0x05, 0x2e, 0xff, 0x2e, 0x2f, 0, // cmp ax, 4f15h; je; jmp far cs:[2fh]
    0xfb, 0xf4, 0xeb, 0xfd, // sti; hlt; jmp
];

/// What [`BIOS`]'s second disk has in its boot record, at the places that a BIOS and Linux look at.
const RECORD: [(usize, &[u8]); 2] = [(0x1b8, &[0xde, 0xc0, 0xed, 0xfe]), (0x1fe, &[0x55, 0xaa])];

/// The folder of a machine of this name.
pub(crate) fn folder(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.build(&format!("scratch/{name}"))
}

/// Gives a machine of this name files of its own, anew, if its QEMU arguments ask for any.
pub(crate) fn provide(workspace: &Workspace, name: &str, arguments: &mut [String]) -> Result<()> {
    // From the checkout, where QEMU runs: a comma in a path would end it in these arguments.
    let place = format!(".build/scratch/{name}");
    let mut wanted = false;
    for word in arguments {
        let own = word.replace(FOLDER, &place);
        wanted |= own != *word;
        *word = own;
    }
    if wanted { make(&folder(workspace, name)) } else { Ok(()) }
}

/// Makes the files that [`DEVICES`] and [`BIOS`] name.
fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("tftp"))?;
    for disk in ["virtio.img", "sata.img", "nvme.img"] {
        fs::File::create(folder.join(disk))?.set_len(16 << 20)?;
    }
    fs::File::create(folder.join("empty.img"))?.set_len(2 << 20)?;
    let mut record = vec![0; 1 << 20];
    for (at, bytes) in RECORD {
        record[at..at + bytes.len()].copy_from_slice(bytes);
    }
    fs::write(folder.join("record.img"), record)?;
    let mut rom = HANG.to_vec();
    rom.resize(512, 0);
    // All bytes together are 0.
    rom[511] = rom.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    fs::write(folder.join("hang.rom"), rom)?;
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let payload: Vec<u8> = (0..1 << 18).map(|_| noise()).collect();
    fs::write(folder.join("tftp/payload"), payload)?;
    let file = fs::File::open(folder.join("tftp/payload"))?;
    let sum = Command::new("md5sum").stdin(file).output()?;
    fs::write(folder.join("tftp/payload.md5"), sum.stdout)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_files_of_their_own() {
        let workspace = Workspace::find();
        let mut words: Vec<String> = DEVICES.split_whitespace().map(String::from).collect();
        provide(&workspace, "scratch-test", &mut words).unwrap();
        let own = folder(&workspace, "scratch-test");
        assert_eq!(fs::metadata(own.join("nvme.img")).unwrap().len(), 16 << 20);
        fs::remove_dir_all(&own).unwrap();
        assert!(words.iter().all(|word| !word.contains(FOLDER)));
        assert_eq!(words.iter().filter(|word| word.contains("scratch-test/")).count(), 5);
        provide(&workspace, "scratch-test", &mut ["-nodefaults".to_string()]).unwrap();
        assert!(!own.exists());
    }
}
