//! What a PV Dom0 is built from: pure logic, no platform access.
//!
//! The boot modules come in as byte slices and leave as a plan that the caller, who owns the frames,
//! carries out:
//!
//! 1. [`bzimage::payload`] finds the compressed kernel in the first boot module;
//! 2. [`decompress::decompress_into`] unpacks it into memory that the caller found;
//! 3. [`elf_kernel::ElfKernel::parse`] reads the segments, [`notes::Notes`] what the kernel asks for;
//! 4. [`layout::Plan::new`] computes every region of the initial address space, and
//!    [`page_tables::build`] describes the page tables entry by entry.
//!
//! Every input is a file that somebody else wrote: nothing in it may cause a panic, and each refusal is a
//! [`LoadError`] whose text names the input, the limit and what to change.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bzimage;
pub mod decompress;
pub mod elf_kernel;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
pub mod layout;
pub mod notes;
pub mod page_tables;
pub mod start_info;

pub use error::LoadError;
