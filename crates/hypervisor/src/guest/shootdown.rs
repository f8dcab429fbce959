//! TLB shootdown: a CPU that changed mappings waits until every other CPU has forgotten the old ones.
//!
//! The hypervisor itself uses a guest's translations when it copies to and from guest addresses, so a CPU is
//! waited for wherever it is, unless it is *idle*: then it flushes before it does anything else. The others are
//! kicked. A kick comes at once in a guest and on the way back to it otherwise, hence entries and exits need no
//! word of their own here. Nobody waits while it holds a lock (the outbox is empty by then), and who waits serves
//! its own request. Derived: every start flushes all CPUs.

use crate::guest::hardware::this_cpu;
use crate::guest::run;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use ids::{CpuId, Gva};
use machine::{control, percpu};
use system::{Flush, Platform};

const CPUS: usize = percpu::MAX_CPUS as usize;

/// What a CPU is to forget: [`NOTHING`], [`ALL`], or the [`PAGE`] in the other bits.
static WANTED: [AtomicU64; CPUS] = [const { AtomicU64::new(NOTHING) }; CPUS];
const NOTHING: u64 = 0;
const ALL: u64 = 1;
const PAGE: u64 = 2;
/// Whether a CPU may use translations; the others are idle, stopped or not started.
static ACTIVE: [AtomicBool; CPUS] = [const { AtomicBool::new(false) }; CPUS];
/// Whether a CPU has asked others and not waited for them yet.
static ASKED: [AtomicBool; CPUS] = [const { AtomicBool::new(false) }; CPUS];

fn word_of(what: Flush) -> u64 {
    match what {
        Flush::All => ALL,
        Flush::Page(Gva(page)) => page & !0xfff | PAGE,
    }
}

fn want(cpu: u32, what: u64) {
    let wanted = &WANTED[cpu as usize];
    if wanted.compare_exchange(NOTHING, what, Ordering::SeqCst, Ordering::SeqCst).is_err() {
        wanted.store(ALL, Ordering::SeqCst);
    }
}

fn is_wanted(cpu: u32) -> bool {
    WANTED[cpu as usize].load(Ordering::SeqCst) != NOTHING
}

/// Flushes if that is wanted of this CPU: with every interrupt, a kick among them.
#[inline]
pub(crate) fn serve(cpu: CpuId) {
    if is_wanted(cpu.0) {
        forget(&WANTED[cpu.0 as usize]);
    }
}

#[cold]
fn forget(wanted: &AtomicU64) {
    loop {
        let what = wanted.load(Ordering::SeqCst);
        match what {
            NOTHING => return,
            ALL => control::flush_tlb(),
            page => control::flush_page(page & !0xfff),
        }
        // Behind the flush: who waits goes on now. Who asked meanwhile is served too.
        let _ = wanted.compare_exchange(what, NOTHING, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// This CPU begins to wait for an interrupt, or to use translations again. The order is that of [`wait`]: each
/// side writes its word before it reads the other's.
pub(crate) fn set_active(active: bool) {
    let cpu = this_cpu();
    ACTIVE[cpu.0 as usize].store(active, Ordering::SeqCst);
    if active {
        serve(cpu);
    }
}

/// Asks another CPU to flush; [`wait`] when no lock is held.
pub(crate) fn ask(cpu: CpuId, what: Flush) {
    want(cpu.0, word_of(what));
    ASKED[this_cpu().0 as usize].store(true, Ordering::Relaxed);
}

/// Waits until all that were asked by this CPU, `own`, have flushed or are idle.
#[inline]
pub(crate) fn wait(own: CpuId, cpus: u32) {
    let asked = &ASKED[own.0 as usize];
    if asked.load(Ordering::Relaxed) {
        asked.store(false, Ordering::Relaxed);
        wait_for_others(own, cpus);
    }
}

#[cold]
fn wait_for_others(own: CpuId, cpus: u32) {
    let is_stale = |cpu: u32| ACTIVE[cpu as usize].load(Ordering::SeqCst) && is_wanted(cpu);
    for cpu in (0..cpus).filter(|cpu| *cpu != own.0 && is_stale(*cpu)) {
        run::system().platform.kick(CpuId(cpu));
    }
    for cpu in (0..cpus).filter(|cpu| *cpu != own.0) {
        while is_stale(cpu) {
            serve(own);
            spin_loop();
        }
    }
}
