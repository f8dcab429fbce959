//! Bringing up the other CPUs.
#![expect(unsafe_code, reason = "takes CPUs over")]

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ids::CpuId;
use machine::{control, percpu, tables};

use crate::console::log;
use crate::sealed::sealed;
use crate::{composition, devices, start, stop};

/// Arrivals of CPUs, the boot CPU's included; derived.
static ONLINE: AtomicU32 = AtomicU32::new(1);

/// CPUs that did not start; derived, and of first boot alone.
static MISSING: [AtomicBool; percpu::MAX_CPUS as usize] =
    [const { AtomicBool::new(false) }; percpu::MAX_CPUS as usize];

/// Whether a CPU has started.
pub(crate) fn has_started(cpu: CpuId) -> bool {
    !MISSING.get(cpu.0 as usize).is_none_or(|missing| missing.load(Ordering::Acquire))
}

/// Starts every CPU the facts list, one after the other.
pub(crate) fn start_others() {
    for cpu in (1..sealed().cpus).map(CpuId) {
        // SAFETY: it never ran.
        if !unsafe { start_one(cpu) } {
            log!("CPU {} does not start", cpu.0);
            MISSING[cpu.0 as usize].store(true, Ordering::Release);
        }
    }
    log!("Brought up {} CPUs", ONLINE.load(Ordering::Acquire));
}

/// Takes `cpu` to [`cpu_entry`], whatever it does now; false if it does not come.
///
/// # Safety
/// It holds nothing others wait for, and what is on its stacks is given up.
pub(crate) unsafe fn start_one(cpu: CpuId) -> bool {
    let record = sealed();
    let Some(facts) = record.facts.cpus().get(cpu.0 as usize) else { return false };
    let before = ONLINE.load(Ordering::Acquire);
    let arrived = || ONLINE.load(Ordering::Acquire) != before;
    let apic = devices::local_apic(record.facts);
    // SAFETY: the caller's promise; boot mapped a block for each of the record's CPUs.
    unsafe {
        let place = (cpu, facts.apic_id, percpu::STACK_TOP);
        record.trampoline.start(apic, place, cpu_entry, record.facts.timing.tsc_khz, arrived)
    }
}

/// Takes a CPU that does not stop away from what it does: it notes what is known of that, and waits. False if it
/// does not come.
///
/// # Safety
/// A recovery is under way, which looks after what the CPU had in hand.
pub(crate) unsafe fn take_over(cpu: CpuId, arrived: impl Fn() -> bool) -> bool {
    let record = sealed();
    let Some(facts) = record.facts.cpus().get(cpu.0 as usize) else { return false };
    if cpu == CpuId(0) && record.facts.efi_system_table.is_some() {
        // INIT sends the boot CPU to the firmware, and UEFI does not send it back.
        return false;
    }
    let apic = devices::local_apic(record.facts);
    // The main stack may be in use still, that of NMIs holds registers.
    let place = (cpu, facts.apic_id, percpu::DOUBLE_FAULT_STACK_TOP);
    // SAFETY: the caller's promise; a CPU that handles a double fault leads, so it has stopped.
    unsafe { record.trampoline.start(apic, place, taken_entry, record.facts.timing.tsc_khz, arrived) }
}

/// The first code of a CPU that was taken over.
extern "C" fn taken_entry(cpu: CpuId) -> ! {
    // Before an NMI can overwrite it.
    let kept = stop::kept_at_nmi(cpu);
    // SAFETY: as in `cpu_entry`.
    unsafe { control::enable_features(sealed().isolation.is_some()) };
    // SAFETY: boot wrote this CPU's tables; its gates are those in use.
    unsafe { tables::load(cpu) };
    devices::enable_local_apic(sealed().facts, cpu.0 as usize);
    composition::load_entry_points();
    stop::taken(kept)
}

/// A CPU's first Rust code: the same state as the boot CPU's, then `start`.
extern "C" fn cpu_entry(cpu: CpuId) -> ! {
    // SAFETY: this CPU was just started; the PAT after reset has write-back at index 0 too.
    unsafe { control::enable_features(sealed().isolation.is_some()) };
    // SAFETY: boot wrote this CPU's tables.
    unsafe { tables::load(cpu) };
    devices::enable_local_apic(sealed().facts, cpu.0 as usize);
    // Pairs with the acquire loads in `start_others`.
    ONLINE.fetch_add(1, Ordering::Release);
    start::ap_start(cpu.0)
}
