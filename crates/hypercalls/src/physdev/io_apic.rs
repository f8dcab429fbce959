//! Pins of I/O APICs: what Dom0 sees of their registers, and how it sets them up.

use super::pirq::{boot_cpu, pirq_errno};
use crate::call::{Call, CallResult, Outcome, fault};
use boot_info::IoApic;
use guest_memory::GuestMemory;
use ids::Gva;
use irqs::{Error, Kind, Polarity, Source, Trigger};
use vault::Apply;
use xen_abi::Errno;
use xen_abi::physdev::{PhysdevApic, PhysdevIrq, PhysdevSetupGsi};

/// Registers (82093AA data sheet, 3.2).
const ID: u32 = 0;
const VERSION: u32 = 1;
const ARBITRATION: u32 = 2;
const FIRST_ROUTE: u32 = 0x10;
/// The version told: an 82093AA, which has no further registers.
const IS_82093AA: u32 = 0x11;
const MASKED: u64 = 1 << 16;
/// A redirection entry's delivery mode; fixed and lowest priority are 0 and 1.
const DELIVERY_MODE: u32 = 7 << 8;
const LOWEST_PRIORITY: u32 = 1 << 8;
const ACTIVE_LOW: u32 = 1 << 13;
const LEVEL: u32 = 1 << 15;

/// The I/O APIC at a machine address.
fn at_address<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    address: u64,
) -> Result<&'static IoApic, Errno> {
    let found = call.state.facts.acpi.madt.io_apics.iter().find(|a| a.address.0 == address);
    found.ok_or(Errno::EINVAL)
}

/// The GSI of the pin that a redirection register belongs to.
fn gsi_of(io_apic: &IoApic, register: u32) -> Option<u32> {
    let pin = register.checked_sub(FIRST_ROUTE)? / 2;
    (pin < io_apic.pins).then(|| io_apic.gsi_base.checked_add(pin)).flatten()
}

/// `PHYSDEVOP_apic_read`: identifier, version and routes, as the records say; other registers are all ones.
pub(super) fn read<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, at: Gva) -> CallResult {
    let mut apic: PhysdevApic = call.memory.read(at).map_err(fault)?;
    call.privileged()?;
    let io_apic = at_address(call, apic.apic_physbase)?;
    apic.value = match apic.reg {
        ID | ARBITRATION => u32::from(io_apic.id) << 24,
        VERSION => IS_82093AA | io_apic.pins.saturating_sub(1) << 16,
        register => match gsi_of(io_apic, register) {
            Some(gsi) => {
                let route = call.state.irqs().route(gsi);
                let entry = route.map_or(MASKED, |route| route.redirection_entry());
                (entry >> (32 * (register & 1))) as u32
            }
            None => u32::MAX,
        },
    };
    call.memory.write(at, &apic).map_err(fault)?;
    Ok(Outcome::Value(0))
}

/// `PHYSDEVOP_apic_write`: a write to the first half of a route sets an unused pin up and names it by the
/// vector field; where interrupts go is the hypervisor's matter, so all else changes nothing.
pub(super) fn write<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, at: Gva) -> CallResult {
    let PhysdevApic { apic_physbase, reg, value } = call.memory.read(at).map_err(fault)?;
    call.privileged()?;
    let io_apic = at_address(call, apic_physbase)?;
    if reg < FIRST_ROUTE || reg & 1 != 0 {
        return Ok(Outcome::Value(0));
    }
    if value & DELIVERY_MODE > LOWEST_PRIORITY {
        return Err(Errno::EINVAL);
    }
    let gsi = gsi_of(io_apic, reg).ok_or(Errno::EINVAL)?;
    let irqs = call.state.irqs();
    let in_use = irqs.binding(gsi).is_some_and(|binding| binding.port != 0);
    if in_use || irqs.route(gsi).is_some_and(|route| route.kind == Kind::Hypervisor) {
        return Ok(Outcome::Value(0));
    }
    // Names of one byte end at 255; beyond, pins are named by their GSI.
    let pirq = if gsi >= 256 { gsi } else { value & 0xff };
    let (trigger, polarity) = signal(value & LEVEL != 0, value & ACTIVE_LOW != 0);
    let (domain, dest) = (call.domain, boot_cpu(call));
    call.reply_after(|tx| {
        match irqs.setup_gsi(tx, gsi, trigger, polarity, dest) {
            Ok(()) | Err(Error::Exists) => {}
            Err(e) => return Err(pirq_errno(e)),
        }
        irqs.map_pirq(tx, domain, Source::Gsi(gsi), Some(pirq), dest).map(drop).map_err(pirq_errno)
    })
}

const fn signal(level: bool, low: bool) -> (Trigger, Polarity) {
    let trigger = if level { Trigger::Level } else { Trigger::Edge };
    let polarity = if low { Polarity::Low } else { Polarity::High };
    (trigger, polarity)
}

/// `PHYSDEVOP_alloc_irq_vector`: vectors are the hypervisor's matter; the guest's is the number itself.
pub(super) fn alloc_irq_vector<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    at: Gva,
) -> CallResult {
    let mut irq: PhysdevIrq = call.memory.read(at).map_err(fault)?;
    call.privileged()?;
    irq.vector = irq.irq;
    call.memory.write(at, &irq).map_err(fault)?;
    Ok(Outcome::Value(0))
}

/// `PHYSDEVOP_setup_gsi`: how a pin signals.
pub(super) fn setup_gsi<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    at: Gva,
) -> CallResult {
    let PhysdevSetupGsi { gsi, triggering, polarity, .. } = call.memory.read(at).map_err(fault)?;
    let gsi = u32::try_from(gsi).map_err(|_| Errno::EINVAL)?;
    call.privileged()?;
    let irqs = call.state.irqs();
    let (trigger, polarity) = signal(triggering != 0, polarity != 0);
    let dest = boot_cpu(call);
    call.reply_after(|tx| irqs.setup_gsi(tx, gsi, trigger, polarity, dest).map_err(pirq_errno))
}
