//! Stopping the other CPUs when the hypervisor failed, and letting them go again.
//!
//! One CPU leads: the first to fail. It sends NMIs until every other CPU has written its [`StopRecord`] and
//! waits. A CPU stopped while its entry or exit code has the guest's registers half saved is let go on for a
//! moment: it is stopped by a later NMI, or by itself when it reaches Rust.
//!
//! All words here lie in the per-CPU blocks, which no image copy holds: they outlive the switch.
#![expect(unsafe_code, reason = "words at fixed addresses; leaves a stack behind")]

use crate::guest::hardware::this_cpu;
use crate::guest::host::{HostFrame, attached, put_debug_exception, put_guest_frame};
use crate::guest::{gs, run};
use crate::sealed::{self, sealed};
use crate::{devices, inject, machine_nmi, recovery, smp, watchdog};
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use ids::{CpuId, VcpuSlot};
use machine::apic::Ipi;
use machine::{clock, control, percpu, stack};
use system::Stopped;
use vault::step;

pub(crate) mod deferred;
mod machine_check;
mod place;
mod record;
mod taken;

pub(crate) use machine_check::report as report_machine_check;
use place::Place;
pub(crate) use record::LEADER_WORD;
use record::{record, shared};
#[cfg(feature = "inject")]
pub(crate) use taken::forget_nmi;
pub(crate) use taken::{Taken, kept_at_nmi, taken, was_taken};

/// How long a CPU may take to stop, or to finish its outbox, in ms.
const PATIENCE: u64 = 2000;
/// The NMI is sent again after so long, ns.
const PAUSE_NS: u64 = 100_000;

/// What `turn` says when a CPU failed in its turn.
const FAILED: u32 = u32::MAX;

/// NMIs that all CPUs took since boot.
pub(crate) fn nmis() -> u32 {
    (0..sealed().cpus).map(|cpu| record(CpuId(cpu)).nmis.load(Ordering::Relaxed)).fold(0, u32::wrapping_add)
}

/// Points after which the next recovery fails.
#[cfg(feature = "inject")]
pub(crate) fn points_in_recovery() -> &'static AtomicU32 {
    &shared().points
}

/// Reasons of the machine's NMIs that Dom0 has not been told of. Kept aside.
pub(crate) fn machine_nmis() -> &'static AtomicU32 {
    &shared().machine_nmis
}

/// This CPU will run guests from now on.
pub(crate) fn now_online() {
    record(this_cpu()).online.store(1, Ordering::Release);
}

/// Whether a CPU runs guests.
pub(crate) fn is_online(cpu: CpuId) -> bool {
    record(cpu).online.load(Ordering::Acquire) != 0
}

/// Whether guests run: a failure is then survived.
pub(crate) fn is_guarded() -> bool {
    record(this_cpu()).online.load(Ordering::Acquire) != 0
}

/// Whether a failure is being handled.
#[cfg(feature = "chaos")]
pub(crate) fn is_led() -> bool {
    shared().leader.load(Ordering::Relaxed) != 0
}

/// What a failure hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hit {
    /// How often the entry in progress here has failed; `None`: it was no entry's failure.
    pub(crate) failures: Option<u8>,
    /// The recovery from another failure.
    pub(crate) recovery: bool,
}

/// Makes this CPU the leader, or stops it if another is. `is_own`: the failure is of what it does.
pub(crate) fn lead(frame: Option<&HostFrame>, is_own: bool) -> Hit {
    let number = this_cpu().0 + 1;
    let own = record(this_cpu());
    if own.awaits.load(Ordering::Relaxed) != 0 {
        wait_on(frame);
    }
    let (leads, first) =
        match shared().leader.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => (true, true),
            // A failure of the recovery itself: the others still wait.
            Err(leader) if leader == number => (true, false),
            Err(_) => (false, own.waits.load(Ordering::Relaxed) == 0),
        };
    if first && own.noted.load(Ordering::Relaxed) == 0 {
        at(&frame.copied().unwrap_or_else(HostFrame::here));
    } else {
        note(frame);
    }
    machine_check::note(frame);
    let finishing = own.finishing.swap(0, Ordering::Relaxed) != 0;
    let failures = if first && is_own || finishing { charge() } else { None };
    if !leads {
        if finishing {
            shared().turn.store(FAILED, Ordering::Release);
        }
        wait()
    }
    Hit { failures, recovery: !first }
}

/// A failure of a CPU that waits, or is released and has not begun its new life: it has nothing in hand, and the variables
/// that it sees may be those of the copy that ran before. It goes on waiting.
fn wait_on(frame: Option<&HostFrame>) -> ! {
    control::flush_tlb();
    if sealed::is_mapped() {
        machine_check::note(frame);
    }
    record(this_cpu()).deferred.store(0, Ordering::Relaxed);
    // SAFETY: as in `wait`.
    unsafe { stack::abandon_for(main_stack(), waiting) }
}

/// Charges a failure to the entry in progress here.
fn charge() -> Option<u8> {
    run::installed().and_then(|system| system.charge(&stopped_at(this_cpu())))
}

