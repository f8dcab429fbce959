//! Grant tables (`grant_table.h`).

mod entry;
mod ops;

pub use entry::*;
pub use ops::*;
