//! Guests that are guarded against speculation: page tables that do not show the hypervisor, and what entries and exits
//! clear. Which guards there are is in the plan that boot made (`mitigations`); without any the plain stubs are used.
//!
//! The hypervisor runs on the guest's own root table, which has all of its slots; the guest runs on a copy of the
//! CPU's own (`machine::isolation`). A CPU keeps the copies of the tables that it used last. A copy is good as long as
//! nothing was written to the table it was made from: each write of the hypervisor to a root table ([`written`]) revokes
//! the copies of that table, and asks the CPUs that run on them for a flush, which is waited for when the outbox is
//! empty. On its way to the guest a CPU whose copy was revoked makes another. Guests cannot write to a live root table
//! themselves, and one that becomes a root table anew gets the hypervisor's slots written, so its copies are revoked too.
//!
//! State class: derived. Every start writes the fixed tables and forgets all copies.
#![expect(unsafe_code, reason = "words of the entry pages; page tables")]

use super::hardware::{Existing, this_cpu};
use super::host::HostFrame;
use super::{run, shootdown, stubs};
use crate::cells;
use crate::sealed::sealed;
use boot_info::Range;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use ids::{CpuId, Maddr, Mfn};
use machine::isolation::{GUEST_SLOTS, Isolation, WAYS};
use machine::paging::PageTables;
use machine::{control, direct, layout, percpu, tables};
use mitigations::{Plan, Sequence};
use pv_cpu::{Context, Mode};
use system::Flush;

/// What entries and exits do besides changing page tables: bits of [`cells::GUARDS`].
pub(super) mod guards {
    /// Clear the branch history by the short sequence.
    pub(in crate::guest) const HISTORY_SHORT: u32 = 1 << 0;
    /// Clear it by the long one.
    pub(in crate::guest) const HISTORY_LONG: u32 = 1 << 1;
    /// Fill the return stack.
    pub(in crate::guest) const RETURNS: u32 = 1 << 2;
    /// Load SPEC_CTRL, both ways.
    pub(in crate::guest) const SPEC_CTRL: u32 = 1 << 3;
    /// An indirect branch prediction barrier.
    pub(in crate::guest) const BARRIER: u32 = 1 << 4;
    /// On the way out: clear buffers by VERW.
    pub(in crate::guest) const VERW: u32 = 1 << 5;
    /// On the way out: overwrite what the divider holds.
    pub(in crate::guest) const DIVIDER: u32 = 1 << 6;
    /// Those of the way in.
    pub(in crate::guest) const AT_ENTRY: u32 = HISTORY_SHORT | HISTORY_LONG | RETURNS | SPEC_CTRL | BARRIER;
    /// Those that the way out has to look for.
    pub(in crate::guest) const AT_EXIT: u32 = SPEC_CTRL | DIVIDER;
}

// SAFETY: labels of `guarded_code`; only their addresses are taken.
unsafe extern "C" {
    /// As `stubs::revenant_vectors`.
    pub(crate) static revenant_guarded_vectors: u8;
    /// As `stubs::revenant_syscall64`.
    pub(crate) static revenant_guarded_syscall64: u8;
    /// As `stubs::revenant_syscall32`.
    pub(crate) static revenant_guarded_syscall32: u8;
    /// As `stubs::revenant_sysenter`; RSP is the end of the CPU's entry page.
    pub(crate) static revenant_guarded_sysenter: u8;
    static revenant_guarded_return: u8;
    static revenant_guarded_start: u8;
    static revenant_guarded_end: u8;
    static revenant_guarded_swift_start: u8;
    static revenant_guarded_swift_end: u8;
    static revenant_guarded_tail: u8;
    static revenant_guarded_iret: u8;
    static revenant_from_guest: u8;
    static revenant_guarded_save: u8;
    static revenant_guarded_resume: u8;
    static revenant_bounce_leaves: u8;
    static revenant_fault_leaves: u8;
    static revenant_guarded_sysret: u8;
    static revenant_return_leaves: u8;
    static revenant_guarded_leave_swiftly: u8;
}

/// Whether the guarded stubs are used. Derived; set by every start.
static GUARDED: AtomicBool = AtomicBool::new(false);
/// Whether page tables are isolated. Derived; set by every start.
static ISOLATED: AtomicBool = AtomicBool::new(false);

