//! Stopping the other CPUs when the hypervisor failed, and letting them go again.
//!
//! One CPU leads: the first to fail. It sends NMIs until every other CPU has written its [`StopRecord`] and
//! waits. A CPU stopped while its entry or exit code has the guest's registers half saved is let go on for a
//! moment: it is stopped by a later NMI, or by itself when it reaches Rust.
//!
//! All words here lie in the per-CPU blocks, which no image copy holds: they outlive the switch.
#![expect(unsafe_code, reason = "words at fixed addresses; leaves a stack behind")]

use crate::guest::hardware::this_cpu;
use crate::guest::host::{HostFrame, attached, put_guest_frame};
use crate::guest::{run, stubs};
use crate::sealed::sealed;
use crate::{devices, recovery};
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU32, Ordering};
use ids::{CpuId, VcpuSlot};
use machine::apic::Ipi;
use machine::{clock, control, percpu, stack};
use system::Stopped;
use vault::step;

/// Where a CPU's record lies in its block.
const RECORD: u64 = percpu::DATA + 0x2000;
/// How long a stop may take before the machine is given up, in ms.
const PATIENCE: u64 = 2000;
/// How often the NMI is sent again, per ms.
const PER_MS: u64 = 10;

/// What a CPU says of itself when it stops.
#[repr(C)]
pub(crate) struct StopRecord {
    /// It runs guests: it has to be stopped.
    online: AtomicU32,
    /// The round for which it waits, plus one; 0 while it runs.
    waits: AtomicU32,
    /// Whose registers it holds, plus one.
    loaded: AtomicU32,
    spare: AtomicU32,
    /// In CPU 0's record: the leader plus one while a failure is being handled.
    leader: AtomicU32,
    /// In CPU 0's record: failures that are dealt with.
    round: AtomicU32,
    /// In CPU 0's record: the CPU plus one that is to finish its outbox now.
    turn: AtomicU32,
}

fn record(cpu: CpuId) -> &'static StopRecord {
    let at: *const StopRecord = core::ptr::with_exposed_provenance((percpu::block(cpu) + RECORD) as usize);
    // SAFETY: mapped for good, zeroed by boot, atomics only, used as nothing else.
    unsafe { &*at }
}

fn shared() -> &'static StopRecord {
    record(CpuId(0))
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

/// Makes this CPU the leader, or stops it if another is.
pub(crate) fn lead(frame: Option<&HostFrame>) {
    let own = this_cpu().0 + 1;
    let leads = match shared().leader.compare_exchange(0, own, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => true,
        // A failure of the recovery itself: the others still wait.
        Err(leader) => leader == own,
    };
    note(frame);
    if !leads {
        wait()
    }
}

/// Stops every other CPU. False: one does not answer.
pub(crate) fn stop_others() -> bool {
    let facts = sealed().facts;
    let apic = devices::local_apic(facts);
    let khz = facts.timing.tsc_khz;
    let is_running = |cpu: &CpuId| {
        *cpu != this_cpu()
            && record(*cpu).online.load(Ordering::Acquire) != 0
            && record(*cpu).waits.load(Ordering::Acquire) == 0
    };
    for _ in 0..PATIENCE * PER_MS {
        let mut left = 0;
        for cpu in (0..sealed().cpus).map(CpuId).filter(is_running) {
            left += 1;
            if let Some(target) = facts.cpus().get(cpu.0 as usize) {
                // SAFETY: every CPU's NMI gate leads to `on_nmi`.
                unsafe { apic.send(Ipi::Nmi, target.apic_id) };
            }
        }
        if left == 0 {
            return true;
        }
        clock::delay(1_000_000 / PER_MS, khz);
    }
    false
}

/// What every CPU that runs guests says of itself, for recovery.
pub(crate) fn stopped() -> impl Iterator<Item = Stopped> + Clone {
    let all = (0..sealed().cpus).map(CpuId);
    all.filter(|cpu| record(*cpu).online.load(Ordering::Acquire) != 0).map(stopped_at)
}

