//! The microreboot: from a failure of the hypervisor back to its guests.
//!
//! 1. The failing CPU notes why ([`Epitaph`]), checks the other image copy and runs it: all
//!    variables, the heap and this stack are gone.
//! 2. The new life puts the composition together over the vault, as first boot did.
//! 3. What the CPU was doing is undone or finished; interrupts in service are ended.
//! 4. The guest goes on: its registers never left its context.
#![expect(unsafe_code, reason = "leaves the running image behind")]

use crate::composition;
use crate::console;
use crate::epitaph::{self, epitaph, failures};
use crate::guest::hardware::this_cpu;
use crate::guest::host::HostFrame;
use crate::guest::{run, shootdown};
use crate::sealed::{self, sealed};
use crate::{chaos, devices, efi, heap, inject, machine_nmi, panic, power, screen, stop, watchdog};
use core::sync::atomic::{AtomicU64, Ordering};
use ids::CpuId;
use machine::{clock, control, percpu, stack};
use system::{MOST_FAILURES, Repaired, own_vector};

/// Why the hypervisor failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Cause {
    /// A panic: a failed check.
    Panic = 1,
    /// An exception in hypervisor mode.
    Exception = 2,
    /// A CPU did not leave the hypervisor: this one, if its registers are known, else another.
    Hang = 3,
}

/// Failures so close to each other are taken for one that repeats itself, ms.
const QUICK_MS: u64 = 20;
/// How long a recovery may take beyond the watchdog's timeout, ms: others are stopped, their outboxes finished. Tests
/// have few CPUs.
const RECOVERY_MS: u64 = if cfg!(feature = "inject") { 3_000 } else { 10_000 };
/// Repetitions after which the machine is given up.
const GIVE_UP: u32 = 8;

/// Failures survived so far.
#[cfg(feature = "inject")]
pub(crate) fn generation() -> u32 {
    failures().generation.get()
}

/// Nested failures while one is being noted.
static FAILING: AtomicU64 = AtomicU64::new(0);

/// The hypervisor cannot go on as it is.
pub(crate) fn fatal(cause: Cause, frame: Option<&HostFrame>, message: Option<core::fmt::Arguments<'_>>) -> ! {
    // Interrupts are off already, or the idle loop's.
    control::disable_interrupts();
    // The hang of another CPU is not what this one's entry did.
    let is_own = cause != Cause::Hang || frame.is_some();
    let stop::Hit { failures: charged, recovery } = stop::lead(frame, is_own);
    if FAILING.fetch_add(1, Ordering::Relaxed) > 1 {
        give_up("failed while noting a failure");
    }
    let (all, now) = (failures(), clock::tsc());
    let since = now.wrapping_sub(epitaph().at.get());
    let in_a_row = if since < QUICK_MS * sealed().facts.timing.tsc_khz { all.in_a_row.get() } else { 0 };
    // What an entry does again and again ends its domain.
    all.in_a_row.set(in_a_row + u32::from(charged.is_none()));
    stop::deadline().store(deadline(now), Ordering::Relaxed);
    all.in_recovery.set(if recovery { all.in_recovery.get() + 1 } else { 0 });
    let epitaph = all.next();
    epitaph.at.set(now);
    epitaph.note(cause, frame, message);
    if !stop::is_guarded() {
        give_up("failed before a guest ran");
    }
    if !stop::stop_others() {
        give_up("a CPU does not stop");
    }
    if all.in_recovery.get() > GIVE_UP {
        give_up("recovery fails again and again");
    }
    if all.in_a_row.get() > GIVE_UP {
        give_up("fails again and again");
    }
    if charged.is_some_and(|failures| failures > MOST_FAILURES + 1) {
        give_up("the domain of an entry that fails cannot be ended");
    }
    microreboot()
}

/// An NMI on the leader: it fails if the recovery does not come to its end.
pub(crate) fn on_nmi(frame: &HostFrame) {
    // Not in the first moments of the new life.
    if is_overdue() && sealed::is_mapped() {
        fatal(Cause::Hang, Some(frame), None);
    }
}

/// An NMI on a CPU that waits for the leader, given as its number plus one, which may get none of its own: it gets this
/// one.
pub(crate) fn on_nmi_of_waiting(leader: u32) {
    if leader != 0 && is_overdue() {
        // Variables are those of the copy that runs.
        control::flush_tlb();
        if sealed::is_mapped() {
            watchdog::tell(CpuId(leader - 1));
        }
    }
}

/// Whether a recovery is under way for too long. No variable of the image tells, for it may change meanwhile.
fn is_overdue() -> bool {
    let deadline = stop::deadline().load(Ordering::Relaxed);
    deadline != 0 && clock::tsc() > deadline
}

/// When the recovery that begins `now` has taken too long; 0: nobody looks.
fn deadline(now: u64) -> u64 {
    match watchdog::timeout() {
        0 => 0,
        timeout => now + timeout + RECOVERY_MS * sealed().facts.timing.tsc_khz,
    }
}