/// Stops every other CPU: by NMIs; one that ignores them is taken over. False: one does not answer that either.
pub(crate) fn stop_others() -> bool {
    if ask_others() {
        return true;
    }
    for cpu in (0..sealed().cpus).map(CpuId).filter(|cpu| is_running(*cpu)) {
        let own = record(cpu);
        let arrived = || own.waits.load(Ordering::Acquire) != 0 || own.taken.load(Ordering::Acquire) != 0;
        // An NMI in real mode would be the firmware's.
        watchdog::pause();
        // SAFETY: what it had in hand is repaired from its log and context.
        let came = unsafe { smp::take_over(cpu, arrived) };
        watchdog::go_on();
        if !came {
            return false;
        }
    }
    ask_others()
}

/// Whether another CPU has to be stopped.
fn is_running(cpu: CpuId) -> bool {
    cpu != this_cpu() && is_online(cpu) && record(cpu).waits.load(Ordering::Acquire) == 0
}

/// Sends NMIs to every other CPU until it waits. False: one does not.
fn ask_others() -> bool {
    let facts = sealed().facts;
    let apic = devices::local_apic(facts);
    let khz = facts.timing.tsc_khz;
    let began = clock::tsc();
    loop {
        let mut left = 0;
        for cpu in (0..sealed().cpus).map(CpuId).filter(|cpu| is_running(*cpu)) {
            left += 1;
            if let Some(target) = facts.cpus().get(cpu.0 as usize) {
                // SAFETY: every CPU's NMI gate leads to `on_nmi`.
                unsafe { apic.send(Ipi::Nmi, target.apic_id) };
            }
        }
        if left == 0 {
            return true;
        }
        if clock::tsc().saturating_sub(began) > PATIENCE * khz {
            return false;
        }
        clock::delay(PAUSE_NS, khz);
    }
}

/// What every CPU that runs guests says of itself, for recovery.
pub(crate) fn stopped() -> impl Iterator<Item = Stopped> + Clone {
    let all = (0..sealed().cpus).map(CpuId);
    all.filter(|cpu| record(*cpu).online.load(Ordering::Acquire) != 0).map(stopped_at)
}

/// What one CPU says.
fn stopped_at(cpu: CpuId) -> Stopped {
    let loaded = record(cpu).loaded.load(Ordering::Relaxed);
    let lost = record(cpu).taken.load(Ordering::Relaxed) == Taken::Lost as u32;
    Stopped { cpu, loaded: (loaded != 0).then(|| VcpuSlot(loaded - 1)), lost }
}

/// Lets a CPU finish its outbox, on that CPU, and waits for it.
///
/// # Panics
/// Panics if it fails or takes too long: the recovery is begun again.
pub(crate) fn finish_on(cpu: &Stopped) {
    if cpu.cpu == this_cpu() {
        finish_own();
        return;
    }
    let turn = &shared().turn;
    turn.store(cpu.cpu.0 + 1, Ordering::Release);
    let khz = sealed().facts.timing.tsc_khz;
    let answered = || [0, FAILED].contains(&turn.load(Ordering::Acquire));
    clock::wait_until(PATIENCE * 1_000_000, khz, answered);
    assert!(turn.load(Ordering::Acquire) == 0, "CPU {} does not finish its outbox", cpu.cpu.0);
}

fn finish_own() {
    let finishing = &record(this_cpu()).finishing;
    finishing.store(1, Ordering::Relaxed);
    run::system().finish(&stopped_at(this_cpu()));
    finishing.store(0, Ordering::Relaxed);
}

/// This CPU's turn: finishes its outbox in the new life, and waits for the others.
extern "C" fn own_turn() -> ! {
    let (own, round) = (record(this_cpu()), shared().round.load(Ordering::Acquire));
    // It may have to be stopped again.
    own.waits.store(0, Ordering::Relaxed);
    begins_anew();
    stack::unblock_nmi();
    recovery::take_over();
    finish_own();
    own.awaits.store(round + 1, Ordering::Relaxed);
    // In this order: once its turn is over the round may end at any time.
    own.waits.store(round + 1, Ordering::Release);
    shared().turn.store(0, Ordering::Release);
    wait_for_end_of(round)
}

/// Whose registers this CPU held when it stopped.
pub(crate) fn held() -> Option<VcpuSlot> {
    let loaded = record(this_cpu()).loaded.load(Ordering::Relaxed);
    (loaded != 0).then(|| VcpuSlot(loaded - 1))
}

/// Lets the others go on: they start their second life.
pub(crate) fn release_others() {
    for cpu in (0..sealed().cpus).map(CpuId) {
        record(cpu).waits.store(0, Ordering::Relaxed);
    }
    shared().turn.store(0, Ordering::Relaxed);
    shared().leader.store(0, Ordering::Relaxed);
    // Release: pairs with the load in `wait`; the new life's composition is complete.
    shared().round.fetch_add(1, Ordering::Release);
}

