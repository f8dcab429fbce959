//! The bare-metal hypervisor image: entry, start order, composition.
#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod console;
mod entry;
mod faults;
mod heap;
mod panic;
mod sealed;
mod selftest;
mod start;
