//! What boot learned about this machine, as plain data: no pointers into firmware or boot loader memory remain.
//!
//! The facts are gathered once, before the other CPUs start, and sealed: recovery verifies the seal and uses them as
//! they are. This crate parses and holds; reading the firmware's memory is the image's business.
#![no_std]
#![forbid(unsafe_code)]

mod acpi;
pub mod bios;
mod display;
mod efi;
mod facts;
mod memory;
mod multiboot;
mod ranges;

pub use acpi::{
    AcpiError, AcpiFacts, ConfigSpace, Cpu, Fadt, Firmware, GenericAddress, Hpet, InterruptOverride, IoApic,
    IoBlock, Iommu, LocalNmi, Madt, NmiSource, Polarity, RootPointer, Trigger,
};
pub use bios::{BiosDisk, BiosFacts, Edid};
pub use display::Display;
pub use efi::{EfiFacts, EfiRegion};
pub use facts::{ApicMode, BootFacts, CpuFacts, Module, Overflow, TimeReference, Timing};
pub use memory::{E820Entry, E820Kind, MemoryMap};
pub use multiboot::MultibootError;
pub use ranges::{FreeRanges, Full, Range};
