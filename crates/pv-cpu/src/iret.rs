//! The iret hypercall: back from a bounced entry.

use crate::context::{Context, Mode};
use crate::transfer::{Turn, commit};
use ids::{Maddr, Mfn};

/// Words the guest pushed: rax, r11, rcx, flags, rip, cs, rflags, rsp, ss (`iret_context`).
pub const IRET_FRAME_WORDS: usize = 9;

/// The frame asks for what cannot be: the domain has to be crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadFrame;

const EFLAGS_IF: u64 = 1 << 9;
/// IOPL and VM never reach the processor's flags; bit 1 is always set.
const EFLAGS_FORBIDDEN: u64 = 3 << 12 | 1 << 17;

/// Whether `rip` is an address a 64-bit `iret` can go to.
const fn is_canonical(address: u64) -> bool {
    let top = address >> 47;
    top == 0 || top == 0x1_ffff
}

/// Commits the return that `frame` describes; `info` is the vcpu_info's machine address.
///
/// # Errors
/// [`BadFrame`]: user mode without a user page table, or no canonical address.
#[inline]
pub fn iret(context: &Context, info: Maddr, frame: &[u64; IRET_FRAME_WORDS]) -> Result<(), BadFrame> {
    let [rax, r11, rcx, _flags, rip, cs, rflags, rsp, ss] = *frame;
    if !is_canonical(rip) {
        return Err(BadFrame);
    }
    let mode = if cs & 3 == 3 {
        if context.root_user.get() == Mfn(0) {
            return Err(BadFrame);
        }
        Mode::User
    } else {
        Mode::Kernel
    };
    let turn = Turn {
        mode,
        rip,
        cs: cs & 0xffff | 3,
        rflags: rflags & !EFLAGS_FORBIDDEN | EFLAGS_IF | 2,
        rsp,
        ss: ss & 0xffff | 3,
        general: Some([rax, rcx, r11]),
        mask: Some((Maddr(info.0 + 1), rflags & EFLAGS_IF == 0)),
    };
    commit(context, &turn);
    Ok(())
}
