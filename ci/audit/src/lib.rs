//! Audits that tests share: they recompute from raw records what the logic keeps, with none of its code.
#![forbid(unsafe_code)]

mod frames;
mod heap;

pub use frames::{Audited, Found, Held, check_frames};
pub use heap::{free_frames, page_lists};
