//! The instructions of a PV guest that the hypervisor carries out in the guest's place.
//!
//! * [`ptwr`]: a store, exchange or read-modify-write that faulted on a read-only level-1 page table.
//! * [`privop`]: an instruction that raised #GP (or #UD behind the forced-emulation prefix) because
//!   the guest kernel runs in ring 3.
//!
//! Nothing here touches guest memory, a register or a device. Inputs are instruction bytes the caller
//! has already copied from the guest, and a copy of the guest's registers; outputs are plain data: what
//! to write, and a [`RegisterUpdate`] to apply *after* that write has been committed. So an attempt
//! that is rolled back, or lost to a concurrent update, is simply evaluated again.
//!
//! The decoder is small and knows only the forms it may have to carry out; anything else is a
//! [`Refusal`] and the caller reflects the original fault to the guest. It needs no heap and no
//! lazily built table, so it works at once after a microreboot. Only 64-bit code is decoded: 32-bit PV
//! kernels are not supported.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod alu;
mod decode;
#[cfg(test)]
mod oracle;
pub mod privop;
pub mod ptwr;
mod registers;

pub use decode::names_segment;
pub use registers::{Gpr, GprWrite, RegisterUpdate, Registers, Segment, Width, rflags};

/// Longest instruction the processor accepts, in bytes (AMD64 manual volume 3, section 1.1).
pub const MAX_INSTRUCTION_LENGTH: usize = 15;

/// Why an instruction is not carried out. The caller reflects the fault that brought it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes end (page end, 15-byte limit) before the instruction does.
    Truncated,
    /// Not one of the forms this crate carries out.
    Unsupported,
    /// The memory operand is not where the fault was reported: another access of the instruction faulted.
    AddressMismatch,
    /// The memory operand is not naturally aligned, so it may cross the page-table entry.
    Misaligned,
}
