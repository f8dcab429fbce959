//! The processor a PV guest sees: registers, traps bounced to its kernel, segments, descriptor tables.
//!
//! A guest's registers lie in its vCPU's [`Context`] from the first instruction of an entry on: the
//! processor pushes its part of the frame right there. They keep the values of the entry until what ends it
//! is committed: a transaction, whose effects change them, or a [`Transfer`].
#![no_std]
#![forbid(unsafe_code)]

mod bounce;
mod context;
mod extended;
mod iret;
pub mod offsets;
mod registers;
mod transfer;

pub use bounce::{Bounce, HANDLER_FLAGS, StackFault, TRAP_MASKS, bounce, event_callback, trap_bounce};
pub use context::{CALLBACKS, Callback, Context, FRESH, IN_CPU, Mode, Region, SAVED, Trap, fault};
pub use extended::{COMPONENTS_WORD, Extended, ExtendedLine, HEADER_END_WORD, MXCSR_WORD};
pub use iret::{BadFrame, IRET_FRAME_WORDS, RETURN_FLAGS, iret};
pub use registers::{Reg, Registers, vector};
pub use transfer::{Transfer, commit, complete, step_over};

use vault::{Effect, Tx, kind};

/// Publishes a register's new value.
#[inline(always)]
pub fn set_register(tx: &mut Tx<'_>, register: Reg, value: u64) {
    tx.publish(Effect { kind: kind::REGISTER, x: register as u32, a: 0, b: value });
}

/// What a [`kind::CONTEXT`] effect brings up to date, as bits of its `x`.
pub mod sync {
    /// Page tables and GS base, by mode.
    pub const MODE: u32 = 1;
    /// The GDT window and register.
    pub const GDT: u32 = 2;
    /// The LDT window and register.
    pub const LDT: u32 = 4;
    /// Debug registers.
    pub const DEBUG: u32 = 8;
    /// CR0.TS, CR4 and XCR0.
    pub const CONTROL: u32 = 16;
    /// Segment bases.
    pub const BASES: u32 = 32;
}

/// Publishes that the CPU's registers must follow the context.
#[inline(always)]
pub fn synchronise(tx: &mut Tx<'_>, what: u32) {
    tx.publish(Effect { kind: kind::CONTEXT, x: what, a: 0, b: 0 });
}
