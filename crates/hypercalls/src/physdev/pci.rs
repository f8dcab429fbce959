//! PCI devices as Dom0 tells of them. They need no record: a device's messages name it themselves.

use crate::call::{Call, CallResult, Outcome, fault};
use guest_memory::GuestMemory;
use ids::Gva;
use irqs::MsiSource;
use vault::{Apply, Effect, kind};
use xen_abi::Errno;
use xen_abi::physdev::{
    PhysdevDbgpOp, PhysdevManagePci, PhysdevManagePciExt, PhysdevPciDevice, PhysdevPciDeviceAdd,
    PhysdevPciMmcfgReserved, PhysdevRestoreMsi, XEN_PCI_DEV_PXM, XEN_PCI_MMCFG_RESERVED,
};

/// MSI-X (PCI local bus specification 3.0, appendix H).
const MSIX: u8 = 0x11;
/// Routes published by one transaction.
const BATCH: usize = 64;

/// `PHYSDEVOP_manage_pci_add` and `_remove`.
pub(super) fn manage<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: Gva) -> CallResult {
    call.privileged()?;
    let _: PhysdevManagePci = call.memory.read(at).map_err(fault)?;
    Ok(Outcome::Value(0))
}

/// `PHYSDEVOP_manage_pci_add_ext`.
pub(super) fn manage_add_ext<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    at: Gva,
) -> CallResult {
    call.privileged()?;
    let device: PhysdevManagePciExt = call.memory.read(at).map_err(fault)?;
    if device.is_extfn > 1 || device.is_virtfn > 1 {
        return Err(Errno::EINVAL);
    }
    Ok(Outcome::Value(0))
}

/// `PHYSDEVOP_pci_device_add`.
pub(super) fn device_add<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: Gva) -> CallResult {
    call.privileged()?;
    let device: PhysdevPciDeviceAdd = call.memory.read(at).map_err(fault)?;
    if device.flags & XEN_PCI_DEV_PXM != 0 {
        let node = at.0.checked_add(size_of::<PhysdevPciDeviceAdd>() as u64).ok_or(Errno::EFAULT)?;
        let _: u32 = call.memory.read(Gva(node)).map_err(fault)?;
    }
    Ok(Outcome::Value(0))
}

/// `PHYSDEVOP_pci_device_remove`.
pub(super) fn device_remove<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    at: Gva,
) -> CallResult {
    call.privileged()?;
    let _: PhysdevPciDevice = call.memory.read(at).map_err(fault)?;
    Ok(Outcome::Value(0))
}

/// `PHYSDEVOP_pci_mmcfg_reserved`: Dom0 has found the region reserved by the firmware.
pub(super) fn mmcfg_reserved<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    at: Gva,
) -> CallResult {
    call.privileged()?;
    let region: PhysdevPciMmcfgReserved = call.memory.read(at).map_err(fault)?;
    let known = call.state.facts.acpi.config_spaces.iter().any(|space| {
        (space.address.0, space.segment, space.first_bus, space.last_bus)
            == (region.address, region.segment, region.start_bus, region.end_bus)
    });
    if region.flags & !XEN_PCI_MMCFG_RESERVED != 0 {
        return Err(Errno::EINVAL);
    }
    if known { Ok(Outcome::Value(0)) } else { Err(Errno::ENODEV) }
}

/// `PHYSDEVOP_restore_msi`: a device of segment 0 came back from sleep.
pub(super) fn restore_msi<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: Gva,
) -> CallResult {
    call.privileged()?;
    let PhysdevRestoreMsi { bus, devfn } = call.memory.read(at).map_err(fault)?;
    let device = existing(call, PhysdevPciDevice { seg: 0, bus, devfn })?;
    restore(call, device)
}

/// `PHYSDEVOP_restore_msi_ext`.
pub(super) fn restore_msi_ext<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: Gva,
) -> CallResult {
    let device = device(call, at)?;
    restore(call, device)
}

/// Programs a device's messages again.
fn restore<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    device: PhysdevPciDevice,
) -> CallResult {
    let state = call.state;
    let count = state.irqs.len();
    let of_device = |irq: &u32| messages(state, *irq).is_some_and(|msi| is_of(&msi, &device));
    let mut from = 0;
    while from < count {
        call.j.change(|tx| {
            let start = from;
            from = count;
            for (index, irq) in (start..count).filter(of_device).enumerate() {
                if index == BATCH {
                    from = irq;
                    break;
                }
                tx.publish(Effect { kind: kind::IRQ_ROUTE, x: irq, a: 0, b: 0 });
            }
        });
    }
    call.reply_after(|_| Ok(()))
}

/// `PHYSDEVOP_prepare_msix`: the device is about to get another owner, so its table must be unused.
pub(super) fn prepare_msix<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: Gva) -> CallResult {
    let device = device_with_table(call, at)?;
    let state = call.state;
    let in_use = (0..state.irqs.len())
        .filter_map(|irq| messages(state, irq))
        .any(|msi| msi.table_base != 0 && is_of(&msi, &device));
    if in_use { Err(Errno::EBUSY) } else { Ok(Outcome::Value(0)) }
}

/// `PHYSDEVOP_release_msix`: it is back.
pub(super) fn release_msix<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: Gva) -> CallResult {
    device_with_table(call, at)?;
    Ok(Outcome::Value(0))
}

/// The device, which has an MSI-X table.
fn device_with_table<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    at: Gva,
) -> Result<PhysdevPciDevice, Errno> {
    let device = device(call, at)?;
    let PhysdevPciDevice { seg, bus, devfn } = device;
    // (Xen 4.17 itself crashes without one.)
    if call.state.pci.is_none_or(|pci| pci.capability(seg, bus, devfn, MSIX).is_some()) {
        Ok(device)
    } else {
        Err(Errno::ENODEV)
    }
}

/// `PHYSDEVOP_dbgp_op`: no USB debug port is in use here, so Dom0 may reset its controller.
pub(super) fn debug_port<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: Gva) -> CallResult {
    call.privileged()?;
    let _: PhysdevDbgpOp = call.memory.read(at).map_err(fault)?;
    Ok(Outcome::Value(0))
}

fn device<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    at: Gva,
) -> Result<PhysdevPciDevice, Errno> {
    call.privileged()?;
    let device: PhysdevPciDevice = call.memory.read(at).map_err(fault)?;
    let spaces = &call.state.facts.acpi.config_spaces;
    let reachable = device.seg == 0 || spaces.iter().any(|space| space.segment == device.seg);
    if reachable { existing(call, device) } else { Err(Errno::ENODEV) }
}

/// Refuses devices that the machine does not have.
fn existing<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    device: PhysdevPciDevice,
) -> Result<PhysdevPciDevice, Errno> {
    let PhysdevPciDevice { seg, bus, devfn } = device;
    if call.state.pci.is_none_or(|pci| pci.exists(seg, bus, devfn)) { Ok(device) } else { Err(Errno::ENODEV) }
}

/// The message an irq is.
fn messages(state: &'static domain::State, irq: u32) -> Option<MsiSource> {
    state.irqs().route(irq)?.msi
}

fn is_of(msi: &MsiSource, device: &PhysdevPciDevice) -> bool {
    (msi.segment, msi.bus, msi.devfn) == (device.seg, device.bus, device.devfn)
}
