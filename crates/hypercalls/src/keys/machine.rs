//! Keys about memory, interrupts and devices.

use super::report::Report;
use crate::domain_info::live;
use guest_memory::GuestMemory;
use vault::Apply;

/// KiB of a frame.
const FRAME_KIB: u64 = 4;
/// Devices of a bus, and functions of a device.
const DEVICES: u8 = 32;
const FUNCTIONS: u8 = 8;

/// RAM, and what of it is free.
pub(super) fn memory<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    let state = report.state();
    let (all, free) = (state.host.ram_frames, state.frames.heap().free_frames());
    report.line(format_args!("NODE0 size {all} frames, free {free}"));
    report.line(format_args!("Free heap: {} kB of {} kB", free * FRAME_KIB, all * FRAME_KIB));
    for slot in live(state) {
        let list = state.frames.list(slot);
        report.line(format_args!("Domain {} (total: {})", report.id(slot), list.pages()));
    }
}

/// The free lists that are not empty.
pub(super) fn heap<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    let heap = report.state().frames.heap();
    report.line(format_args!("{} frames are free; blocks by zone:", heap.free_frames()));
    for zone in 0..usize::try_from(u32::BITS + 1).unwrap_or(0) {
        for order in 0..=frames::MAX_ORDER as usize {
            if let Some(first) = heap.first(zone, order) {
                report.line(format_args!(
                    "    zone {zone:2}: blocks of order {order:2}, the first at frame {:#x}",
                    first.0
                ));
            }
        }
    }
}

/// Interrupts with a vector: where they go, and who has them.
pub(super) fn interrupts<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    let irqs = report.state().irqs();
    report.line(format_args!("IRQ information:"));
    for irq in 0..irqs.region.len() {
        let Some(route) = irqs.route(irq) else { continue };
        let (masked, vector) = (if route.masked { " masked" } else { "" }, route.vector);
        match irqs.binding(irq) {
            Some(bound) => {
                let id = report.id(bound.domain);
                let owes = if bound.awaiting { ", in service" } else { "" };
                report.line(format_args!(
                    "   IRQ: {irq:3} vec:{vector:02x} APIC {:#x} {:?}/{:?}{masked}: d{id} pirq {} port {}{owes}",
                    route.dest, route.kind, route.trigger, bound.pirq, bound.port
                ));
            }
            None => report.line(format_args!(
                "   IRQ: {irq:3} vec:{vector:02x} APIC {:#x} {:?}{masked}",
                route.dest, route.kind
            )),
        }
    }
}

/// Messages of devices.
pub(super) fn messages<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    let irqs = report.state().irqs();
    report.line(format_args!("MSI information:"));
    for irq in 0..irqs.region.len() {
        let Some(route) = irqs.route(irq) else { continue };
        let Some(source) = route.msi else { continue };
        let masked = u8::from(route.masked);
        report.line(format_args!(
            " {irq:3} vec={:02x} address={:#x} data={:#x} mask={masked} {source:?}",
            route.vector,
            route.message_address(),
            route.message_data()
        ));
    }
}

/// I/O APICs and the pins in use.
pub(super) fn io_apics<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    let state = report.state();
    let irqs = state.irqs();
    for apic in &state.facts.acpi.madt.io_apics {
        report.line(format_args!("IO APIC {}: pins {} from GSI {}", apic.id, apic.pins, apic.gsi_base));
        for irq in apic.gsi_base..apic.gsi_base.saturating_add(apic.pins) {
            if let Some(route) = irqs.route(irq).filter(|route| route.vector != 0) {
                let pin = irq - apic.gsi_base;
                report.line(format_args!("    pin {pin:02} entry {:016x}", route.redirection_entry()));
            }
        }
    }
}

/// The devices of the first bus.
pub(super) fn devices<M: GuestMemory + 'static, A: Apply>(report: &mut Report<'_, '_, M, A>) {
    let Some(pci) = report.state().pci else { return };
    report.line(format_args!("==== PCI devices ===="));
    report.line(format_args!("==== segment 0000 ===="));
    for device in 0..DEVICES {
        let there = |function: u8| pci.exists(0, 0, device << 3 | function);
        // Functions are looked for where there is a first one.
        for function in (0..FUNCTIONS).filter(|function| there(0) && there(*function)) {
            report.line(format_args!("0000:00:{device:02x}.{function} - d0 - node -1"));
        }
    }
}
