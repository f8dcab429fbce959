//! Interrupt routes meet the hardware: pins of I/O APICs, messages of PCI devices.
//!
//! What to write follows from the durable records alone; a route may be programmed again at any time.
//! State class: derived (what was last written to a pin).
#![expect(unsafe_code, reason = "interrupt controllers and device registers")]

use core::sync::atomic::{AtomicU64, Ordering};

use ids::{FRAME_SIZE, Maddr};
use irqs::{MsiSource, RouteWord};
use machine::io_apic::{IoApic, Route};
use pv_mmu::IoRule;
use spin::Mutex;

use crate::guest::run::system;
use crate::pci_config::{self, COMMAND, Device, LAST_ENTRY, MSIX};
use crate::sealed::sealed;
use crate::watchdog;

/// Pins whose last entry is remembered.
const REMEMBERED: usize = 256;
/// Per GSI what its pin was last told; 0: not known.
static LAST: [AtomicU64; REMEMBERED] = [const { AtomicU64::new(0) }; REMEMBERED];
/// The I/O APICs' index registers.
static PINS: Mutex<()> = Mutex::new(());

/// The first redirection register (82093AA data sheet, 3.2.4).
const FIRST_ROUTE: u8 = 0x10;
const MASKED: u64 = Route::MASKED.0;

/// Programs an irq's route as its record says: a pin, or a message. A message that is not in use any more is
/// switched off at its device.
pub(crate) fn program(irq: u32) {
    let irqs = system().state.irqs();
    let route = irqs.route(irq);
    match irqs.device(irq) {
        None => program_pin(irq, route.map_or(MASKED, |route| route.redirection_entry())),
        Some(source) if source.table_base == 0 => program_msi(&source, route.as_ref()),
        Some(source) => program_msix(&source, route.as_ref()),
    }
}

/// Sets a pin's entry; where only mask, vector or mode changed, half of it.
fn program_pin(gsi: u32, entry: u64) {
    let io_apics = &sealed().facts.acpi.madt.io_apics;
    let found = io_apics.iter().enumerate().find_map(|(index, io_apic)| {
        let pin = gsi.checked_sub(io_apic.gsi_base).filter(|pin| *pin < io_apic.pins)?;
        Some((index, u8::try_from(pin).ok()?))
    });
    let Some((index, pin)) = found.filter(|_| !watchdog::owns_pin(gsi)) else { return };
    let _own = PINS.lock();
    // SAFETY: boot mapped the registers of every I/O APIC.
    let io_apic = unsafe { IoApic::new(index) };
    let last = LAST.get(gsi as usize);
    let before = last.map_or(0, |last| last.load(Ordering::Relaxed));
    let masks_only = before != 0 && (before ^ entry) & !MASKED == 0;
    if masks_only {
        io_apic.write(FIRST_ROUTE.wrapping_add(pin.wrapping_mul(2)), entry as u32);
    } else {
        io_apic.set_route(pin, Route(entry));
    }
    if let Some(last) = last {
        last.store(entry, Ordering::Relaxed);
    }
}

/// Capabilities (PCI local bus specification 3.0, appendix H).
const MSI: u8 = 0x05;
/// In the first double word of either capability: message control is the upper half.
const MSI_ENABLE: u32 = 1 << 16;
const MSI_SEVERAL: u32 = 7 << 20;
const MSI_WIDE: u32 = 1 << 23;
const MSI_MASKABLE: u32 = 1 << 24;
/// The command register's memory decoding bit.
const MEMORY_DECODED: u32 = 1 << 1;

/// MSI (6.8.1): address and data in the capability; a mask bit only if the device has one.
fn program_msi(source: &MsiSource, route: Option<&RouteWord>) {
    let device = Device::new(source.segment, source.bus, source.devfn);
    let Some(at) = device.capability(MSI) else { return };
    let control = device.read(at);
    let Some(route) = route else {
        device.write(at, control & !MSI_ENABLE);
        return;
    };
    let data_at = at + if control & MSI_WIDE != 0 { 0xc } else { 8 };
    let mask_at = data_at + 4;
    let maskable = control & MSI_MASKABLE != 0;
    if maskable && route.masked {
        device.write(mask_at, device.read(mask_at) | 1);
    }
    change(device, at + 4, u32::MAX, route.message_address() as u32);
    if control & MSI_WIDE != 0 {
        change(device, at + 8, u32::MAX, 0);
    }
    change(device, data_at, 0xffff, route.message_data());
    if !route.masked {
        if maskable {
            device.write(mask_at, device.read(mask_at) & !1);
        }
        change(device, at, MSI_ENABLE | MSI_SEVERAL, MSI_ENABLE);
    }
}

/// Gives the bits `mask` of a configuration register a value, if they have another.
fn change(device: Device, at: u16, mask: u32, value: u32) {
    let before = device.read(at);
    let after = before & !mask | value & mask;
    if after != before {
        device.write(at, after);
    }
}

/// MSI-X (6.8.2): an entry of 16 bytes in the device's memory.
fn program_msix(source: &MsiSource, route: Option<&RouteWord>) {
    let device = Device::new(source.segment, source.bus, source.devfn);
    let Some(Maddr(entry)) = entry(device, source).filter(|entry| is_device_memory(*entry)) else { return };
    pci_config::with_page(Maddr(entry & !(FRAME_SIZE - 1)), |page| {
        let words: *mut u32 = page.wrapping_add((entry % FRAME_SIZE / 4) as usize);
        let put = |word: usize, value: u32| {
            // SAFETY: the entry is aligned to its size, so within the page, which is a device's and mapped.
            unsafe { words.wrapping_add(word).write_volatile(value) };
        };
        put(3, 1);
        let Some(route) = route else { return };
        put(0, route.message_address() as u32);
        put(1, 0);
        put(2, route.message_data());
        if !route.masked {
            put(3, 0);
        }
    });
}

/// Where an entry is: in the guarded table. Without memory decoding there is nothing to write to; the guest has the
/// entry restored when it switches the device on again.
fn entry(device: Device, source: &MsiSource) -> Option<Maddr> {
    let at = device.capability(MSIX)?;
    let last = device.read(at) >> 16 & LAST_ENTRY;
    let decodes = device.read(COMMAND) & MEMORY_DECODED != 0 || device.is_virtual();
    if u32::from(source.entry) > last || !decodes {
        return None;
    }
    let guarded = system().state.irqs().table_of(source.segment, source.bus, source.devfn);
    // Of a message that is being unmapped nothing may be known any more.
    let said = || source.table_base.checked_add(u64::from(device.read(at + 4) & !7)).map(Maddr);
    let table = guarded.map(|table| table.at).or_else(said)?;
    let entry = table.0.checked_add(16 * u64::from(source.entry))?;
    entry.is_multiple_of(16).then_some(Maddr(entry))
}

/// Whether an address that a guest named is a device's: no RAM, and nothing kept from Dom0.
fn is_device_memory(at: Maddr) -> bool {
    let ram = sealed().ram.iter().any(|range| range.start < at.0 + 16 && at.0 < range.end);
    !ram && system().state.io.rule(at.mfn()) != IoRule::Forbidden
}
