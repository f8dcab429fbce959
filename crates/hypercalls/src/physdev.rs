//! `physdev_op`: interrupts and PCI devices (public/physdev.h).
//!
//! Interrupt numbers have three spellings: a *GSI* is a pin, an *irq* the hypervisor's number for a pin or a
//! message, a *PIRQ* the domain's name for an irq. Dom0 names pins by their GSI.

mod io_apic;
mod msix;
mod pci;
mod pirq;

pub(crate) use pirq::{boot_cpu, pirq_errno};

use crate::call::{Call, CallResult, Outcome, fault};
use guest_memory::GuestMemory;
use ids::Gva;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::hypercall::PHYSDEV_OP;
use xen_abi::physdev::{
    PHYSDEVOP_ALLOC_IRQ_VECTOR, PHYSDEVOP_APIC_READ, PHYSDEVOP_APIC_WRITE, PHYSDEVOP_DBGP_OP, PHYSDEVOP_EOI,
    PHYSDEVOP_GET_FREE_PIRQ, PHYSDEVOP_IRQ_STATUS_QUERY, PHYSDEVOP_IRQ_UNMASK_NOTIFY,
    PHYSDEVOP_MANAGE_PCI_ADD, PHYSDEVOP_MANAGE_PCI_ADD_EXT, PHYSDEVOP_MANAGE_PCI_REMOVE, PHYSDEVOP_MAP_PIRQ,
    PHYSDEVOP_PCI_DEVICE_ADD, PHYSDEVOP_PCI_DEVICE_REMOVE, PHYSDEVOP_PCI_MMCFG_RESERVED,
    PHYSDEVOP_PIRQ_EOI_GMFN_V1, PHYSDEVOP_PIRQ_EOI_GMFN_V2, PHYSDEVOP_PREPARE_MSIX, PHYSDEVOP_RELEASE_MSIX,
    PHYSDEVOP_RESTORE_MSI, PHYSDEVOP_RESTORE_MSI_EXT, PHYSDEVOP_SET_IOBITMAP, PHYSDEVOP_SET_IOPL,
    PHYSDEVOP_SETUP_GSI, PHYSDEVOP_UNMAP_PIRQ, PhysdevSetIobitmap, PhysdevSetIopl,
};

/// Ports there are.
const PORTS: u32 = 1 << 16;
/// Linear addresses a guest cannot name (public/arch-x86/xen-x86_64.h).
const HYPERVISOR: core::ops::Range<u64> = 0xffff_8000_0000_0000..0xffff_8800_0000_0000;

/// The hypercall: command, argument.
pub(crate) fn physdev_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [command, at, ..] = call.args;
    let result = operation(call, command as u32, Gva(at));
    call.restartable(result)
}

/// The old form: the command stands in the argument, before the operation's own.
pub(crate) fn old_physdev_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let at = call.args[0];
    let [command, ..]: [u64; 3] = call.memory.read(Gva(at)).map_err(fault)?;
    let result = operation(call, command as u32, Gva(at.wrapping_add(8)));
    call.restartable(result)
}

fn operation<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    command: u32,
    at: Gva,
) -> CallResult {
    match command {
        // A guest of before event channels' own unmasking: there is nothing it could wait for.
        PHYSDEVOP_IRQ_UNMASK_NOTIFY => Ok(Outcome::Value(0)),
        PHYSDEVOP_IRQ_STATUS_QUERY => pirq::status_query(call, at),
        PHYSDEVOP_SET_IOPL => set_iopl(call, at),
        PHYSDEVOP_SET_IOBITMAP => set_iobitmap(call, at),
        PHYSDEVOP_APIC_READ => io_apic::read(call, at),
        PHYSDEVOP_APIC_WRITE => io_apic::write(call, at),
        PHYSDEVOP_ALLOC_IRQ_VECTOR => io_apic::alloc_irq_vector(call, at),
        PHYSDEVOP_EOI => pirq::eoi(call, at),
        PHYSDEVOP_MAP_PIRQ => pirq::map(call, at),
        PHYSDEVOP_UNMAP_PIRQ => pirq::unmap(call, at),
        PHYSDEVOP_PIRQ_EOI_GMFN_V1 => pirq::eoi_page(call, at, true),
        PHYSDEVOP_PIRQ_EOI_GMFN_V2 => pirq::eoi_page(call, at, false),
        PHYSDEVOP_SETUP_GSI => io_apic::setup_gsi(call, at),
        PHYSDEVOP_GET_FREE_PIRQ => pirq::get_free(call, at),
        PHYSDEVOP_MANAGE_PCI_ADD | PHYSDEVOP_MANAGE_PCI_REMOVE => pci::manage(call, at),
        PHYSDEVOP_MANAGE_PCI_ADD_EXT => pci::manage_add_ext(call, at),
        PHYSDEVOP_PCI_DEVICE_ADD => pci::device_add(call, at),
        PHYSDEVOP_PCI_DEVICE_REMOVE => pci::device_remove(call, at),
        PHYSDEVOP_PCI_MMCFG_RESERVED => pci::mmcfg_reserved(call, at),
        PHYSDEVOP_RESTORE_MSI => pci::restore_msi(call, at),
        PHYSDEVOP_RESTORE_MSI_EXT => pci::restore_msi_ext(call, at),
        PHYSDEVOP_PREPARE_MSIX => pci::prepare_msix(call, at),
        PHYSDEVOP_RELEASE_MSIX => pci::release_msix(call, at),
        PHYSDEVOP_DBGP_OP => pci::debug_port(call, at),
        _ => call.unsupported(PHYSDEV_OP, command.into(), Errno::ENOSYS),
    }
}

/// `PHYSDEVOP_set_iopl`: the vCPU's virtual I/O privilege level.
fn set_iopl<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: Gva) -> CallResult {
    let PhysdevSetIopl { iopl } = call.memory.read(at).map_err(fault)?;
    let level = u8::try_from(iopl).ok().filter(|level| *level <= 3).ok_or(Errno::EINVAL)?;
    let context = call.context;
    call.reply_after(|tx| {
        tx.set(&context.iopl, level);
        Ok(())
    })
}

/// `PHYSDEVOP_set_iobitmap`: where the vCPU's I/O bitmap lies. It is read when it is used.
fn set_iobitmap<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: Gva) -> CallResult {
    let PhysdevSetIobitmap { bitmap, nr_ports, .. } = call.memory.read(at).map_err(fault)?;
    let end = bitmap.checked_add(u64::from(PORTS / 8)).ok_or(Errno::EINVAL)?;
    if nr_ports > PORTS || bitmap < HYPERVISOR.end && end > HYPERVISOR.start {
        return Err(Errno::EINVAL);
    }
    let context = call.context;
    call.reply_after(|tx| {
        tx.set(&context.io_bitmap, Gva(bitmap));
        tx.set(&context.io_ports, nr_ports);
        Ok(())
    })
}
