//! Where a vCPU goes on: the way in which an entry ends that changes control flow and nothing else.
//!
//! A bounce to the guest's kernel and its `iret` are too frequent for a transaction. Their registers are
//! written to a place of their own first, while nobody looks; one store of [`vector::TRANSFER`] then makes
//! them those that the guest goes on with, and what follows is copied from there, again by recovery.
//!
//! | stopped | recovery |
//! |---|---|
//! | before the store | the entry is dispatched again: its registers are intact |
//! | after it, before the vector is gone | [`complete`] runs again: every step stores the same value |

use crate::context::{Context, Mode};
use crate::registers::{Reg, vector};
use ids::Maddr;
use vault::{GuestOwned, record};

/// Resume flag: every completed instruction clears it.
const EFLAGS_RF: u64 = 1 << 16;

record! {
    /// The registers that a vCPU is to go on with.
    ///
    /// Lock: the vCPU's own CPU. Rebuild: nothing; means something only while the vector is
    /// [`vector::TRANSFER`].
    pub struct Transfer {
        rip: GuestOwned<u64>,
        cs: GuestOwned<u64>,
        rflags: GuestOwned<u64>,
        rsp: GuestOwned<u64>,
        ss: GuestOwned<u64>,
        rax: GuestOwned<u64>,
        rcx: GuestOwned<u64>,
        r11: GuestOwned<u64>,
        /// Machine address of the upcall mask; 0: it stays as it is.
        mask_at: GuestOwned<u64>,
        mask: GuestOwned<u8>,
        mode: GuestOwned<u8>,
        has_general: GuestOwned<bool>,
        is_nmi: GuestOwned<bool>,
        ends_nmi: GuestOwned<bool>,
        spare: [GuestOwned<u8>; 3],
    }
}

/// What changes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) mode: Mode,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
    /// rax, rcx and r11, if they change.
    pub(crate) general: Option<[u64; 3]>,
    /// It leaves the handler of an NMI, if one runs.
    pub(crate) ends_nmi: bool,
    /// It enters the handler of an NMI, which lasts until the next `iret`.
    pub(crate) is_nmi: bool,
    /// Where the upcall mask is and what it becomes.
    pub(crate) mask: Option<(Maddr, bool)>,
}

/// Writes down where the vCPU goes on; nothing comes of it before [`commit`].
#[inline(always)]
pub(crate) fn prepare(context: &Context, turn: &Turn) {
    let to = &context.transfer;
    to.rip.set(turn.rip);
    to.cs.set(turn.cs);
    to.rflags.set(turn.rflags);
    to.rsp.set(turn.rsp);
    to.ss.set(turn.ss);
    to.mode.set(turn.mode as u8);
    to.has_general.set(turn.general.is_some());
    to.ends_nmi.set(turn.ends_nmi);
    to.is_nmi.set(turn.is_nmi);
    if let Some([rax, rcx, r11]) = turn.general {
        to.rax.set(rax);
        to.rcx.set(rcx);
        to.r11.set(r11);
    }
    match turn.mask {
        Some((at, mask)) => {
            to.mask.set(mask.into());
            to.mask_at.set(at.0);
        }
        None => to.mask_at.set(0),
    }
}

/// Prepares that the vCPU goes on behind the instruction at RIP, of `length` bytes, whose only result is in RAX.
pub fn step_over(context: &Context, length: u64, rax: u64) {
    let r = &context.registers;
    let turn = Turn {
        mode: context.mode(),
        rip: r.get(Reg::Rip).wrapping_add(length),
        cs: r.get(Reg::Cs),
        rflags: r.get(Reg::Rflags) & !EFLAGS_RF,
        rsp: r.get(Reg::Rsp),
        ss: r.get(Reg::Ss),
        general: Some([rax, r.get(Reg::Rcx), r.get(Reg::R11)]),
        ends_nmi: false,
        is_nmi: false,
        mask: None,
    };
    prepare(context, &turn);
}

/// Makes what was prepared that with which the vCPU goes on.
#[inline(always)]
pub fn commit(context: &Context) {
    context.registers.vector.set(vector::TRANSFER);
}

/// Gives the vCPU the registers and mode of its committed transfer; `store_mask` writes the upcall mask.
/// Idempotent. The CPU's page tables and GS base are the caller's to change; then the vector goes.
#[inline(always)]
pub fn complete(context: &Context, store_mask: impl FnOnce(Maddr, u8)) {
    let (from, r) = (&context.transfer, &context.registers);
    r.set(Reg::Rip, from.rip.get());
    r.set(Reg::Cs, from.cs.get());
    r.set(Reg::Rflags, from.rflags.get());
    r.set(Reg::Rsp, from.rsp.get());
    r.set(Reg::Ss, from.ss.get());
    context.set_mode(if from.mode.get() == Mode::Kernel as u8 { Mode::Kernel } else { Mode::User });
    if from.has_general.get() {
        r.set(Reg::Rax, from.rax.get());
        r.set(Reg::Rcx, from.rcx.get());
        r.set(Reg::R11, from.r11.get());
    }
    if from.ends_nmi.get() {
        context.in_nmi.set(false);
    }
    if from.is_nmi.get() {
        context.in_nmi.set(true);
    }
    let at = from.mask_at.get();
    if at != 0 {
        store_mask(Maddr(at), from.mask.get());
    }
}
