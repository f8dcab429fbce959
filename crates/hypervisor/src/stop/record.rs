//! The stop record: what a CPU says of itself, in its per-CPU block. State class: kept aside.
#![expect(unsafe_code, reason = "words at fixed addresses")]

use crate::cells;
use core::sync::atomic::{AtomicU32, AtomicU64};
use ids::CpuId;
use machine::percpu;

/// Where a CPU's record lies in its block.
const RECORD: u64 = cells::STOP_RECORD;
/// The address of the word that is the leader's number plus one while a failure is being handled.
pub(crate) const LEADER_WORD: u64 =
    percpu::block(CpuId(0)) + RECORD + core::mem::offset_of!(StopRecord, leader) as u64;

/// What a CPU says of itself when it stops.
#[repr(C)]
pub(crate) struct StopRecord {
    /// It runs guests: it has to be stopped.
    pub(super) online: AtomicU32,
    /// The round for which it waits, plus one; 0 while it runs.
    pub(super) waits: AtomicU32,
    /// Whose registers it holds, plus one.
    pub(super) loaded: AtomicU32,
    spare: AtomicU32,
    /// In CPU 0's record: the leader plus one while a failure is being handled.
    pub(super) leader: AtomicU32,
    /// In CPU 0's record: failures that are dealt with.
    pub(super) round: AtomicU32,
    /// In CPU 0's record: the CPU plus one that is to finish its outbox now; [`FAILED`](super::FAILED) if it cannot.
    pub(super) turn: AtomicU32,
    /// In CPU 0's record: points (`inject`) after which the next recovery fails; 0: it does not.
    pub(super) points: AtomicU32,
    /// It was taken over by INIT: a [`Taken`](super::Taken).
    pub(super) taken: AtomicU32,
    /// Where the frame of the NMI lies whose handler runs; 0: none does.
    pub(super) nmi: AtomicU64,
    /// When that came: FS base, GS base, the other GS base.
    pub(super) bases: [AtomicU64; 3],
    /// The root of the page tables.
    pub(super) root: AtomicU64,
    /// The address of the last page fault.
    pub(super) fault_address: AtomicU64,
    /// ds, es, fs, gs, lowest first.
    pub(super) selectors: AtomicU64,
    /// In CPU 0's record: see [`deadline`](super::deadline).
    pub(super) deadline: AtomicU64,
    /// Its last machine check: number of a bank with an error, plus one; 0: there was none.
    pub(super) bank: AtomicU32,
    /// Where it was is noted: an NMI finds nothing new.
    pub(super) noted: AtomicU32,
    /// The round whose end it awaits, plus one; 0: it has begun its new life.
    pub(super) awaits: AtomicU32,
    /// What the processor and that bank said.
    pub(super) check: [AtomicU64; 3],
    /// NMIs it took since boot.
    pub(super) nmis: AtomicU32,
    /// It finishes its outbox: a failure is its entry's.
    pub(super) finishing: AtomicU32,
    /// The vector of a failure that waits for the end of entry or exit code, and above it how many came there; 0: none.
    pub(super) deferred: AtomicU32,
    /// In CPU 0's record: reasons of the machine's NMIs that Dom0 has not been told of.
    pub(super) machine_nmis: AtomicU32,
}

/// A CPU's.
pub(super) fn record(cpu: CpuId) -> &'static StopRecord {
    let at: *const StopRecord = core::ptr::with_exposed_provenance((percpu::block(cpu) + RECORD) as usize);
    // SAFETY: mapped for good, zeroed by boot, atomics only, used as nothing else.
    unsafe { &*at }
}

/// CPU 0's, which has the words that there is one of.
pub(super) fn shared() -> &'static StopRecord {
    record(CpuId(0))
}
