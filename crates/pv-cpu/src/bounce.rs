//! Bouncing an exception, system call or event to the guest's kernel.

use crate::context::{Callback, Context, Mode};
use crate::registers::Reg;
use crate::{set_register, sync, synchronise};
use ids::Maddr;
use vault::{Effect, Tx, kind};
use xen_abi::arch::{FLAT_RING3_CS64, FLAT_RING3_SS64};

/// Where and how to enter the guest's kernel.
#[derive(Debug, Clone, Copy)]
pub struct Bounce {
    /// The handler.
    pub address: u64,
    /// Whether events are masked on entry.
    pub mask: bool,
    /// Error code to push.
    pub error: Option<u32>,
    /// Data selectors to push (ds, es, fs, gs): only for the failsafe callback.
    pub segments: Option<[u16; 4]>,
    /// Instruction pointer to push, when it is not the frame's.
    pub rip: u64,
}

/// The frame does not fit the outbox (never for a well-formed bounce) or the stack wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackFault;

/// Words of the largest frame.
const MAX_WORDS: usize = 12;
const EFLAGS_IF: u64 = 1 << 9;
/// TF, NT, RF, VM and AC are clear in a handler. So is DF, unlike on Xen: a process that makes a system call with it
/// set would have the kernel copy backwards, for Linux relies on `syscall` clearing it as its own mask would.
const EFLAGS_CLEARED: u64 = 1 << 8 | 1 << 10 | 1 << 14 | 1 << 16 | 1 << 17 | 1 << 18;
const EFLAGS_IOPL: u64 = 3 << 12;
/// Bytes of `evtchn_upcall_mask` in `vcpu_info`.
const UPCALL_MASK: u64 = 1;

/// Publishes the entry into the guest's kernel: mode, frame on its stack, registers, upcall mask.
/// `info` is the machine address of its vcpu_info, `masked` the present upcall mask.
///
/// # Errors
/// [`StackFault`].
#[inline]
pub fn bounce(
    tx: &mut Tx<'_>,
    context: &'static Context,
    info: Maddr,
    masked: bool,
    to: Bounce,
) -> Result<(), StackFault> {
    let r = &context.registers;
    let was_kernel = context.mode() == Mode::Kernel;
    let (stack, cs) = if was_kernel {
        (r.get(Reg::Rsp), r.get(Reg::Cs) & !3)
    } else {
        context.set_mode(tx, Mode::Kernel);
        synchronise(tx, sync::MODE);
        (context.kernel_sp.get(), r.get(Reg::Cs))
    };
    let flags = r.get(Reg::Rflags);
    let pushed_flags = flags & !(EFLAGS_IF | EFLAGS_IOPL) | if masked { 0 } else { EFLAGS_IF };
    let mut frame = [0u64; MAX_WORDS];
    let mut count = 0;
    let mut push = |word: u64| {
        frame[count] = word;
        count += 1;
    };
    push(r.get(Reg::Rcx));
    push(r.get(Reg::R11));
    for selector in to.segments.into_iter().flatten() {
        push(selector.into());
    }
    if let Some(error) = to.error {
        push(error.into());
    }
    push(to.rip);
    push(cs & 0xffff | u64::from(masked) << 32);
    push(pushed_flags);
    push(r.get(Reg::Rsp));
    push(r.get(Reg::Ss));
    let bytes = count * 8;
    let top = (stack & !15).checked_sub(bytes as u64).ok_or(StackFault)?;
    let mut raw = [0u8; 8 * MAX_WORDS];
    for (chunk, word) in raw.chunks_mut(8).zip(&frame[..count]) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    let offset = tx.keep_bytes(&raw[..bytes]).ok_or(StackFault)?;
    tx.publish(Effect { kind: kind::COPY_OUT, x: offset | kind::ON_STACK, a: top, b: bytes as u64 });
    set_register(tx, Reg::Rip, to.address);
    set_register(tx, Reg::Cs, FLAT_RING3_CS64.into());
    set_register(tx, Reg::Rflags, flags & !(EFLAGS_CLEARED | EFLAGS_IOPL) | EFLAGS_IF);
    set_register(tx, Reg::Rsp, top);
    set_register(tx, Reg::Ss, FLAT_RING3_SS64.into());
    if to.mask && !masked {
        tx.publish(Effect { kind: kind::GUEST_STORE, x: 1, a: info.0 + UPCALL_MASK, b: 1 });
    }
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
        mask: trap.flags.get() & 4 != 0,
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
        error: None,
        segments: None,
        rip: context.registers.get(Reg::Rip),
    })
}
