//! Interrupt controllers and clocks: mapped, quiet, measured.
#![expect(unsafe_code, reason = "device registers")]

use boot_info::{ApicMode, BootFacts, TimeReference, Timing};
use ids::Maddr;
use machine::apic::{LocalApic, Mode, Pin};
use machine::clock::{self, Reference};
use machine::hpet::Hpet;
use machine::io_apic::{Delivery, IoApic, Route};
use machine::paging::{Access, PageSize, PageTables, TableMemory};
use machine::pm_timer::PmTimer;
use machine::{cpuid, layout, pic, rtc};

use crate::console::{self, log};
use crate::options;
use crate::refusal::refuse;

/// Where the 8259 pair's interrupts would come, were they not masked.
const PIC_VECTORS: u8 = 0xe0;
/// Vector of the APIC's spurious interrupts; needs no end of interrupt.
pub(crate) const SPURIOUS_VECTOR: u8 = 0xff;

/// The boot CPU's APIC identifier, from CPUID: the APIC is not mapped yet.
pub(crate) fn boot_apic_id() -> u32 {
    let cpuid = cpuid::CpuId::new();
    let basic = cpuid.get_feature_info().map_or(0, |info| u32::from(info.initial_local_apic_id()));
    let wide = cpuid.get_extended_topology_info().and_then(|mut levels| levels.next());
    wide.map_or(basic, |level| level.x2apic_id())
}

/// x2APIC where the firmware chose it, identifiers need it, a hypervisor below us vouches for it, or `x2apic` asks;
/// without interrupt remapping real hardware does not promise it.
pub(crate) fn apic_mode(facts: &BootFacts) -> ApicMode {
    let features = cpuid::CpuId::new().get_feature_info();
    let capable = features.as_ref().is_some_and(|info| info.has_x2apic());
    let virtual_machine = features.as_ref().is_some_and(|info| info.has_hypervisor());
    let asked = options::current().x2apic;
    let needed = facts.cpus().iter().any(|cpu| cpu.apic_id > 0xfe);
    let wanted = needed || asked.unwrap_or(virtual_machine);
    if LocalApic::firmware_mode() == Mode::X2Apic || (capable && wanted) {
        ApicMode::X2Apic
    } else {
        ApicMode::XApic
    }
}

/// The local APICs in the mode the facts name.
pub(crate) fn local_apic(facts: &BootFacts) -> LocalApic {
    let mode = match facts.apic_mode {
        ApicMode::XApic => Mode::XApic,
        ApicMode::X2Apic => Mode::X2Apic,
    };
    // SAFETY: `map` mapped the registers; every CPU goes through `enable_local_apic` first.
    unsafe { LocalApic::new(mode) }
}

/// Maps the registers of all controllers and clocks.
pub(crate) fn map(memory: &mut impl TableMemory, tables: PageTables, facts: &BootFacts) {
    let mut page = |va: u64, registers: Maddr| {
        let frame = Maddr(registers.0 & !0xfff);
        tables.map(memory, va, frame, 0x1000, Access::Device, PageSize::Small).expect("mapping a device");
    };
    page(layout::LOCAL_APIC, facts.acpi.madt.local_apic);
    for (index, io_apic) in facts.acpi.madt.io_apics.iter().enumerate() {
        page(layout::io_apic(index), io_apic.address);
    }
    if let Some(hpet) = &facts.acpi.hpet {
        page(layout::HPET, hpet.address);
    }
}

/// Silences all interrupt sources, counts the I/O APICs' pins and measures the clocks.
pub(crate) fn start(facts: &mut BootFacts) {
    pic::disable(PIC_VECTORS);
    for (index, io_apic) in facts.acpi.madt.io_apics.iter_mut().enumerate() {
        // SAFETY: `map` mapped it.
        let device = unsafe { IoApic::new(index) };
        io_apic.pins = device.pins();
        device.mask_all();
        let last = io_apic.gsi_base + io_apic.pins - 1;
        log!("I/O APIC {} at {:#x}, GSI {} to {last}", io_apic.id, io_apic.address.0, io_apic.gsi_base);
    }
    enable_local_apic(facts, 0);
    facts.timing = measure(facts);
    let Timing { tsc_khz, apic_timer_khz, tsc_invariant, reference } = facts.timing;
    let invariant = if tsc_invariant { "invariant " } else { "" };
    log!("{invariant}TSC {tsc_khz} kHz, APIC timer {apic_timer_khz} kHz, measured with {reference:?}");
    let century = facts.acpi.fadt.map_or(0, |fadt| fadt.century);
    log!("{:?}, wall clock {:?} s since 1970", facts.apic_mode, rtc::now(century));
}

/// Switches this CPU's APIC on, with its NMI pin as the firmware wired it.
pub(crate) fn enable_local_apic(facts: &BootFacts, cpu: usize) {
    let apic = local_apic(facts);
    apic.enable(SPURIOUS_VECTOR);
    let acpi_id = facts.cpus().get(cpu).map(|cpu| cpu.acpi_id);
    for nmi in &facts.acpi.madt.local_nmis {
        if nmi.acpi_id.is_none() || nmi.acpi_id == acpi_id {
            apic.set_pin(nmi.lint, Pin::Nmi);
        }
    }
}

fn measure(facts: &BootFacts) -> Timing {
    // SAFETY: `map` mapped it.
    let hpet = facts.acpi.hpet.and_then(|_| unsafe { Hpet::start() });
    let pm_timer = facts.acpi.fadt.and_then(|fadt| fadt.pm_timer);
    // SAFETY: the FADT names the port.
    let pm_timer = pm_timer.and_then(|block| unsafe { PmTimer::new(block.port) });
    let choice = match (hpet, pm_timer) {
        (Some(hpet), _) => (TimeReference::Hpet, Some(Reference::Hpet(hpet))),
        (None, Some(timer)) => (TimeReference::PmTimer, Some(Reference::PmTimer(timer))),
        (None, None) => (TimeReference::Pit, None),
    };
    let apic = local_apic(facts);
    let measured = clock::calibrate(choice.1, apic).map(|rates| (choice.0, rates));
    let fallback = || clock::calibrate(None, apic).map(|rates| (TimeReference::Pit, rates));
    let (reference, rates) = measured.or_else(fallback).unwrap_or_else(|| {
        refuse!(
            "clock: neither HPET, ACPI timer nor PIT counts: the TSC cannot be measured; enable one of them"
        )
    });
    Timing {
        tsc_khz: rates.tsc_khz,
        apic_timer_khz: rates.apic_khz,
        tsc_invariant: clock::tsc_is_invariant(),
        reference,
    }
}

/// Routes the console's interrupt to CPU 0.
pub(crate) fn route_console(facts: &BootFacts, vector: u8) {
    let Some(line) = console::port().and_then(|port| port.line) else { return };
    let change = facts.acpi.madt.overrides.iter().find(|change| change.source == line);
    let gsi = change.map_or(u32::from(line), |change| change.gsi);
    let found = facts
        .acpi
        .madt
        .io_apics
        .iter()
        .enumerate()
        .find(|(_, io_apic)| (io_apic.gsi_base..io_apic.gsi_base + io_apic.pins).contains(&gsi));
    let (Some((index, io_apic)), Some(cpu)) = (found, facts.cpus().first()) else { return };
    let route = Route::new(vector, Delivery::Fixed, cpu.apic_id as u8, false, false);
    // SAFETY: `map` mapped it.
    unsafe { IoApic::new(index) }.set_route((gsi - io_apic.gsi_base) as u8, route);
}
