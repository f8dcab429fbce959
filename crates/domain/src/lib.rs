//! A whole domain: all regions together, and how Dom0 is built.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod console;
pub mod dom0;
mod efi;
mod host;
mod hypercall_page;
mod memory_map;
mod notices;
mod parameters;
mod pci;
mod shared_info;
mod state;

pub use console::{ConsoleInput, INPUT_BYTES};
pub use efi::{RuntimeCall, RuntimeServices, Unavailable};
pub use host::{Host, Log, Release};
pub use hypercall_page::{HYPERCALL_PAGE_STUBS, stub as hypercall_stub};
pub use memory_map::{DomainMap, MAP_ENTRIES, MapEntry};
pub use notices::Notices;
pub use parameters::{Parameter, Parameters, Value};
pub use pci::{InBar, Msix, PciDevices};
pub use shared_info::clear_shared_info;
pub use state::{Limits, State, Static};
