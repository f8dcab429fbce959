//! The control interfaces that carry a version: each release's structures decode into one internal
//! request, and answers encode back. Handlers never see a version.
#![no_std]
#![forbid(unsafe_code)]

pub mod change;
pub mod control;
pub mod domctl;
pub mod platform;
pub mod processor;
pub mod state;
pub mod tools;
pub mod v4_17;
pub mod v4_20;
