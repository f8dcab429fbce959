//! `XENPF_firmware_info`: what the firmware knows and Dom0's kernel would have asked it itself.

use crate::call::{Call, CallResult, Outcome, fault};
use crate::efi;
use guest_memory::GuestMemory;
use ids::Gva;
use toolstack_compat::platform::{Answer, Firmware};
use toolstack_compat::v4_17::platform::encode;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::platform::PlatformOp;

/// Answers, in the argument `op` that was copied from `at`.
///
/// # Errors
/// `ESRCH`: there is none with this index, or nobody was asked; `EINVAL`: no such kind; `EFAULT`.
pub(crate) fn info<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    at: Gva,
    mut op: PlatformOp,
    kind: Firmware,
) -> CallResult {
    let bios = &call.state.facts.bios;
    let mut reply = |answer: Answer| {
        encode(&mut op, &answer);
        call.memory.write(at, &op).map_err(fault)
    };
    match kind {
        Firmware::Disk { index, parameters } => reply(disk(call, index, Gva(parameters))?)?,
        Firmware::DiskSignature { index } => {
            let &(device, signature) = bios.signatures.get(index as usize).ok_or(Errno::ESRCH)?;
            reply(Answer::DiskSignature { device, signature })?;
        }
        Firmware::Monitor { index, block } => {
            let edid = bios.edid.as_ref().filter(|_| index == 0).ok_or(Errno::ESRCH)?;
            let (capabilities, transfer_time) = (edid.capabilities, edid.transfer_time);
            // As in Xen, the argument first: it changes even if the buffer cannot be written.
            reply(Answer::Monitor { capabilities, transfer_time })?;
            call.memory.copy_out(Gva(block), &edid.block).map_err(fault)?;
        }
        Firmware::Keyboard { index: 0 } => reply(Answer::Keyboard { flags: bios.keyboard_flags })?,
        Firmware::Keyboard { .. } => return Err(Errno::ESRCH),
        Firmware::Efi(what) => reply(efi::info(call, what)?)?,
        Firmware::Other => return Err(Errno::EINVAL),
    }
    Ok(Outcome::Value(0))
}

/// The buffer begins with how many bytes it has room for, and then with how many there are.
fn disk<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    index: u32,
    buffer: Gva,
) -> Result<Answer, Errno> {
    let disk = call.state.facts.bios.disks.get(index as usize).ok_or(Errno::ESRCH)?;
    let room: u16 = call.memory.read(buffer).map_err(fault)?;
    let parameters = disk.parameters();
    let len = usize::from(room).min(parameters.len());
    call.memory.copy_out(buffer, &parameters[..len]).map_err(fault)?;
    call.memory.write(buffer, &(len as u16)).map_err(fault)?;
    Ok(Answer::Disk {
        device: disk.device,
        version: disk.version,
        interface_support: disk.interface_support,
        max_cylinder: disk.max_cylinder,
        max_head: disk.max_head,
        sectors: disk.sectors,
    })
}
