//! TLB shootdown: a CPU that changed mappings waits until no other CPU runs a guest on stale ones.
//!
//! A CPU in the hypervisor flushes before it next runs a guest, so only CPUs that run guests are interrupted
//! and waited for. Nobody waits while it holds a lock (the outbox is empty by then), and who waits serves its
//! own request. Derived: every start flushes all CPUs.

use crate::guest::hardware::this_cpu;
use crate::guest::run;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use ids::CpuId;
use machine::{control, percpu};
use system::Platform;

const CPUS: usize = percpu::MAX_CPUS as usize;

/// Whether a CPU must flush before it runs a guest again.
static WANTED: [AtomicBool; CPUS] = [const { AtomicBool::new(false) }; CPUS];
/// Crossings of the border between hypervisor and guests; odd: the CPU runs a guest, or is about to.
static CROSSINGS: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
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
    cross(cpu, false);
    serve(cpu);
}

/// How often a CPU went to guests and came back; odd: it runs one, or is about to.
pub(crate) fn crossings(cpu: CpuId) -> u64 {
    CROSSINGS[cpu.0 as usize].load(Ordering::SeqCst)
}

/// Only the CPU itself writes its word.
#[inline(always)]
fn cross(cpu: usize, to_guest: bool) {
    let crossings = CROSSINGS[cpu].load(Ordering::Relaxed);
    let next = if to_guest { crossings | 1 } else { (crossings | 1).wrapping_add(1) };
    CROSSINGS[cpu].store(next, Ordering::SeqCst);
}

/// This CPU is about to run a guest. The order is that of `wait`: each side writes its word before it reads
/// the other's.
#[inline]
pub(crate) fn leaving(cpu: CpuId) {
    let cpu = cpu.0 as usize;
    loop {
        cross(cpu, true);
        if !WANTED[cpu].load(Ordering::SeqCst) {
            return;
        }
        cross(cpu, false);
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
        let stale = || crossings(CpuId(cpu)) & 1 != 0 && WANTED[cpu as usize].load(Ordering::SeqCst);
        if stale() {
            run::system().platform.kick(CpuId(cpu));
        }
        while stale() {
            serve(own as usize);
            spin_loop();
        }
    }
}
