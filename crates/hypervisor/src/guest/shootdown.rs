//! TLB shootdown: a CPU that changed mappings waits until no other CPU runs a guest on stale ones.
//!
//! A CPU in the hypervisor flushes before it next runs a guest, so only CPUs that run guests are interrupted
//! and waited for. Nobody waits while it holds a lock (the outbox is empty by then), and who waits serves its
//! own request. Derived: every start flushes all CPUs.

use crate::guest::hardware::this_cpu;
use crate::guest::run;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, Ordering};
use ids::CpuId;
use machine::{control, percpu};
use system::Platform;

const CPUS: usize = percpu::MAX_CPUS as usize;

/// Whether a CPU must flush before it runs a guest again.
static WANTED: [AtomicBool; CPUS] = [const { AtomicBool::new(false) }; CPUS];
/// Whether a CPU runs a guest, or is about to.
static IN_GUEST: [AtomicBool; CPUS] = [const { AtomicBool::new(false) }; CPUS];
/// Whether a CPU has asked others and not waited for them yet.
static ASKED: [AtomicBool; CPUS] = [const { AtomicBool::new(false) }; CPUS];

#[inline]
fn serve(cpu: usize) {
    if WANTED[cpu].load(Ordering::SeqCst) {
        serve_wanted(cpu);
    }
}

#[cold]
fn serve_wanted(cpu: usize) {
    if WANTED[cpu].swap(false, Ordering::SeqCst) {
        control::flush_tlb();
    }
}

/// This CPU entered the hypervisor from a guest.
#[inline]
pub(crate) fn entered(cpu: CpuId) {
    let cpu = cpu.0 as usize;
    IN_GUEST[cpu].store(false, Ordering::SeqCst);
    serve(cpu);
}

/// This CPU is about to run a guest. The order is that of `wait`: each side writes its word before it reads
/// the other's.
#[inline]
pub(crate) fn leaving(cpu: CpuId) {
    let cpu = cpu.0 as usize;
    loop {
        IN_GUEST[cpu].store(true, Ordering::SeqCst);
        if !WANTED[cpu].load(Ordering::SeqCst) {
            return;
        }
        IN_GUEST[cpu].store(false, Ordering::SeqCst);
        serve(cpu);
    }
}

/// Asks all other CPUs to flush; [`wait`] when no lock is held.
pub(crate) fn ask(cpus: u32) {
    let own = this_cpu().0;
    for cpu in (0..cpus).filter(|cpu| *cpu != own) {
        WANTED[cpu as usize].store(true, Ordering::SeqCst);
    }
    ASKED[own as usize].store(cpus > 1, Ordering::Relaxed);
}

/// Waits until no other CPU runs a guest without having flushed.
#[inline]
pub(crate) fn wait(cpus: u32) {
    let own = this_cpu().0;
    if !ASKED[own as usize].swap(false, Ordering::Relaxed) {
        return;
    }
    for cpu in (0..cpus).filter(|cpu| *cpu != own) {
        let stale =
            || IN_GUEST[cpu as usize].load(Ordering::SeqCst) && WANTED[cpu as usize].load(Ordering::SeqCst);
        if stale() {
            run::system().platform.kick(CpuId(cpu));
        }
        while stale() {
            serve(own as usize);
            spin_loop();
        }
    }
}
