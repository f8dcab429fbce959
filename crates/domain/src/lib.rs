//! A whole domain: all regions together.
#![no_std]
#![forbid(unsafe_code)]

mod console;
mod notices;
mod state;

pub use console::{ConsoleInput, INPUT_BYTES};
pub use notices::Notices;
pub use state::{Limits, State, Static};