/// An NMI. If it is the leader's, this CPU stops, unless its entry or exit code holds registers that no memory
/// has.
pub(crate) fn on_nmi(frame: &mut HostFrame) {
    taken::keep(frame);
    inject::nmi(frame);
    let (own, number) = (record(this_cpu()), this_cpu().0 + 1);
    let leader = shared().leader.load(Ordering::Acquire);
    machine_nmi::on_nmi(leader == 0 && own.noted.load(Ordering::Relaxed) == 0);
    if leader == number {
        recovery::on_nmi(frame);
    } else if own.waits.load(Ordering::Relaxed) != 0 {
        recovery::on_nmi_of_waiting(leader);
    } else if own.noted.load(Ordering::Relaxed) != 0 || place::find(frame).is_in_hand() {
        // A later one finds it in its new life, or elsewhere.
    } else if leader == 0 {
        watchdog::on_nmi(frame);
    } else {
        at(frame);
        if own.finishing.swap(0, Ordering::Relaxed) != 0 {
            // Its turn took too long.
            charge();
        }
        wait()
    }
    own.nmi.store(0, Ordering::Relaxed);
}

/// The TSC at which the recovery under way has taken too long; 0: nobody looks.
pub(crate) fn deadline() -> &'static AtomicU64 {
    &shared().deadline
}

/// This CPU goes no further than where an NMI, INIT or its own failure found it. What it has in hand of a guest's is lost.
pub(crate) fn at(frame: &HostFrame) {
    match (place::find(frame), attached()) {
        (Place::Guest(at), Some(context)) => {
            put_guest_frame(context, &at);
            context.registers.vector.set(pv_cpu::vector::NONE);
            note(None);
        }
        (Place::Debugged(at), Some(context)) => {
            put_debug_exception(context, &at);
            note(None);
        }
        (Place::Host(at), _) => note(Some(&at)),
        _ => {
            record(this_cpu()).taken.store(Taken::Lost as u32, Ordering::Release);
            note(None);
        }
    }
}

/// Notes whose registers this CPU holds, and completes what it was stopped in the middle of: its log between a
/// shared word and the log's head, GS bases and the word that tells them apart. The registers that tell are gone
/// afterwards.
fn note(frame: Option<&HostFrame>) {
    let (Some(system), own) = (run::installed(), record(this_cpu())) else { return };
    // A life that failed before it took over leaves what the one before it noted.
    if let Some(vcpu) = system.schedule.loaded(this_cpu()) {
        own.loaded.store(vcpu.0 + 1, Ordering::Relaxed);
    }
    own.noted.store(1, Ordering::Relaxed);
    own.nmi.store(0, Ordering::Relaxed);
    place::forget_fault();
    frame.inspect(|frame| gs::complete(frame));
    let unfinished =
        frame.and_then(|f| step::complete(&step::Stopped { rip: f.rip, rflags: f.rflags, r8: f.general[9] }));
    if let Some(head) = unfinished {
        system.state.logs[this_cpu().0 as usize].complete(head);
    }
}

/// This CPU holds no vCPU's registers any more, whatever it noted when it was stopped before.
pub(crate) fn forget_held() {
    record(this_cpu()).loaded.store(0, Ordering::Relaxed);
}

/// This CPU is on an empty stack: where it stops from now on is noted anew.
pub(crate) fn begins_anew() {
    let own = record(this_cpu());
    own.noted.store(0, Ordering::Relaxed);
    own.awaits.store(0, Ordering::Relaxed);
    place::forget_fault();
    machine_check::end();
}

/// Waits for the new life without a variable of the image, which changes meanwhile. NMIs come: the leader may hang.
fn wait() -> ! {
    let round = shared().round.load(Ordering::Acquire);
    let own = record(this_cpu());
    own.deferred.store(0, Ordering::Relaxed);
    own.awaits.store(round + 1, Ordering::Relaxed);
    // Release: what was noted is in memory.
    own.waits.store(round + 1, Ordering::Release);
    // SAFETY: this CPU's own stack: nothing on it is needed, and NMIs come on another.
    unsafe { stack::abandon_for(main_stack(), waiting) }
}

extern "C" fn waiting() -> ! {
    stack::unblock_nmi();
    wait_for_end_of(record(this_cpu()).awaits.load(Ordering::Relaxed).wrapping_sub(1))
}

fn main_stack() -> u64 {
    percpu::block(this_cpu()) + percpu::STACK_TOP
}

fn wait_for_end_of(round: u32) -> ! {
    // Acquire: pairs with `release_others` and `finish_on`.
    while shared().round.load(Ordering::Acquire) == round {
        if shared().turn.load(Ordering::Acquire) == this_cpu().0 + 1 {
            control::flush_tlb();
            // SAFETY: this CPU's own stack, which nobody needs any more.
            unsafe { stack::abandon_for(main_stack(), own_turn) }
        }
        spin_loop();
    }
    control::flush_tlb();
    // SAFETY: as above.
    unsafe { stack::abandon_for(main_stack(), recovery::another_cpus_life) }
}
