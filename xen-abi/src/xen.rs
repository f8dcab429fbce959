//! The core of the ABI shared by all guests (`xen.h`).

mod bitmap;
mod console;
mod domid;
mod mmu;
mod shared_info;
mod start_info;
mod virq;
mod vm_assist;

pub use bitmap::*;
pub use console::*;
pub use domid::*;
pub use mmu::*;
pub use shared_info::*;
pub use start_info::*;
pub use virq::*;
pub use vm_assist::*;
