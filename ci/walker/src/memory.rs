//! The machine's memory as the walker sees it.

/// Bytes in a frame.
pub const FRAME: u64 = 4096;

/// Physical memory, frame by frame.
pub trait Memory {
    /// The words of a frame; `None` where there is no RAM.
    fn frame(&self, mfn: u64) -> Option<[u64; 512]>;
}

/// The word at a machine address.
pub fn word(memory: &dyn Memory, maddr: u64) -> Option<u64> {
    Some(memory.frame(maddr / FRAME)?[(maddr % FRAME / 8) as usize])
}
