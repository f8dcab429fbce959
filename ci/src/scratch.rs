//! Disks and files that the QEMU tests of devices use.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::workspace::Workspace;

/// Disks of three kinds over scratch files, and two cards that reach the files of `.build/scratch/tftp`.
pub(crate) const DEVICES: &str = "-drive file=.build/scratch/virtio.img,format=raw,if=none,id=virtio \
    -device virtio-blk-pci,drive=virtio \
    -drive file=.build/scratch/sata.img,format=raw,if=none,id=sata -device ide-hd,drive=sata,bus=ide.3 \
    -drive file=.build/scratch/nvme.img,format=raw,if=none,id=nvme -device nvme,drive=nvme,serial=1 \
    -netdev user,id=first,net=10.0.2.0/24,tftp=.build/scratch/tftp -device e1000e,netdev=first \
    -netdev user,id=second,net=10.0.3.0/24,tftp=.build/scratch/tftp -device virtio-net-pci,netdev=second";

/// A screen with a monitor and two disks that the BIOS knows: an empty one, and one with a boot record. The medium is
/// booted nevertheless.
pub(crate) const BIOS: &str = "-boot d -device VGA \
    -drive file=.build/scratch/empty.img,format=raw,if=none,id=empty -device virtio-blk-pci,drive=empty \
    -drive file=.build/scratch/record.img,format=raw,if=none,id=record -device virtio-blk-pci,drive=record";

/// What [`BIOS`]'s second disk has in its boot record, at the places that a BIOS and Linux look at.
const RECORD: [(usize, &[u8]); 2] = [(0x1b8, &[0xde, 0xc0, 0xed, 0xfe]), (0x1fe, &[0x55, 0xaa])];

/// Makes the files that [`DEVICES`] and [`BIOS`] name.
pub(crate) fn make(workspace: &Workspace) -> Result<()> {
    let folder = workspace.build("scratch");
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
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let payload: Vec<u8> = (0..1 << 20).map(|_| noise()).collect();
    fs::write(folder.join("tftp/payload"), payload)?;
    let file = fs::File::open(folder.join("tftp/payload"))?;
    let sum = Command::new("md5sum").stdin(file).output()?;
    fs::write(folder.join("tftp/payload.md5"), sum.stdout)?;
    Ok(())
}
