//! The watchdog: a CPU that does not leave the hypervisor is noticed and led into a microreboot.
//!
//! The interval timer's channel 0, which no guest owns, raises an NMI on CPU 0 eighteen times a second. Its
//! handler watches CPU 0 itself and all others. Every CPU that is not idle gets an interrupt four times a
//! second; one that has ended none for the timeout gets an NMI, whose handler leads if it hit the hypervisor. If
//! that does not help, CPU 0 leads and takes the other over. With each interrupt the others look whether CPU 0
//! still has its NMIs.
//!
//! A CPU that runs a guest or waits in the idle loop is not hung. State class: derived; every start begins to
//! watch anew. The option's value is in the sealed record.
#![expect(unsafe_code, reason = "sends NMIs, drives the interval timer's pin")]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use command_line::Watchdog;
use ids::CpuId;
use machine::apic::Ipi;
use machine::io_apic::{Delivery, IoApic, Route};
use machine::{clock, percpu, pit};

use crate::console::log;
use crate::guest::hardware::this_cpu;
use crate::guest::host::HostFrame;
use crate::guest::stubs;
use crate::recovery::{self, Cause};
use crate::sealed::sealed;
use crate::{devices, stop};

const CPUS: usize = percpu::MAX_CPUS as usize;
/// How long a CPU may take to answer the NMI that tells it that it hangs, ms.
const GRACE_MS: u64 = 1000;
/// A CPU with the watchdog gets an interrupt at least this often, ns.
pub(crate) const LOOK_EVERY: u64 = 250_000_000;
/// How long the first NMI may take to come, ns.
const FIRST_NS: u64 = 500_000_000;
/// ISA interrupt of the interval timer.
const TIMER_LINE: u8 = 0;

/// Whether CPUs are watched.
static ON: AtomicBool = AtomicBool::new(false);
/// TSC at CPU 0's last look.
static LOOKED: AtomicU64 = AtomicU64::new(0);
/// What CPU 0 saw of each CPU when it last saw a change.
static SEEN: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
/// TSC at that time.
static SINCE: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
/// The CPU is said to hang: its next NMI leads.
static HUNG: [AtomicBool; CPUS] = [const { AtomicBool::new(false) }; CPUS];
/// Interrupts that each CPU ended.
static BEATS: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
/// Waits of each CPU in the idle loop; odd: it waits.
static WAITS: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];

/// Whether CPUs are watched.
#[inline]
pub(crate) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// The timeout in TSC ticks; 0: none is asked for.
fn timeout() -> u64 {
    let record = sealed();
    let asked = record.options.watchdog != Watchdog::Off;
    if asked { u64::from(record.options.watchdog_timeout) * 1000 * record.facts.timing.tsc_khz } else { 0 }
}

/// The I/O APIC, its pin and the GSI of the interval timer.
fn pin() -> Option<(IoApic, u8, u32)> {
    let madt = &sealed().facts.acpi.madt;
    let line = madt.overrides.iter().find(|change| change.source == TIMER_LINE);
    let gsi = line.map_or(u32::from(TIMER_LINE), |change| change.gsi);
    let (index, io_apic) = madt
        .io_apics
        .iter()
        .enumerate()
        .find(|(_, io_apic)| (io_apic.gsi_base..io_apic.gsi_base + io_apic.pins).contains(&gsi))?;
    let pin = u8::try_from(gsi - io_apic.gsi_base).ok()?;
    // SAFETY: boot mapped the registers of every I/O APIC.
    Some((unsafe { IoApic::new(index) }, pin, gsi))
}

/// Whether the watchdog has this pin for itself.
pub(crate) fn owns_pin(gsi: u32) -> bool {
    is_on() && pin().is_some_and(|(_, _, own)| own == gsi)
}

/// Begins to watch, if the command line asks for it. By CPU 0 at first boot, by the leader in later lives.
pub(crate) fn start() {
    let facts = sealed().facts;
    let target = facts.cpus().first().and_then(|cpu| u8::try_from(cpu.apic_id).ok());
    let (Some((io_apic, pin, _)), Some(target)) = (pin(), target) else { return };
    if timeout() == 0 {
        return;
    }
    let now = clock::tsc();
    LOOKED.store(now, Ordering::Relaxed);
    SINCE.iter().for_each(|since| since.store(now, Ordering::Relaxed));
    ON.store(true, Ordering::Release);
    io_apic.set_route(pin, Route::new(0, Delivery::Nmi, target, false, false));
    go_on();
}

