//! Bringing up the other CPUs.
#![expect(unsafe_code, reason = "takes CPUs over")]

use core::sync::atomic::{AtomicU32, Ordering};

use ids::CpuId;
use machine::{control, tables};

use crate::console::log;
use crate::sealed::sealed;
use crate::{devices, start};

/// CPUs that run; derived.
static ONLINE: AtomicU32 = AtomicU32::new(1);

/// Starts every CPU the facts list, one after the other.
pub(crate) fn start_others() {
    let record = sealed();
    let apic = devices::local_apic(&record.facts);
    let first = record.facts.cpus().iter().take(record.cpus as usize);
    for (number, cpu) in (0..).zip(first).skip(1) {
        let before = ONLINE.load(Ordering::Acquire);
        let arrived = || ONLINE.load(Ordering::Acquire) != before;
        // SAFETY: it never ran; boot mapped a block for each of the record's CPUs.
        let came = unsafe {
            record.trampoline.start(
                apic,
                (CpuId(number), cpu.apic_id),
                cpu_entry,
                record.facts.timing.tsc_khz,
                arrived,
            )
        };
        if !came {
            log!("CPU {number} (APIC {}) does not start", cpu.apic_id);
        }
    }
    log!("Brought up {} CPUs", ONLINE.load(Ordering::Acquire));
}

/// A CPU's first Rust code: the same state as the boot CPU's, then `start`.
extern "C" fn cpu_entry(cpu: CpuId) -> ! {
    // SAFETY: this CPU was just started; the PAT after reset has write-back at index 0 too.
    unsafe { control::enable_features() };
    // SAFETY: boot wrote this CPU's tables.
    unsafe { tables::load(cpu) };
    devices::enable_local_apic(&sealed().facts, cpu.0 as usize);
    // Pairs with the acquire loads in `start_others`.
    ONLINE.fetch_add(1, Ordering::Release);
    start::ap_start(cpu.0)
}
