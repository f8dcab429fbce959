//! Between guests and the composition: entry and exit code, faults of the hypervisor itself, access to
//! guest memory.
//!
//! # Safety assumptions of these modules
//!
//! (1) Ring 0, interrupts off but in the idle loop. (2) The per-CPU block is found from the stack address
//! or by constant, never through GS. (3) TSS.RSP0 and the block's frame cell point at the end of the
//! frame of the vCPU whose registers the CPU holds.

pub(crate) mod access;
pub(crate) mod gs;
pub(crate) mod guarded;
mod guarded_clear;
mod guarded_code;
pub(crate) mod hardware;
pub(crate) mod host;
mod idle;
pub(crate) mod memory;
mod registers;
pub(crate) mod run;
pub(crate) mod shootdown;
pub(crate) mod stubs;
pub(crate) mod swift;
mod swift_fault;
mod windows;

pub(crate) use registers::{register_macros, sysenter_macro, to_kernel_macros, vectors_macro};
