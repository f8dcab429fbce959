//! The microreboot: from a failure of the hypervisor back to its guests.
//!
//! 1. The failing CPU notes why in the vault ([`Epitaph`]), checks the other image copy and runs it: all
//!    variables, the heap and this stack are gone.
//! 2. The new life puts the composition together over the vault, as first boot did.
//! 3. What the CPU was doing is undone or finished; interrupts in service are ended.
//! 4. The guest goes on: its registers never left its context.
#![expect(unsafe_code, reason = "leaves the running image behind")]

use crate::composition;
use crate::console::{self, log};
use crate::guest::hardware::this_cpu;
use crate::guest::host::HostFrame;
use crate::guest::{run, shootdown};
use crate::sealed::{self, sealed};
use crate::stop::suspended::{self, State};
use crate::{cells, devices, efi, heap, inject, panic, power, screen, stop, watchdog};
use core::sync::atomic::{AtomicU64, Ordering};
use ids::CpuId;
use machine::{clock, control, percpu, stack};
use system::{MOST_FAILURES, Repaired, own_vector};
use vault::{GuestOwned, record};

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

record! {
    /// Why and where the hypervisor failed last: written by the failing life, read by the next.
    ///
    /// Lock: the leader of the recovery. Rebuild: nothing.
    pub(crate) struct Epitaph {
        /// A [`Cause`]; 0 for none.
        cause: GuestOwned<u32>,
        /// Vector of an exception.
        vector: GuestOwned<u32>,
        /// Failures since boot.
        generation: GuestOwned<u32>,
        /// Failures that came one right after the other, in no guest's entry.
        in_a_row: GuestOwned<u32>,
        /// Failures of the recovery under way.
        in_recovery: GuestOwned<u32>,
        spare: GuestOwned<u32>,
        /// Where: instruction pointer, flags, stack pointer.
        rip: GuestOwned<u64>,
        rflags: GuestOwned<u64>,
        rsp: GuestOwned<u64>,
        /// TSC at the failure.
        at: GuestOwned<u64>,
        /// The panic's message.
        message: [GuestOwned<u8>; 192],
        /// Return addresses, innermost first.
        trace: [GuestOwned<u64>; 24],
    }
}

/// Failures so close to each other are taken for one that repeats itself, ms.
const QUICK_MS: u64 = 20;
/// How long a recovery may take beyond the watchdog's timeout, ms: others are stopped, their outboxes finished. Tests
/// have few CPUs.
const RECOVERY_MS: u64 = if cfg!(feature = "inject") { 3_000 } else { 10_000 };
/// Repetitions after which the machine is given up.
const GIVE_UP: u32 = 8;

/// Where the epitaph lies: in CPU 0's per-CPU data, which no image copy holds.
const EPITAPH: u64 = cells::EPITAPH;

fn epitaph() -> &'static Epitaph {
    let at = percpu::block(CpuId(0)) + EPITAPH;
    let epitaph: *const Epitaph = core::ptr::with_exposed_provenance(at as usize);
    // SAFETY: mapped for good, zeroed by boot, atomics only, used as nothing else.
    unsafe { &*epitaph }
}

/// Failures survived so far.
pub(crate) fn generation() -> u32 {
    epitaph().generation.get()
}

/// Nested failures while one is being noted.
static FAILING: AtomicU64 = AtomicU64::new(0);