/// Whether the guarded stubs are used.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    GUARDED.load(Ordering::Relaxed)
}

/// Memory for isolated page tables from `take` (bytes), if the plan wants them: boot's.
pub(crate) fn reserve(plan: &Plan, cpus: u32, take: impl FnOnce(u64) -> Range) -> Option<Isolation> {
    if !plan.xpti.dom0 {
        return None;
    }
    let range = take(Isolation::bytes(cpus));
    // SAFETY: just taken.
    unsafe { direct::zero(Maddr(range.start), range.len() as usize) };
    Some(Isolation::new(Maddr(range.start), cpus))
}

/// Brings plan and image together: by every start, before any CPU loads its entry points.
///
/// # Panics
/// Panics if the entry code is not mapped as the linker script says.
pub(crate) fn start() {
    let record = sealed();
    GUARDED.store(is_wanted(&record.mitigations), Ordering::Relaxed);
    ISOLATED.store(record.isolation.is_some(), Ordering::Relaxed);
    let Some(isolation) = record.isolation else { return };
    let [start, end] = code();
    let built = isolation.build(
        PageTables::at(record.root),
        &mut Existing,
        start..end.next_multiple_of(ids::FRAME_SIZE),
    );
    assert_eq!(built, Ok(()), "isolated page tables");
    for cpu in (0..record.cpus).map(CpuId) {
        let (used, all) = (copied(cpu), copies(cpu));
        used.iter().chain(&all).for_each(|word| word.store(0, Ordering::Relaxed));
        word(cpu, cells::FILLING).store(0, Ordering::Relaxed);
    }
}

/// Turns the plain stubs to the guarded ones where they enter Rust and where they leave to the guest, if the plan wants
/// that: in the first image, before it is copied and sealed. So unguarded guests pay nothing.
///
/// # Safety
/// The boot tables are in use, which map the image writable, and no stub has run yet.
pub(crate) unsafe fn install(plan: &Plan) {
    /// `jmp` to a distance.
    const JUMP: u8 = 0xe9;
    if !is_wanted(plan) {
        return;
    }
    let resume: *const u8 = (stubs::revenant_resume as *const ()).cast();
    for (site, to) in [
        (&raw const revenant_from_guest, &raw const revenant_guarded_save),
        (resume, &raw const revenant_guarded_resume),
        (&raw const revenant_bounce_leaves, &raw const revenant_guarded_sysret),
        (&raw const revenant_fault_leaves, &raw const revenant_guarded_sysret),
        (&raw const revenant_return_leaves, &raw const revenant_guarded_leave_swiftly),
    ] {
        let [d0, d1, d2, d3] = (to.addr() as i32).wrapping_sub(site.addr() as i32 + 5).to_le_bytes();
        // SAFETY: the caller's promise; whole instructions of five bytes or more stand there, nothing jumps between.
        unsafe { site.cast_mut().cast::<[u8; 5]>().write_volatile([JUMP, d0, d1, d2, d3]) };
    }
}

fn is_wanted(plan: &Plan) -> bool {
    plan.xpti.dom0 || entry_guards(plan) != 0
}

fn entry_guards(plan: &Plan) -> u32 {
    let history = match plan.history_at_entry {
        Sequence::None => 0,
        Sequence::Short => guards::HISTORY_SHORT,
        Sequence::Long => guards::HISTORY_LONG,
    };
    [
        (plan.returns_at_entry, guards::RETURNS),
        (plan.spec_ctrl.is_some(), guards::SPEC_CTRL),
        (plan.barrier_at_entry, guards::BARRIER),
        (plan.verw_at_exit, guards::VERW),
        (plan.divider_at_exit, guards::DIVIDER),
    ]
    .into_iter()
    .filter(|(wanted, _)| *wanted)
    .fold(history, |all, (_, bit)| all | bit)
}

/// Writes this CPU's cells; with its entry points.
pub(crate) fn load_cells(cpu: CpuId) {
    let record = sealed();
    let plan = &record.mitigations;
    guards_of(cpu).store(entry_guards(plan), Ordering::Relaxed);
    let values = plan.spec_ctrl.unwrap_or_default();
    word(cpu, cells::SPEC_CTRL).store(values.hypervisor, Ordering::Relaxed);
    word(cpu, cells::SPEC_CTRL + 8).store(values.guest, Ordering::Relaxed);
    word(cpu, cells::SELECTOR).store(tables::HYPERVISOR_DS.into(), Ordering::Relaxed);
    if let Some(isolation) = record.isolation {
        for (way, place) in roots(cpu).iter().enumerate() {
            place.store(isolation.root(cpu, way).0, Ordering::Relaxed);
        }
    }
}

