//! The bare-metal hypervisor image: entry, start order, composition.
#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod console;
mod devices;
mod entry;
mod faults;
mod firmware;
mod heap;
mod panic;
mod sealed;
mod selftest;
mod smp;
mod start;
