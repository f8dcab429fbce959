//! The iret hypercall: back from a bounced entry.

use crate::context::{Context, Mode};
use crate::transfer::{Turn, prepare};
use ids::{Maddr, Mfn};

/// Words the guest pushed: rax, r11, rcx, flags, rip, cs, rflags, rsp, ss (`iret_context`).
pub const IRET_FRAME_WORDS: usize = 9;

/// The frame asks for what cannot be: the domain has to be crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadFrame;

const EFLAGS_IF: u64 = 1 << 9;
/// IOPL and VM never reach the processor's flags; bit 1 is always set.
const EFLAGS_FORBIDDEN: u64 = 3 << 12 | 1 << 17;

/// Flags that an `iret` may set, of those in the low half, as a signed mask.
pub const RETURN_FLAGS: i32 = !(EFLAGS_FORBIDDEN as i32);

/// Prepares the return that `frame` describes; `info` is the vcpu_info's machine address. Selectors or an address
/// that the processor refuses are a matter of the guest's failsafe callback: a process can ask for them.
///
/// # Errors
/// [`BadFrame`]: user mode without a user page table.
#[inline]
pub fn iret(context: &Context, info: Maddr, frame: &[u64; IRET_FRAME_WORDS]) -> Result<(), BadFrame> {
    let [rax, r11, rcx, _flags, rip, cs, rflags, rsp, ss] = *frame;
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
        ends_nmi: true,
        is_nmi: false,
        mask: Some((Maddr(info.0 + 1), rflags & EFLAGS_IF == 0)),
    };
    prepare(context, &turn);
    Ok(())
}
