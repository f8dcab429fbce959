//! Interrupts that come: the APIC timer, an IPI to this CPU, an I/O APIC pin.
#![expect(unsafe_code, reason = "an interrupt entry point, and interrupts on")]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, Ordering};

use ids::Maddr;
use machine::apic::Ipi;
use machine::io_apic::{Delivery, IoApic, Route};
use machine::tables::{self, Gate, ist};
use machine::{clock, percpu, pit};

use crate::console::log;
use crate::devices;
use crate::sealed::sealed;

const VECTOR: u8 = 0x50;
/// Interrupts taken, and how many of those were seen in service.
static TAKEN: AtomicU32 = AtomicU32::new(0);
static IN_SERVICE: AtomicU32 = AtomicU32::new(0);

global_asm!(
    r#"
    .balign 16
    .global selftest_interrupt
selftest_interrupt:
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    cld
    call {taken}
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    iretq
"#,
    taken = sym taken,
);

// SAFETY: the label of the entry point below; only its address is taken.
unsafe extern "C" {
    static selftest_interrupt: u8;
}

extern "C" fn taken() {
    let apic = devices::local_apic(sealed().facts);
    IN_SERVICE.fetch_add(u32::from(apic.in_service().contains(VECTOR)), Ordering::Relaxed);
    TAKEN.fetch_add(1, Ordering::Relaxed);
    apic.end_of_interrupt();
}

/// How many nanoseconds after `cause` its interrupt was requested; `None` if not within a second, or if after
/// `silence` not exactly one is taken. Late is no fault: a virtual CPU waits for its host.
fn comes(cause: impl FnOnce(), silence: impl FnOnce()) -> Option<u64> {
    let (apic, khz) = (devices::local_apic(sealed().facts), sealed().facts.timing.tsc_khz);
    let before = TAKEN.load(Ordering::Relaxed);
    let start = clock::tsc();
    cause();
    let requested = || apic.requested().contains(VECTOR);
    let came = clock::wait_until(1_000_000_000, khz, requested);
    let ticks = clock::tsc().saturating_sub(start);
    silence();
    // SAFETY: the gate for the only vector anything sends is set; interrupts are off again after it.
    unsafe { asm!("sti", "nop", "nop", "cli") };
    let once = TAKEN.load(Ordering::Relaxed) == before + 1 && !requested() && apic.in_service().is_empty();
    (came && once).then(|| clock::nanoseconds(ticks, khz))
}

/// # Panics
/// Panics at the first interrupt that does not come.
pub(super) fn come() {
    let record = sealed();
    let handler = (&raw const selftest_interrupt).addr() as u64;
    let gate = Gate { handler, ist: ist::NONE, dpl: 0 };
    // SAFETY: CPU 0's block; an entry point for this vector.
    unsafe { tables::set_gate(Maddr(record.per_cpu.start), VECTOR, gate) };
    let apic = devices::local_apic(record.facts);

    apic.set_timer_vector(VECTOR);
    let ticks = clock::ticks_for(20_000_000, record.facts.timing.apic_timer_khz);
    let took = comes(|| apic.start_timer(ticks), || {}).expect("the APIC timer does not come");
    assert!(took >= 10_000_000, "the APIC timer comes early, after {took} ns");
    // SAFETY: to this CPU, which has the gate.
    comes(|| unsafe { apic.send(Ipi::Fixed(VECTOR), apic.id()) }, || {}).expect("no IPI");

    let line =
        record.facts.acpi.madt.overrides.iter().find(|line| line.source == 0).map_or(0, |line| line.gsi);
    // SAFETY: boot mapped it.
    let device = unsafe { IoApic::new(0) };
    let pin = line as u8;
    let target = apic.id() as u8;
    device.set_route(pin, Route::new(VECTOR, Delivery::Fixed, target, false, false));
    comes(|| pit::start_periodic(0xffff), pit::stop).expect("the interval timer does not come");
    device.set_masked(pin, true);
    assert!(device.route(pin).is_masked() && device.route(pin).vector() == VECTOR);
    device.set_route(pin, Route::MASKED);
    let (taken, seen) = (TAKEN.load(Ordering::Relaxed), IN_SERVICE.load(Ordering::Relaxed));
    assert_eq!(taken, seen, "in-service bits are wrong");
    log!(
        "Self-test: {taken} interrupts from timer, IPI and I/O APIC; stack of CPU {:?}",
        percpu::cpu_of(stack_pointer())
    );
}

fn stack_pointer() -> u64 {
    let rsp: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) rsp, options(nomem, nostack)) };
    rsp
}