/// The hypervisor cannot go on as it is.
pub(crate) fn fatal(cause: Cause, frame: Option<&HostFrame>, message: Option<core::fmt::Arguments<'_>>) -> ! {
    // Interrupts are off already, or the idle loop's.
    control::disable_interrupts();
    let epitaph = epitaph();
    // The hang of another CPU is not what this one's entry did.
    let is_own = cause != Cause::Hang || frame.is_some();
    let stop::Hit { failures, recovery } = stop::lead(frame, is_own);
    if FAILING.fetch_add(1, Ordering::Relaxed) > 1 {
        give_up("failed while noting a failure");
    }
    note_message(message);
    let registers = frame.map_or([0; 3], |f| [f.rip, f.rflags, f.rsp]);
    for (word, value) in [&epitaph.rip, &epitaph.rflags, &epitaph.rsp].into_iter().zip(registers) {
        word.set(value);
    }
    epitaph.cause.set(cause as u32);
    epitaph.vector.set(frame.map_or(0, |f| f.vector));
    let now = clock::tsc();
    let since = now.wrapping_sub(epitaph.at.get());
    let in_a_row = if since < QUICK_MS * sealed().facts.timing.tsc_khz { epitaph.in_a_row.get() } else { 0 };
    // What an entry does again and again ends its domain.
    epitaph.in_a_row.set(in_a_row + u32::from(failures.is_none()));
    epitaph.at.set(now);
    epitaph.in_recovery.set(if recovery { epitaph.in_recovery.get() + 1 } else { 0 });
    note_trace(epitaph, frame);
    epitaph.generation.set(epitaph.generation.get() + 1);
    if !stop::is_guarded() {
        give_up("failed before a guest ran");
    }
    if !stop::stop_others() {
        give_up("a CPU does not stop");
    }
    if epitaph.in_recovery.get() > GIVE_UP {
        give_up("recovery fails again and again");
    }
    if epitaph.in_a_row.get() > GIVE_UP {
        give_up("fails again and again");
    }
    if failures.is_some_and(|failures| failures > MOST_FAILURES + 1) {
        give_up("the domain of an entry that fails cannot be ended");
    }
    microreboot()
}

/// An NMI on the leader: it fails if the recovery does not come to its end.
pub(crate) fn on_nmi(frame: &HostFrame) {
    if is_overdue() {
        fatal(Cause::Hang, Some(frame), None);
    }
}

/// An NMI on a CPU that waits for the leader, which may get none of its own: it gets this one.
pub(crate) fn on_nmi_of_waiting(leader: CpuId) {
    if is_overdue() {
        watchdog::tell(leader);
    }
}

/// Whether a recovery is under way for too long.
fn is_overdue() -> bool {
    if !sealed::is_mapped() || watchdog::timeout() == 0 {
        // The first moments of the new life; or nobody looks.
        return false;
    }
    let patience = watchdog::timeout() + RECOVERY_MS * sealed().facts.timing.tsc_khz;
    let begun = epitaph().at.get();
    begun != 0 && clock::tsc().saturating_sub(begun) > patience
}

/// Keeps a panic's message for the next life.
fn note_message(message: Option<core::fmt::Arguments<'_>>) {
    struct Out(usize);
    impl core::fmt::Write for Out {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            for byte in text.bytes() {
                if let Some(slot) = epitaph().message.get(self.0) {
                    slot.set(byte);
                }
                self.0 += 1;
            }
            Ok(())
        }
    }
    for slot in &epitaph().message {
        slot.set(0);
    }
    if let Some(message) = message {
        // The writer never fails.
        let _ = core::fmt::Write::write_fmt(&mut Out(0), message);
    }
}

/// Follows the frame pointers of this stack.
fn note_trace(epitaph: &Epitaph, frame: Option<&HostFrame>) {
    for slot in &epitaph.trace {
        slot.set(0);
    }
    let mut at = frame.map_or_else(stack::frame_pointer, |f| f.general[4]);
    let top = percpu::block(this_cpu()) + percpu::STACK_TOP;
    for slot in &epitaph.trace {
        if !at.is_multiple_of(8) || at < top - percpu::STACK_SIZE || at + 16 > top {
            return;
        }
        let words: *const [u64; 2] = core::ptr::with_exposed_provenance(at as usize);
        // SAFETY: two aligned words within this CPU's mapped stack.
        let [next, back] = unsafe { words.read_volatile() };
        slot.set(back);
        at = next;
    }
}

