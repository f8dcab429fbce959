//! The one place where a shared word and the log change together.
//!
//! On the machine it is three instructions with known addresses: `lock cmpxchg`, a branch, the store of
//! the log head. A CPU stopped anywhere in them has the answer in its registers: at the branch the zero
//! flag says whether the exchange happened, behind it it did. [`complete`] reads that and finishes the
//! store. On the host the simulator's crash points stand for the same three places.

use core::sync::atomic::AtomicU64;
#[cfg(not(target_os = "none"))]
use core::sync::atomic::Ordering;

#[cfg(feature = "crash-points")]
pub use crash::{arm, arm_pause, disarm, pause, point};

/// Between two looks at what another CPU holds.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn pause() {
    core::hint::spin_loop();
}

/// Does nothing: crash points exist only in host builds that ask for them.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point() {}

/// Exchanges `*word` from `old` to `new` and, if that happened, stores `after` in `*head`, as one step
/// for recovery. Returns whether it happened.
#[cfg(target_os = "none")]
#[inline(always)]
#[expect(unsafe_code, reason = "the labelled sequence is assembly")]
pub(crate) fn exchange(word: &AtomicU64, old: u64, new: u64, head: &AtomicU64, after: u64) -> bool {
    let done: u64;
    // SAFETY: both pointers come from references to atomics, so the accesses are in bounds, aligned and
    // race-free by construction; rax, rdx, rsi, rdi and r8 are declared, the flags are clobbered by
    // default, and the call to the sequence uses no stack beyond its return address.
    unsafe {
        core::arch::asm!(
            "call {sequence}",
            sequence = sym revenant_step_sequence,
            inout("rax") old => done,
            in("rdi") word.as_ptr(),
            in("rsi") head.as_ptr(),
            in("rdx") new,
            in("r8") after,
        );
    }
    done != 0
}

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "the labelled sequence is assembly")]
mod sequence {
    core::arch::global_asm!(
        ".pushsection .text.step, \"ax\", @progbits",
        ".global revenant_step_sequence, revenant_step_exchanged, revenant_step_stored",
        "revenant_step_sequence:",
        "lock cmpxchg [rdi], rdx",
        "revenant_step_exchanged:",
        "jne 2f",
        "mov [rsi], r8",
        "revenant_step_stored:",
        "mov eax, 1",
        "ret",
        "2: xor eax, eax",
        "ret",
        ".popsection",
    );
    unsafe extern "C" {
        pub(super) fn revenant_step_sequence();
        pub(super) fn revenant_step_exchanged();
        pub(super) fn revenant_step_stored();
    }
}
#[cfg(target_os = "none")]
use sequence::revenant_step_sequence;

/// The registers of a stopped CPU that tell whether a step happened.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    /// Instruction pointer at the stop.
    pub rip: u64,
    /// Flags at the stop; bit 6 is the zero flag.
    pub rflags: u64,
    /// R8 at the stop: the head value of an unfinished step.
    pub r8: u64,
}

/// Whether a CPU stopped with these registers had exchanged its word without storing its log head; then
/// the head to store.
#[cfg(target_os = "none")]
pub fn complete(stopped: &Stopped) -> Option<u64> {
    let exchanged = sequence::revenant_step_exchanged as *const () as u64;
    let stored = sequence::revenant_step_stored as *const () as u64;
    let happened = stopped.rip > exchanged && stopped.rip < stored
        || stopped.rip == exchanged && stopped.rflags & 1 << 6 != 0;
    happened.then_some(stopped.r8)
}

/// The addresses at which a CPU may have exchanged its word without having stored its log head: for those who look at
/// a machine from outside.
#[cfg(target_os = "none")]
pub fn between() -> core::ops::Range<u64> {
    let exchanged = sequence::revenant_step_exchanged as *const () as u64;
    exchanged..sequence::revenant_step_stored as *const () as u64
}

/// Host form: an exchange with a crash point on either side; see [`crash`](self).
#[cfg(not(target_os = "none"))]
pub(crate) fn exchange(word: &AtomicU64, old: u64, new: u64, head: &AtomicU64, after: u64) -> bool {
    point();
    if word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return false;
    }
    // A crash between the exchange and the store is always told from the registers, so recovery sees the
    // head as stored: the simulator's crash point is behind both.
    head.store(after, Ordering::Release);
    point();
    true
}

#[cfg(feature = "crash-points")]
mod crash {
    use std::boxed::Box;
    use std::cell::RefCell;

    std::thread_local! {
        static HOOK: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
        static PAUSE: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
    }

    /// Sets what this thread calls at every durable step. The hook crashes by panicking.
    pub fn arm(hook: impl FnMut() + 'static) {
        HOOK.with(|h| *h.borrow_mut() = Some(Box::new(hook)));
    }

    /// Sets what this thread calls while it waits for another CPU; without, it spins.
    pub fn arm_pause(hook: impl FnMut() + 'static) {
        PAUSE.with(|h| *h.borrow_mut() = Some(Box::new(hook)));
    }

    /// Removes this thread's hooks.
    pub fn disarm() {
        HOOK.with(|h| h.borrow_mut().take());
        PAUSE.with(|h| h.borrow_mut().take());
    }

    /// Between two looks at what another CPU holds.
    pub fn pause() {
        PAUSE.with(|h| match h.borrow_mut().as_mut() {
            Some(hook) => hook(),
            None => core::hint::spin_loop(),
        });
    }

    /// A durable step happens here.
    pub fn point() {
        HOOK.with(|h| {
            if let Ok(mut hook) = h.try_borrow_mut()
                && let Some(hook) = hook.as_mut()
            {
                hook();
            }
        });
    }
}
