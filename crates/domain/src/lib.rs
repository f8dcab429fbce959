//! A whole domain: all regions together, and how Dom0 is built.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod dom0;
mod hypercall_page;
mod state;

pub use hypercall_page::{HYPERCALL_PAGE_STUBS, stub as hypercall_stub};
pub use state::{Limits, State, Static};