fn give_up(why: &str) -> ! {
    console::print_unlocked(format_args!("Panic on CPU {}: {why}\n", this_cpu().0));
    show(true);
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
    let epitaph = epitaph();
    let mut repaired = Repaired::Nothing;
    system.settle_homes(stop::is_online);
    for cpu in stop::stopped() {
        if let Some(vcpu) = cpu.loaded {
            system.keep(cpu.cpu, vcpu);
        }
    }
    system.undo(stop::stopped(), |cpu, what| {
        if cpu == this_cpu() || what != Repaired::Nothing {
            repaired = what;
        }
    });
    inject::point();
    for chained in [true, false] {
        for cpu in stop::stopped().filter(|cpu| system.must_finish(cpu, chained)) {
            repaired = Repaired::Finished(system.state.logs[cpu.cpu.0 as usize].head().effects());
            stop::finish_on(&cpu);
            inject::point();
        }
    }
    system.restore_routes();
    devices::route_console(record.facts, own_vector::CONSOLE);
    watchdog::start();
    let instructions = clock::tsc().wrapping_sub(epitaph.at.get());
    inject::point();
    report(repaired, instructions);
    inject::point();
    stop::release_others();
    console::set_deferred(false);
    go_on()
}

/// A CPU that was stopped, in the new life.
pub(crate) extern "C" fn another_cpus_life() -> ! {
    stop::begins_anew();
    stack::unblock_nmi();
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
    match (vcpu, taken, suspended::state()) {
        (Some(_), None | Some(stop::Taken::Known), State::Kept) => run::go_on_in_stub(),
        (Some(vcpu), None | Some(stop::Taken::Known), State::Elsewhere) => system.resume(vcpu),
        (Some(vcpu), ..) => {
            suspended::forget();
            system.end_lost(vcpu);
        }
        (None, ..) => suspended::forget(),
    }
    run::run_guests()
}

/// One line for each recovery.
fn report(repaired: Repaired, ticks: u64) {
    let what = match repaired {
        Repaired::Nothing => "nothing was in progress",
        Repaired::Undone(_) => "rolled back",
        Repaired::Finished(_) => "rolled forward",
    };
    let khz = sealed().facts.timing.tsc_khz.max(1);
    log!(
        "Recovered from failure {} on CPU {}: {what} {repaired:?}, {ticks} TSC ticks, {} us, {} NMIs so far",
        generation(),
        this_cpu().0,
        ticks * 1000 / khz,
        stop::nmis()
    );
    show(false);
}

/// Shows the epitaph.
fn show(unlocked: bool) {
    let epitaph = epitaph();
    let print = |args: core::fmt::Arguments<'_>| {
        if unlocked { console::print_unlocked(format_args!("{args}\n")) } else { log!("{args}") }
    };
    let mut message = [0; 192];
    for (byte, slot) in message.iter_mut().zip(&epitaph.message) {
        *byte = slot.get();
    }
    let end = message.iter().position(|b| *b == 0).unwrap_or(message.len());
    match epitaph.cause.get() {
        1 => print(format_args!("panic: {}", core::str::from_utf8(&message[..end]).unwrap_or("?"))),
        3 if end > 0 => print(format_args!("hang: {}", core::str::from_utf8(&message[..end]).unwrap_or("?"))),
        3 => print(format_args!("hang at {:016x}, rsp {:016x}", epitaph.rip.get(), epitaph.rsp.get())),
        _ => print(format_args!(
            "exception {} at {:016x}, rsp {:016x}, rflags {:x}",
            epitaph.vector.get(),
            epitaph.rip.get(),
            epitaph.rsp.get(),
            epitaph.rflags.get()
        )),
    }
    for slot in epitaph.trace.iter().take_while(|slot| slot.get() != 0) {
        print(format_args!("  {:016x}", slot.get()));
    }
}
