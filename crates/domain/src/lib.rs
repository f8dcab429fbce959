//! A whole domain: all regions together.
#![no_std]
#![forbid(unsafe_code)]

mod state;

pub use state::{Limits, State, Static};
