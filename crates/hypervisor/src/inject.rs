//! Failures on demand, for tests: a build with the feature `inject` fails when Dom0 asked for it, some steps
//! after it asked. Other builds have none of it.
//!
//! Dom0 asks by hypercall 63, which does not exist: its first argument says how many *points* to pass before
//! the failure, the second what kind it is (`kind`). Points are entries and accesses to guest memory, so that
//! the failure comes with the log closed, open or committed, as chance has it. The answer is the number of failures
//! since boot.

#![cfg_attr(feature = "inject", expect(unsafe_code, reason = "sends an NMI to this CPU"))]

#[cfg(feature = "inject")]
mod on {
    use crate::guest::hardware::this_cpu;
    use crate::guest::host::HostFrame;
    use crate::guest::{host, run};
    use crate::{devices, efi, recovery, sealed, stop};
    use core::hint::spin_loop;
    use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
    use ids::DomainSlot;
    use machine::apic::Ipi;
    use pv_cpu::{Context, Mode, Reg, vector};

    /// The hypercall that asks for a failure.
    const ASKED: u32 = 63;
    /// Its answer in a hypervisor that is not there to fail.
    const ENOSYS: u64 = -38_i64 as u64;

    /// What fails, as the second argument says it. Anything else: a panic.
    mod kind {
        /// A panic whenever this very hypercall is dispatched, with no points passed.
        pub(super) const AT_EACH_DISPATCH: u64 = 1;
        /// The CPU loops.
        pub(super) const HANG: u64 = 2;
        /// The CPU loops and holds a lock that all entries need now and then.
        pub(super) const HANG_LOCKED: u64 = 3;
        /// The CPU loops in an NMI's handler, so that it ignores others.
        pub(super) const IGNORE_NMI: u64 = 4;
        /// The same, and where it was before is not known.
        pub(super) const LOST: u64 = 5;
        /// A panic at the next point, and the recovery from it panics after the given number of points.
        pub(super) const RECOVERY: u64 = 6;
        /// The same, but the recovery loops.
        pub(super) const RECOVERY_HANG: u64 = 7;
        /// None.
        pub(super) const NONE: u64 = 8;
        /// The next NMI in the firmware loops, and nothing is known of it.
        pub(super) const FIRMWARE: u64 = 9;
    }

    /// Beside the points of a recovery: it is to loop.
    const HANGS: u32 = 1 << 31;

    /// Points left before the failure; 0: none is asked for. A new life starts with 0.
    static LEFT: AtomicU64 = AtomicU64::new(0);
    /// Its kind.
    static KIND: AtomicU64 = AtomicU64::new(0);
    /// The CPU, plus one, whose next NMI's handler loops; 0: none's.
    static NMI_LOOPS: AtomicU32 = AtomicU32::new(0);
    /// The handler of the next NMI in the firmware loops.
    static FIRMWARE_LOOPS: AtomicBool = AtomicBool::new(false);

    fn is_asked(context: &Context) -> bool {
        let registers = &context.registers;
        registers.vector.get() == vector::SYSCALL
            && context.mode() == Mode::Kernel
            && registers.error_code.get() == ASKED
    }

    /// An entry: sees whether Dom0 asks.
    pub(crate) fn entry(context: &Context) {
        if !is_asked(context) {
            pass(true);
            return;
        }
        let [points, kind, ..] = context.registers.arguments();
        let points = points.max(1);
        KIND.store(kind, Ordering::Relaxed);
        match kind {
            kind::AT_EACH_DISPATCH | kind::NONE => {}
            kind::RECOVERY | kind::RECOVERY_HANG => {
                let hangs = if kind == kind::RECOVERY_HANG { HANGS } else { 0 };
                stop::points_in_recovery().store(points as u32 | hangs, Ordering::Relaxed);
                LEFT.store(1, Ordering::Relaxed);
            }
            kind::FIRMWARE => FIRMWARE_LOOPS.store(true, Ordering::Relaxed),
            _ => LEFT.store(points, Ordering::Relaxed),
        }
    }

