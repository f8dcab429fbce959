//! Where the entry code finds fields of a [`Context`], in bytes from its start.

use crate::context::{Callback, Context, Trap};
use crate::registers::{Reg, Registers};
use crate::transfer::Transfer;
use core::mem::offset_of;
use static_assertions::const_assert_eq;

/// Four bytes: mode of the active GS base, mode, whether an NMI handler runs, a zero.
pub const MODES: usize = offset_of!(Context, gs_mode);
/// What they are in user mode.
pub const MODES_USER: u32 = 0;
/// What they are in kernel mode outside of an NMI's handler.
pub const MODES_KERNEL: u32 = 0x0101;
const_assert_eq!(MODES % 4, 0);
const_assert_eq!(Context::MODE_AT, MODES + 1);
const_assert_eq!(offset_of!(Context, in_nmi), MODES + 2);

/// Machine address of its vcpu_info.
pub const INFO: usize = offset_of!(Context, info);
/// Stack pointer of its kernel.
pub const KERNEL_SP: usize = offset_of!(Context, kernel_sp);
/// Root table of its kernel mode.
pub const ROOT_KERNEL: usize = offset_of!(Context, root_kernel);
/// Root table of its user mode.
pub const ROOT_USER: usize = offset_of!(Context, root_user);
/// Within a callback: whether it masks events.
pub const CALLBACK_MASK: usize = offset_of!(Callback, mask);

/// A callback's address, by its type.
pub const fn callback(kind: u16) -> usize {
    offset_of!(Context, callbacks) + kind as usize * size_of::<Callback>() + offset_of!(Callback, address)
}
const_assert_eq!(offset_of!(Callback, address), 0);

/// The entry of a vector in the trap table: its handler's address.
pub const fn trap(vector: usize) -> usize {
    offset_of!(Context, traps) + vector * size_of::<Trap>() + offset_of!(Trap, address)
}
/// Within an entry of the trap table: its flags.
pub const TRAP_FLAGS: usize = offset_of!(Trap, flags);
const_assert_eq!(offset_of!(Trap, address), 0);

/// Error code and, behind it, the vector.
pub const ERROR_CODE: usize = offset_of!(Context, registers) + offset_of!(Registers, error_code);
const_assert_eq!(offset_of!(Registers, vector), offset_of!(Registers, error_code) + 4);

/// A register of the frame.
pub const fn register(register: Reg) -> usize {
    let index = register as usize;
    // The word of error code and vector stands before RIP.
    let word = if index < Reg::Rip as usize { index } else { index + 1 };
    offset_of!(Context, registers) + 8 * word
}
const_assert_eq!(register(Reg::Ss) + 8, Context::FRAME_END);
const_assert_eq!(size_of::<Registers>(), 8 * 21);
const_assert_eq!(size_of::<Transfer>() % 8, 0);