/// At first boot: says whether the NMIs come, and does without if not.
pub(crate) fn check() {
    if !is_on() {
        return;
    }
    let began = LOOKED.load(Ordering::Relaxed);
    let looked = || LOOKED.load(Ordering::Relaxed) != began;
    if clock::wait_until(FIRST_NS, sealed().facts.timing.tsc_khz, looked) {
        log!("Watchdog: CPUs may stay in the hypervisor for {} s", sealed().options.watchdog_timeout);
    } else {
        end();
        log!("Watchdog: the interval timer raises no NMIs; hangs are not detected");
    }
}

/// No NMIs of the timer until [`go_on`].
pub(crate) fn pause() {
    if is_on() {
        pit::stop();
    }
}

/// NMIs again.
pub(crate) fn go_on() {
    if is_on() {
        pit::start_periodic(0);
    }
}

/// Watches no more: the machine is about to end.
pub(crate) fn end() {
    pause();
    ON.store(false, Ordering::Relaxed);
}

/// This CPU begins to wait for an interrupt.
#[inline]
pub(crate) fn waits() {
    let word = &WAITS[this_cpu().0 as usize];
    word.store((word.load(Ordering::Relaxed) | 1).wrapping_add(2), Ordering::Relaxed);
}

/// It has got one, or something else ended its wait.
#[inline]
pub(crate) fn waits_no_more() {
    let word = &WAITS[this_cpu().0 as usize];
    word.store(word.load(Ordering::Relaxed) & !1, Ordering::Relaxed);
}

/// What changes when a CPU makes progress, and whether it has something to do. Interrupts are off in the
/// hypervisor: a CPU that ends one has left it since the last.
fn state(cpu: CpuId) -> (u64, bool) {
    let beats = BEATS[cpu.0 as usize].load(Ordering::Relaxed);
    let waits = WAITS[cpu.0 as usize].load(Ordering::Relaxed);
    (beats.wrapping_add(waits), waits & 1 == 0 && stop::is_online(cpu))
}

/// How long a CPU that is not idle has ended no interrupt, in TSC ticks, as far as CPU 0 saw.
fn stays(cpu: CpuId, now: u64) -> u64 {
    let (word, busy) = state(cpu);
    let (seen, since) = (&SEEN[cpu.0 as usize], &SINCE[cpu.0 as usize]);
    if !busy || seen.load(Ordering::Relaxed) != word {
        seen.store(word, Ordering::Relaxed);
        since.store(now, Ordering::Relaxed);
    }
    now.saturating_sub(since.load(Ordering::Relaxed))
}

/// An NMI, with no recovery under way. Comes back if nobody hangs.
pub(crate) fn on_nmi(frame: &HostFrame) {
    if !is_on() || stubs::holds_registers(frame.rip) {
        return;
    }
    let (own, now, timeout) = (this_cpu(), clock::tsc(), timeout());
    let in_hypervisor = frame.cs & 3 == 0;
    let said = HUNG[own.0 as usize].swap(false, Ordering::Relaxed);
    if own != CpuId(0) {
        let (word, busy) = state(own);
        if said && busy && in_hypervisor && SEEN[own.0 as usize].load(Ordering::Relaxed) == word {
            recovery::fatal(Cause::Hang, Some(frame), None);
        }
        return;
    }
    LOOKED.store(now, Ordering::Relaxed);
    if stays(own, now) > timeout && in_hypervisor {
        recovery::fatal(Cause::Hang, Some(frame), None);
    }
    for other in (1..sealed().cpus).map(CpuId) {
        let stays = stays(other, now);
        if stays > timeout + GRACE_MS * sealed().facts.timing.tsc_khz {
            stop::at(frame);
            recovery::fatal(Cause::Hang, None, Some(format_args!("CPU {} hangs and ignores NMIs", other.0)));
        }
        if stays > timeout {
            tell(other);
        }
    }
}

/// Tells a CPU that it hangs.
fn tell(cpu: CpuId) {
    let facts = sealed().facts;
    HUNG[cpu.0 as usize].store(true, Ordering::Relaxed);
    if let Some(target) = facts.cpus().get(cpu.0 as usize) {
        // SAFETY: every CPU's NMI gate is set.
        unsafe { devices::local_apic(facts).send(Ipi::Nmi, target.apic_id) };
    }
}

/// An interrupt was ended, on any CPU: looks whether CPU 0 still watches.
#[inline]
pub(crate) fn on_interrupt() {
    if is_on() {
        let cpu = this_cpu();
        let beats = &BEATS[cpu.0 as usize];
        beats.store(beats.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        if cpu != CpuId(0) {
            look_after_the_first();
        }
    }
}

fn look_after_the_first() {
    let patience = timeout() + GRACE_MS * sealed().facts.timing.tsc_khz;
    if clock::tsc().saturating_sub(LOOKED.load(Ordering::Relaxed)) > patience {
        recovery::fatal(Cause::Hang, None, Some(format_args!("CPU 0 hangs and ignores NMIs")));
    }
}
