//! The iret hypercall: back from a bounced entry.

use crate::context::{Context, Mode};
use crate::registers::Reg;
use crate::{set_register, sync, synchronise};
use ids::{Maddr, Mfn};
use vault::{Effect, Tx, kind};

/// Bytes the guest pushed: rax, r11, rcx, flags, rip, cs, rflags, rsp, ss (`iret_context`).
pub const IRET_FRAME_BYTES: usize = 72;

/// The frame asks for what cannot be: the domain has to be crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadFrame;

const EFLAGS_IF: u64 = 1 << 9;
/// IOPL and VM never reach the processor's flags; bit 1 is always set.
const EFLAGS_FORBIDDEN: u64 = 3 << 12 | 1 << 17;

/// Publishes the return that `frame` describes; `info` is the vcpu_info's machine address. Selectors or an address
/// that the processor refuses are a matter of the guest's failsafe callback: a process can ask for them.
///
/// # Errors
/// [`BadFrame`]: user mode without a user page table.
pub fn iret(
    tx: &mut Tx<'_>,
    context: &'static Context,
    info: Maddr,
    frame: &[u8; IRET_FRAME_BYTES],
) -> Result<(), BadFrame> {
    let mut words = [0u64; 9];
    for (word, bytes) in words.iter_mut().zip(frame.chunks_exact(8)) {
        *word = bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
    }
    let [rax, r11, rcx, _flags, rip, cs, rflags, rsp, ss] = words;
    if cs & 3 == 3 {
        if context.root_user.get() == Mfn(0) {
            return Err(BadFrame);
        }
        context.set_mode(tx, Mode::User);
        synchronise(tx, sync::MODE);
    }
    set_register(tx, Reg::Rax, rax);
    set_register(tx, Reg::R11, r11);
    set_register(tx, Reg::Rcx, rcx);
    set_register(tx, Reg::Rip, rip);
    set_register(tx, Reg::Cs, cs & 0xffff | 3);
    set_register(tx, Reg::Rflags, rflags & !EFLAGS_FORBIDDEN | EFLAGS_IF | 2);
    set_register(tx, Reg::Rsp, rsp);
    set_register(tx, Reg::Ss, ss & 0xffff | 3);
    let mask = u64::from(rflags & EFLAGS_IF == 0);
    tx.publish(Effect { kind: kind::GUEST_STORE, x: 1, a: info.0 + 1, b: mask });
    if context.in_nmi.get() {
        tx.set(&context.in_nmi, false);
    }
    Ok(())
}
