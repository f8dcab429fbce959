//! The stable guest ABI of Xen: numbers, structures and constants, no logic.
#![no_std]
#![forbid(unsafe_code)]
