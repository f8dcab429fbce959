//! The watchdog: a CPU that does not leave the hypervisor is noticed and led into a microreboot.
//!
//! The interval timer's channel 0, which no guest owns, raises an NMI eighteen times a second: on every CPU, or, where
//! all cannot be addressed at once, on CPU 0. Every CPU that is not idle gets an ordinary interrupt four times a second,
//! which it takes outside of the hypervisor alone; the NMI's handler leads if its own CPU is in the hypervisor and has
//! ended none for the timeout. CPU 0 looks after the others: it sends one that hangs an NMI, and leads itself if that
//! does not help, to take the other over. The others look, at each NMI and interrupt, whether CPU 0 still has its NMIs.
//!
//! A CPU that runs a guest or waits in the idle loop is not hung. State class: derived; every start begins to
//! watch anew. The option's value is in the sealed record.
#![expect(unsafe_code, reason = "sends NMIs, drives the interval timer's pin")]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use boot_info::ApicMode;
use command_line::Watchdog;
use ids::CpuId;
use machine::apic::Ipi;
use machine::io_apic::{Delivery, IoApic, Route};
use machine::{clock, percpu, pit};

use crate::console::log;
use crate::guest::hardware::this_cpu;
use crate::guest::host::HostFrame;
use crate::recovery::{self, Cause};
use crate::sealed::{Sealed, sealed};
use crate::{devices, efi, stop};

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
/// What was seen of each CPU when a change was last seen, by itself or CPU 0.
static SEEN: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
/// TSC at that time.
static SINCE: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
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
pub(crate) fn timeout() -> u64 {
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
    let (Some((io_apic, pin, _)), Some(target)) = (pin(), target()) else { return };
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

/// Whom the NMIs go to: all CPUs, if the local APICs know that address and none is left out, which would wake up in
/// the firmware's hands; else CPU 0.
fn target() -> Option<u8> {
    const ALL: u8 = 0xff;
    let Sealed { facts, options, cpus, .. } = sealed();
    let whole = options.maxcpus.is_none() && !options.nosmp && facts.cpus().len() == *cpus as usize;
    if whole && facts.apic_mode == ApicMode::XApic {
        return Some(ALL);
    }
    facts.cpus().first().and_then(|cpu| u8::try_from(cpu.apic_id).ok())
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
        mask(true);
        pit::stop();
    }
}

/// NMIs again.
pub(crate) fn go_on() {
    if is_on() {
        mask(false);
        pit::start_periodic(0);
    }
}

/// The timer may raise its line once more after it was stopped: the pin decides.
fn mask(masked: bool) {
    if let Some((io_apic, pin, _)) = pin() {
        io_apic.set_masked(pin, masked);
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

/// How long a CPU that is not idle has ended no interrupt, in TSC ticks, as far as anybody saw.
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
pub(crate) fn on_nmi(frame: &mut HostFrame) {
    if !is_on() {
        return;
    }
    let (own, now, timeout) = (this_cpu(), clock::tsc(), timeout());
    if stays(own, now) > timeout && frame.cs & 3 == 0 {
        if efi::end_hang(frame) {
            SINCE[own.0 as usize].store(now, Ordering::Relaxed);
            return;
        }
        recovery::fatal(Cause::Hang, Some(frame), None);
    }
    if own != CpuId(0) {
        if is_first_deaf(now) {
            lead_instead_of(CpuId(0), frame);
        }
        return;
    }
    LOOKED.store(now, Ordering::Relaxed);
    for other in (1..sealed().cpus).map(CpuId) {
        let stays = stays(other, now);
        if stays > timeout + grace() {
            lead_instead_of(other, frame);
        }
        if stays > timeout {
            tell(other);
        }
    }
}

/// Leads because of a CPU that does not answer; this one was found at `frame`.
fn lead_instead_of(deaf: CpuId, frame: &HostFrame) -> ! {
    stop::at(frame);
    recovery::fatal(Cause::Hang, None, Some(format_args!("CPU {} hangs and ignores NMIs", deaf.0)))
}

fn grace() -> u64 {
    GRACE_MS * sealed().facts.timing.tsc_khz
}

/// Whether CPU 0 has not had its NMIs for too long.
fn is_first_deaf(now: u64) -> bool {
    now.saturating_sub(LOOKED.load(Ordering::Relaxed)) > timeout() + grace()
}

/// Tells a CPU that it hangs.
pub(crate) fn tell(cpu: CpuId) {
    let facts = sealed().facts;
    if let Some(target) = facts.cpus().get(cpu.0 as usize) {
        // SAFETY: every CPU's NMI gate is set.
        unsafe { devices::local_apic(facts).send(Ipi::Nmi, target.apic_id) };
    }
}

/// An interrupt was ended, on any CPU: looks whether CPU 0 still watches.
#[inline]
pub(crate) fn on_interrupt() {
    if !is_on() {
        return;
    }
    let cpu = this_cpu();
    let beats = &BEATS[cpu.0 as usize];
    beats.store(beats.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    if cpu != CpuId(0) && is_first_deaf(clock::tsc()) {
        recovery::fatal(Cause::Hang, None, Some(format_args!("CPU 0 hangs and ignores NMIs")));
    }
}
