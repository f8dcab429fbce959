//! Xen 4.17.

mod change;
pub mod domctl;
mod member;
pub mod platform;
pub mod processor;
pub mod state;
pub mod sysctl;
pub mod tools;