/// Writes what is written once on each CPU; with its entry points.
pub(crate) fn load_registers() {
    const MCU_OPT_CTRL: u32 = 0x123;
    const RNGDS_MITG_DIS: u64 = 1 << 0;
    if let Some(locks) = sealed().mitigations.random_lock {
        // SAFETY: the plan says that the CPU has it.
        let old = unsafe { control::read_msr(MCU_OPT_CTRL) };
        let new = if locks { old & !RNGDS_MITG_DIS } else { old | RNGDS_MITG_DIS };
        // SAFETY: as above; the bit costs time only.
        unsafe { control::write_msr(MCU_OPT_CTRL, new) };
    }
}

/// This CPU goes to another vCPU: what one has taught the predictors is not for the next.
pub(super) fn switched() {
    const PRED_CMD: u32 = 0x49;
    if sealed().mitigations.barrier_at_switch {
        // SAFETY: the plan says that the CPU has it; a barrier costs time only.
        unsafe { control::write_msr(PRED_CMD, 1) };
    }
}

/// What the processor takes for RSP0: the end of the vCPU's frame, or of the entry page.
pub(super) fn entry_stack(cpu: CpuId, frame_end: u64) -> u64 {
    if is_on() { percpu::block(cpu) + percpu::ENTRY_TOP } else { frame_end }
}

/// The hypervisor uses `root` on this CPU from now on.
#[inline(always)]
pub(super) fn root_loaded(root: Mfn) {
    if ISOLATED.load(Ordering::Relaxed) {
        word(this_cpu(), cells::HOST_ROOT).store(root.maddr().0, Ordering::Relaxed);
    }
}

/// The hypervisor has written to a word of guest memory, which may be part of a root table.
#[inline(always)]
pub(super) fn written(at: Maddr) {
    if ISOLATED.load(Ordering::Relaxed) && may_be_root(at.mfn()) {
        revoke(at.mfn().maddr());
    }
}

/// Whether a frame may be a root table. One that became something else is revoked when it becomes one again.
#[inline]
fn may_be_root(mfn: Mfn) -> bool {
    let frame = run::installed().and_then(|system| system.state.frames.frame(mfn));
    frame.is_none_or(|frame| frame.usage().kind().level() == Some(4))
}

