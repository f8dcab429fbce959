//! Memory operations (`memory.h`).

mod arguments;
mod ops;

pub use arguments::*;
pub use ops::*;
