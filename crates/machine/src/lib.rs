//! x86-64 itself: what only this machine knows, for the hypervisor image alone.
//!
//! Every piece of arithmetic or decoding that can be is an ordinary safe function tested on the host; the rest is a
//! thin shell of instructions.
//!
//! # Safety
//!
//! Standing assumptions of every `unsafe` block here, cited as "ring 0", "direct map" and "boot owns":
//! 1. *ring 0*: the code runs at privilege level 0 in long mode with interrupts off, except at preemption points.
//! 2. *direct map*: all RAM of the memory map is mapped readable and writable at [`layout::DIRECT_MAP`], either by the
//!    boot tables (first 4 GiB) or by the final tables; nothing else is reached through it.
//! 3. *boot owns*: until the other CPUs are started, one CPU runs and owns all memory not reserved.
#![cfg_attr(not(test), no_std)]

pub mod apic;
pub mod bios;
pub mod clock;
pub mod control;
pub mod direct;
pub mod fpu;
pub mod hpet;
pub mod image;
pub mod io_apic;
pub mod isolation;
pub mod layout;
pub mod paging;
pub mod percpu;
pub mod pic;
pub mod pit;
pub mod pm_timer;
pub mod port;
pub mod reset;
pub mod rtc;
pub mod screen;
pub mod seal;
pub mod serial;
pub mod smp;
pub mod stack;
pub mod tables;
pub mod thunk;

/// CPUID, by leaf.
pub use raw_cpuid as cpuid;