    /// An entry is over: Dom0's question is answered, unless its vCPU made room for another.
    pub(crate) fn answer(context: &Context, next: &Context) {
        if !core::ptr::eq(context, next) {
            return;
        }
        let registers = &context.registers;
        let asked = context.mode() == Mode::Kernel && registers.error_code.get() == ASKED;
        if asked && registers.get(Reg::Rax) == ENOSYS && registers.get(Reg::Rsi) == kind::NONE {
            registers.set(Reg::Rax, recovery::generation().into());
        }
    }

    /// A hypercall is dispatched, for the first time or again.
    pub(crate) fn dispatched() {
        let Some(context) = host::attached() else { return };
        let again = context.registers.get(Reg::Rsi) == kind::AT_EACH_DISPATCH;
        assert!(!again || !is_asked(context), "asked for by Dom0, at each dispatch");
    }

    /// A place where the failure may come.
    #[inline]
    pub(crate) fn point() {
        pass(false);
    }

    /// `at_entry`: it begins, so the log is closed.
    fn pass(at_entry: bool) {
        let left = LEFT.load(Ordering::Relaxed);
        let may_fail = at_entry || KIND.load(Ordering::Relaxed) != kind::HANG_LOCKED;
        if left == 0 || left == 1 && !may_fail {
            return;
        }
        // Of CPUs that are here together one alone fails: nobody is left to notice where all ignore NMIs.
        let passed = LEFT.compare_exchange(left, left - 1, Ordering::Relaxed, Ordering::Relaxed);
        if left == 1 && passed.is_ok() {
            fail();
        }
    }

    fn fail() {
        match KIND.load(Ordering::Relaxed) {
            kind::HANG => hang(),
            kind::HANG_LOCKED => hang_with_lock(),
            kind::IGNORE_NMI | kind::LOST => {
                NMI_LOOPS.store(this_cpu().0 + 1, Ordering::Release);
                let apic = devices::local_apic(sealed::sealed().facts);
                // SAFETY: to this CPU, whose NMI gate is set.
                unsafe { apic.send(Ipi::Nmi, apic.id()) };
                hang()
            }
            _ => panic!("asked for by Dom0"),
        }
    }

    /// The log is closed at an entry: a transaction can hold the lock.
    fn hang_with_lock() {
        let system = run::system();
        let mut journal = system.journal_beside();
        journal.log().begin();
        journal.change(|tx| {
            tx.lock(system.state.domain_locks.of(DomainSlot(0)));
            hang()
        })
    }

    fn hang() -> ! {
        loop {
            spin_loop();
        }
    }

    /// An NMI's handler begins.
    pub(crate) fn nmi(frame: &HostFrame) {
        if efi::is_in_firmware(frame) && FIRMWARE_LOOPS.swap(false, Ordering::AcqRel) {
            stop::forget_nmi();
            hang()
        }
        if NMI_LOOPS.load(Ordering::Acquire) == this_cpu().0 + 1 {
            NMI_LOOPS.store(0, Ordering::Release);
            if KIND.load(Ordering::Relaxed) == kind::LOST {
                stop::forget_nmi();
            }
            hang()
        }
    }

    /// A recovery begins: it fails if Dom0 asked for that, once.
    pub(crate) fn recovery_begins() {
        let points = stop::points_in_recovery().swap(0, Ordering::Relaxed);
        KIND.store(if points & HANGS != 0 { kind::HANG } else { 0 }, Ordering::Relaxed);
        LEFT.store((points & !HANGS).into(), Ordering::Relaxed);
    }
}
#[cfg(feature = "inject")]
pub(crate) use on::{answer, dispatched, entry, nmi, point, recovery_begins};

/// Nothing to do in this build.
#[cfg(not(feature = "inject"))]
mod off {
    #[inline(always)]
    pub(crate) fn entry(_: &pv_cpu::Context) {}
    #[inline(always)]
    pub(crate) fn answer(_: &pv_cpu::Context, _: &pv_cpu::Context) {}
    #[inline(always)]
    pub(crate) fn dispatched() {}
    #[inline(always)]
    pub(crate) fn point() {}
    #[inline(always)]
    pub(crate) fn nmi(_: &crate::guest::host::HostFrame) {}
    #[inline(always)]
    pub(crate) fn recovery_begins() {}
}
#[cfg(not(feature = "inject"))]
pub(crate) use off::{answer, dispatched, entry, nmi, point, recovery_begins};
