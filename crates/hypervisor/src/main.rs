//! The bare-metal hypervisor image: entry, start order, composition.
#![no_std]
#![no_main]

extern crate alloc;

mod bios;
mod boot;
mod boot_memory;
mod cells;
mod chaos;
mod chart;
mod composition;
mod console;
mod cpu;
mod describe;
mod devices;
mod dom0;
mod efi;
mod entry;
mod epitaph;
mod faults;
mod firmware;
mod fpu_areas;
mod guest;
mod heap;
mod inject;
mod machine_nmi;
mod options;
mod panic;
mod pci_config;
mod power;
mod recovery;
mod refusal;
mod requirements;
mod routes;
mod screen;
mod sealed;
mod selftest;
mod smp;
mod start;
mod stop;
mod trace;
mod watchdog;