/// What one CPU says.
fn stopped_at(cpu: CpuId) -> Stopped {
    let loaded = record(cpu).loaded.load(Ordering::Relaxed);
    Stopped { cpu, loaded: (loaded != 0).then(|| VcpuSlot(loaded - 1)), unfinished_head: None }
}

/// Lets a CPU finish its outbox, on that CPU, and waits for it.
///
/// # Panics
/// Panics if it takes too long: the recovery is begun again.
pub(crate) fn finish_on(cpu: &Stopped) {
    if cpu.cpu == this_cpu() {
        run::system().finish(cpu);
        return;
    }
    let turn = &shared().turn;
    turn.store(cpu.cpu.0 + 1, Ordering::Release);
    let khz = sealed().facts.timing.tsc_khz;
    let done = clock::wait_until(PATIENCE * 1_000_000, khz, || turn.load(Ordering::Acquire) == 0);
    assert!(done, "CPU {} does not finish its outbox", cpu.cpu.0);
}

/// This CPU's turn: finishes its outbox in the new life, and waits for the others.
extern "C" fn own_turn() -> ! {
    stack::unblock_nmi();
    recovery::take_over();
    run::system().finish(&stopped_at(this_cpu()));
    shared().turn.store(0, Ordering::Release);
    wait()
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
pub(crate) fn on_nmi(frame: &HostFrame) {
    let leader = shared().leader.load(Ordering::Acquire);
    if leader == 0 || leader == this_cpu().0 + 1 {
        return;
    }
    if frame.cs & 3 != 0 {
        let Some(context) = attached() else { return };
        put_guest_frame(context, frame);
        context.registers.vector.set(pv_cpu::vector::NONE);
        note(None);
    } else if stubs::holds_registers(frame.rip) {
        return;
    } else {
        note(Some(frame));
    }
    wait()
}

/// Rust reached from a guest: stops if a leader wants it. The entry is not begun, its registers are complete.
#[inline]
pub(crate) fn check() {
    let leader = shared().leader.load(Ordering::Acquire);
    if leader != 0 && leader != this_cpu().0 + 1 {
        note(None);
        wait()
    }
}

/// Notes whose registers this CPU holds, and completes its log if it was stopped between a shared word and
/// the log's head: the registers that tell are gone afterwards.
fn note(frame: Option<&HostFrame>) {
    let Some(system) = run::installed() else { return };
    // A life that failed before it took over leaves what the one before it noted.
    if let Some(vcpu) = system.schedule.loaded(this_cpu()) {
        record(this_cpu()).loaded.store(vcpu.0 + 1, Ordering::Relaxed);
    }
    let unfinished =
        frame.and_then(|f| step::complete(&step::Stopped { rip: f.rip, rflags: f.rflags, r8: f.general[9] }));
    if let Some(head) = unfinished {
        system.state.logs[this_cpu().0 as usize].complete(head);
    }
}

/// Waits for the new life without touching a variable of the image, which changes meanwhile.
fn wait() -> ! {
    let own = record(this_cpu());
    let round = shared().round.load(Ordering::Acquire);
    // Release: what was noted is in memory.
    own.waits.store(round + 1, Ordering::Release);
    let top = percpu::block(this_cpu()) + percpu::STACK_TOP;
    // Acquire: pairs with `release_others` and `finish_on`.
    while shared().round.load(Ordering::Acquire) == round {
        if shared().turn.load(Ordering::Acquire) == this_cpu().0 + 1 {
            control::flush_tlb();
            // SAFETY: this CPU's own stack, which nobody needs any more.
            unsafe { stack::abandon_for(top, own_turn) }
        }
        spin_loop();
    }
    control::flush_tlb();
    // SAFETY: as above.
    unsafe { stack::abandon_for(top, recovery::another_cpus_life) }
}
