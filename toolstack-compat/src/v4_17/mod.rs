//! Xen 4.17.

pub mod platform;