/// There is no new life: the last words, then the machine restarts or halts.
pub(crate) fn give_up(why: &str) -> ! {
    console::print_unlocked(format_args!("Panic on CPU {}: {why}\n", this_cpu().0));
    epitaph::last_words();
    watchdog::end();
    if panic::no_reboot() { control::halt() } else { power::restart() }
}

/// Runs the other copy of the image.
fn microreboot() -> ! {
    // The record is copied to the stack: the variables that point to it are about to change.
    let image = sealed().image;
    let other = image.running().other();
    // SAFETY: the other copy does not run.
    if let Err(beyond) = unsafe { image.make_pristine(other) } {
        console::print_unlocked(format_args!("page {:#x} of both image copies is damaged\n", beyond.offset));
        give_up("no intact image copy");
    }
    // SAFETY: on a per-CPU stack; nothing after this uses a variable of the old life, for the next call
    // abandons the stack and starts anew.
    unsafe { image.select(other) };
    let top = percpu::block(this_cpu()) + percpu::STACK_TOP;
    // SAFETY: this CPU's own stack, which nobody needs any more.
    unsafe { stack::abandon_for(top, second_life) }
}

/// The start after a failure, on an empty stack, with variables as at first boot.
extern "C" fn second_life() -> ! {
    // The failure may have come in an NMI's handler.
    stack::unblock_nmi();
    // SAFETY: boot mapped it; the page tables are the same.
    unsafe { sealed::mark_mapped() };
    stop::begins_anew();
    let record = sealed();
    chaos::spoil_memory(record);
    chaos::spoil_stacks();
    // SAFETY: the heap's memory is nobody's any more: all that was on it is derived.
    unsafe { heap::add_permanent(record.heap) };
    // SAFETY: the ring's memory is the log's alone.
    unsafe { console::adopt(record.log) };
    screen::keep();
    console::set_deferred(true);
    console::set_clock(record.facts.timing.tsc_khz);
    inject::recovery_begins();
    let system = composition::compose();
    composition::load_entry_points();
    inject::point();
    let mut repairs = Repairs::default();
    system.settle_homes(stop::is_online);
    for cpu in stop::stopped() {
        if let Some(vcpu) = cpu.loaded {
            system.keep(cpu.cpu, vcpu);
        }
    }
    system.undo(stop::stopped(), |_, what| repairs.add(what));
    system.resume_traces();
    system.follow_levels();
    inject::point();
    for chained in [true, false] {
        for cpu in stop::stopped().filter(|cpu| system.must_finish(cpu, chained)) {
            let head = system.state.logs[cpu.cpu.0 as usize].head();
            repairs.add(Repaired::Finished(head.effects() - head.applied()));
            stop::finish_on(&cpu);
            inject::point();
        }
    }
    system.restore_routes();
    devices::route_console(record.facts, own_vector::CONSOLE);
    watchdog::start();
    repairs.note();
    inject::point();
    let epitaph = epitaph();
    epitaph.ticks.set(epitaph.age());
    inject::point();
    stop::release_others();
    // The others run already.
    epitaph::report();
    console::set_deferred(false);
    go_on()
}

/// A CPU that was stopped, in the new life.
pub(crate) extern "C" fn another_cpus_life() -> ! {
    stop::begins_anew();
    stack::unblock_nmi();
    chaos::spoil_stacks();
    take_over();
    go_on()
}

/// Makes a CPU that was stopped one of the new life.
pub(crate) fn take_over() {
    composition::load_entry_points();
    shootdown::set_active(true);
}

/// Takes up what this CPU was doing.
fn go_on() -> ! {
    let system = run::system();
    let apic = devices::local_apic(sealed().facts);
    stop::report_machine_check();
    let taken = stop::was_taken();
    efi::after_crash(taken.is_some());
    let vcpu = stop::held();
    if let Some(vcpu) = vcpu {
        system.load_context(system.state.contexts.context(vcpu));
    }
    system.recover_interrupts(apic.in_service().iter());
    if taken.is_some() {
        // INIT forgot what was in service.
        system.recover_interrupts(system.device_vectors());
    }
    machine_nmi::announce();
    match (vcpu, taken) {
        (Some(vcpu), Some(stop::Taken::Lost)) => system.end_lost(vcpu),
        (Some(vcpu), _) => system.resume(vcpu),
        (None, _) => {}
    }
    run::run_guests()
}

/// What a recovery does for all CPUs together.
#[derive(Debug, Default)]
struct Repairs {
    /// Entries that were in progress.
    entries: usize,
    /// Writes undone.
    undone: usize,
    /// Outboxes finished, and the effects in them.
    outboxes: usize,
    effects: usize,
}

impl Repairs {
    fn add(&mut self, what: Repaired) {
        match what {
            Repaired::Nothing => return,
            Repaired::Undone(writes) => self.undone += writes,
            Repaired::Finished(effects) => {
                self.outboxes += 1;
                self.effects += effects;
            }
        }
        self.entries += 1;
    }

    /// Puts it into the epitaph.
    fn note(&self) {
        let done = [self.entries, self.undone, self.outboxes, self.effects];
        for (word, value) in epitaph().repairs.iter().zip(done) {
            word.set(value as u64);
        }
    }
}