/// Revokes the copies of a root table on all CPUs.
#[cold]
fn revoke(table: Maddr) {
    // Pairs with the one in `copy_root`: the word is written before copies are looked for.
    fence(Ordering::SeqCst);
    let take_back = |word: &AtomicU64| {
        word.load(Ordering::Relaxed) == table.0
            && word.compare_exchange(table.0, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    let own = this_cpu();
    for cpu in (0..sealed().cpus).map(CpuId) {
        // In this order: who takes a copy into use looks afterwards whether it is good still.
        copies(cpu).iter().for_each(|word| {
            take_back(word);
        });
        for word in copied(cpu) {
            if take_back(word) && cpu != own {
                shootdown::ask(cpu, Flush::All);
            }
        }
    }
}

/// Takes a copy of the root in use into use, for the mode that this CPU's vCPU is in, and makes it if there is none: on
/// the way to it.
pub(super) extern "C" fn copy_root(context: &Context) {
    let Some(isolation) = sealed().isolation else { return };
    let cpu = this_cpu();
    let which = usize::from(context.mode() != Mode::Kernel);
    let root = Maddr(word(cpu, cells::HOST_ROOT).load(Ordering::Relaxed));
    let copies = copies(cpu);
    let found = copies.iter().position(|of| of.load(Ordering::Relaxed) == root.0);
    let way = found.unwrap_or_else(|| give_away(isolation, cpu, which ^ 1));
    let copy = isolation.root(cpu, way);
    let filling = word(cpu, cells::FILLING);
    if found.is_none() {
        // For who looks at the stopped machine: what follows is no copy yet.
        filling.store(copy.0, Ordering::Relaxed);
        copies[way].store(root.0, Ordering::Release);
    }
    roots(cpu)[which].store(copy.0, Ordering::Relaxed);
    // From here on a write revokes it. Pairs with the fence of `revoke`: what is written later finds these words.
    copied(cpu)[which].store(root.0, Ordering::Release);
    fence(Ordering::SeqCst);
    if found.is_some() {
        // Revoked meanwhile, it is not in use either, or soon not: there is another round.
        if copies[way].load(Ordering::Acquire) != root.0 {
            copied(cpu)[which].store(0, Ordering::Release);
        }
        return;
    }
    let m2p = layout::l4_index(layout::M2P);
    for slots in [GUEST_SLOTS[0].start..m2p + 1, GUEST_SLOTS[1].clone()] {
        let [from, to] = [root, copy].map(|table| Maddr(table.0 + 8 * slots.start as u64));
        // SAFETY: a validated root table, which other CPUs change by single words, and this CPU's own copy of it.
        unsafe { direct::copy_words(from, to, slots.len()) };
    }
    filling.store(0, Ordering::Release);
}

/// The next of this CPU's isolated roots in turn, but for the one in use for the `other` mode.
fn give_away(isolation: Isolation, cpu: CpuId, other: usize) -> usize {
    let next = word(cpu, cells::NEXT_COPY);
    let way = next.load(Ordering::Relaxed) as usize % WAYS;
    let used = roots(cpu)[other].load(Ordering::Relaxed);
    let way = if isolation.root(cpu, way).0 == used { (way + 1) % WAYS } else { way };
    next.store(way as u64 + 1, Ordering::Relaxed);
    way
}

/// An NMI or machine check hit the exit code behind the load of CR3: it goes back to before that, for the handler has
/// loaded the hypervisor's.
pub(super) fn rewind(frame: &mut HostFrame) {
    let [tail, iret] = [&raw const revenant_guarded_tail, &raw const revenant_guarded_iret].map(address);
    if frame.cs & 3 == 0 && (tail..=iret).contains(&frame.rip) {
        // The word popped last still stands below the stack pointer.
        frame.rsp -= if frame.rip == iret { 8 } else { 0 };
        frame.rip = tail;
    }
}

/// Whether `rip` is in the guarded stubs.
pub(super) fn contains(rip: u64) -> bool {
    let [start, end] = code();
    let swift = [&raw const revenant_guarded_swift_start, &raw const revenant_guarded_swift_end].map(address);
    (start..end).contains(&rip) || (swift[0]..swift[1]).contains(&rip)
}

/// Whether `rip` is in the guarded entry code, which changes registers before the plain stubs save them.
pub(crate) fn is_entering(rip: u64) -> bool {
    let back = [&raw const revenant_guarded_return, &raw const revenant_guarded_syscall64].map(address);
    contains(rip) && !(back[0]..back[1]).contains(&rip)
}

/// The entry code: what isolated page tables show of the image.
pub(crate) fn code() -> [u64; 2] {
    [&raw const revenant_guarded_start, &raw const revenant_guarded_end].map(address)
}

fn address(label: *const u8) -> u64 {
    label.addr() as u64
}

fn word(cpu: CpuId, cell: u64) -> &'static AtomicU64 {
    let at: *const AtomicU64 = core::ptr::with_exposed_provenance((percpu::block(cpu) + cell) as usize);
    // SAFETY: in the CPU's entry page or data, mapped for good, zeroed by boot, used as nothing else.
    unsafe { &*at }
}

fn guards_of(cpu: CpuId) -> &'static AtomicU32 {
    let at: *const AtomicU32 =
        core::ptr::with_exposed_provenance((percpu::block(cpu) + cells::GUARDS) as usize);
    // SAFETY: as for `word`.
    unsafe { &*at }
}

fn words<const N: usize>(cpu: CpuId, cell: u64) -> [&'static AtomicU64; N] {
    core::array::from_fn(|index| word(cpu, cell + 8 * index as u64))
}

/// Of which tables there are copies in use, for the kernel's and for user mode.
fn copied(cpu: CpuId) -> [&'static AtomicU64; 2] {
    words(cpu, cells::COPIED)
}

/// Those copies.
fn roots(cpu: CpuId) -> [&'static AtomicU64; 2] {
    words(cpu, cells::ROOTS)
}

/// Of which table each isolated root is a copy.
fn copies(cpu: CpuId) -> [&'static AtomicU64; WAYS] {
    words(cpu, cells::COPIES)
}
