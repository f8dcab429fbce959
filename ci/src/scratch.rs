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

/// Makes the files that [`DEVICES`] names.
pub(crate) fn make(workspace: &Workspace) -> Result<()> {
    let folder = workspace.build("scratch");
    fs::create_dir_all(folder.join("tftp"))?;
    for disk in ["virtio.img", "sata.img", "nvme.img"] {
        fs::File::create(folder.join(disk))?.set_len(16 << 20)?;
    }
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
