//! Bouncing an exception, system call or event to the guest's kernel.

use crate::context::{Callback, Context, Mode};
use crate::registers::Reg;
use crate::transfer::{Turn, prepare};
use ids::{Gva, Maddr};
use xen_abi::arch::{FLAT_RING3_CS64, FLAT_RING3_SS64};

/// Where and how to enter the guest's kernel.
#[derive(Debug, Clone, Copy)]
pub struct Bounce {
    /// The handler.
    pub address: u64,
    /// Whether events are masked on entry.
    pub mask: bool,
    /// The handler is that of an NMI.
    pub is_nmi: bool,
    /// Error code to push.
    pub error: Option<u32>,
    /// Data selectors to push (ds, es, fs, gs): only for the failsafe callback.
    pub segments: Option<[u16; 4]>,
    /// Instruction pointer to push, when it is not the frame's.
    pub rip: u64,
}

/// The frame cannot be written to the kernel's stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackFault;

/// Vector of an NMI.
const NMI: u8 = 2;
/// Flag of a trap table's entry: its handler runs with events masked (`TI_SET_IF`).
pub const TRAP_MASKS: u8 = 4;
/// Words of the largest frame.
const MAX_WORDS: usize = 12;
const EFLAGS_IF: u64 = 1 << 9;
/// TF, NT, RF, VM and AC are clear in a handler. So is DF, unlike on Xen: a process that makes a system call with it
/// set would have the kernel copy backwards, for Linux relies on `syscall` clearing it as its own mask would.
const EFLAGS_CLEARED: u64 = 1 << 8 | 1 << 10 | 1 << 14 | 1 << 16 | 1 << 17 | 1 << 18;
const EFLAGS_IOPL: u64 = 3 << 12;
/// Flags that a handler keeps, of those in the low half, as a signed mask.
pub const HANDLER_FLAGS: i32 = !((EFLAGS_CLEARED | EFLAGS_IOPL) as i32);
/// Bytes of `evtchn_upcall_mask` in `vcpu_info`.
const UPCALL_MASK: u64 = 1;

/// Prepares the entry into the guest's kernel: `push` writes the frame to its stack, then mode, registers and
/// upcall mask are written down. `info` is the machine address of its vcpu_info, `masked` the present upcall mask.
///
/// # Errors
/// [`StackFault`]; then nothing has changed.
#[inline]
pub fn bounce(
    context: &Context,
    info: Maddr,
    masked: bool,
    to: &Bounce,
    push: impl FnOnce(Gva, &[u64]) -> Result<(), StackFault>,
) -> Result<(), StackFault> {
    let r = &context.registers;
    let (stack, cs) = match context.mode() {
        Mode::Kernel => (r.get(Reg::Rsp), r.get(Reg::Cs) & !3),
        Mode::User => (context.kernel_sp.get(), r.get(Reg::Cs)),
    };
    let flags = r.get(Reg::Rflags);
    let pushed_flags = flags & !(EFLAGS_IF | EFLAGS_IOPL) | if masked { 0 } else { EFLAGS_IF };
    // From the end, which every frame has.
    let mut frame = [0u64; MAX_WORDS];
    frame[MAX_WORDS - 5..].copy_from_slice(&[
        to.rip,
        cs & 0xffff | u64::from(masked) << 32,
        pushed_flags,
        r.get(Reg::Rsp),
        r.get(Reg::Ss),
    ]);
    let mut first = MAX_WORDS - 5;
    if let Some(error) = to.error {
        first -= 1;
        frame[first] = error.into();
    }
    for selector in to.segments.into_iter().flatten().rev() {
        first -= 1;
        frame[first] = selector.into();
    }
    first -= 2;
    frame[first] = r.get(Reg::Rcx);
    frame[first + 1] = r.get(Reg::R11);
    let frame = &frame[first..];
    let top = (stack & !15).checked_sub(8 * frame.len() as u64).ok_or(StackFault)?;
    push(Gva(top), frame)?;
    let turn = Turn {
        mode: Mode::Kernel,
        rip: to.address,
        cs: FLAT_RING3_CS64.into(),
        rflags: flags & !(EFLAGS_CLEARED | EFLAGS_IOPL) | EFLAGS_IF,
        rsp: top,
        ss: FLAT_RING3_SS64.into(),
        general: None,
        ends_nmi: false,
        is_nmi: to.is_nmi,
        mask: (to.mask && !masked).then_some((Maddr(info.0 + UPCALL_MASK), true)),
    };
    prepare(context, &turn);
    Ok(())
}

/// The bounce for an exception or software interrupt, if the guest has a handler. `error` as the
/// processor pushed it.
pub fn trap_bounce(context: &Context, vector: u8, error: u32) -> Option<Bounce> {
    let trap = &context.traps[usize::from(vector)];
    let address = trap.address.get().0;
    let with_error = matches!(vector, 8 | 10..=14 | 17 | 21);
    (address != 0).then(|| Bounce {
        address,
        mask: trap.flags.get() & TRAP_MASKS != 0,
        is_nmi: vector == NMI,
        error: with_error.then_some(error),
        segments: None,
        rip: context.registers.get(Reg::Rip),
    })
}

/// The bounce for a callback (event upcall, system call), if the guest registered one. The event
/// callback always masks.
pub fn event_callback(context: &Context, callback: &Callback, is_event: bool) -> Option<Bounce> {
    let address = callback.address.get().0;
    (address != 0).then(|| Bounce {
        address,
        mask: is_event || callback.mask.get(),
        is_nmi: false,
        error: None,
        segments: None,
        rip: context.registers.get(Reg::Rip),
    })
}
