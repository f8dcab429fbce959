//! The x86-64 part of the ABI (`arch-x86/xen.h`, `arch-x86/xen-x86_64.h`).

mod address_space;
mod policy;
mod regs;
mod segments;

pub use address_space::*;
pub use policy::*;
pub use regs::*;
pub use segments::*;
