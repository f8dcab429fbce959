//! How many frames buffers have, and the table that says which.
//!
//! The table's first bytes are 16-bit words: frames of a buffer, then for each CPU where its list begins, counted in 32-bit
//! words from the table's start. A list has a frame number, 32 bits, for each frame.

use crate::Region;
use guest_memory::GuestMemory;
use ids::{CpuId, FRAME_SIZE, Maddr, Mfn};

/// Frames that a table has at most: lists begin where 16 bits can say.
pub const MOST_INFO_FRAMES: u32 = 64;

/// Bytes of a table that can be named.
const MOST_WORDS: u32 = 1 << 16;
/// Frames that a buffer has at most, so that twice its bytes are 32 bits.
const MOST_FRAMES: u32 = (u32::MAX / 2) / FRAME_SIZE as u32;

/// How many there are of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frames {
    /// CPUs.
    pub cpus: u32,
    /// Frames of each one's buffer.
    pub each: u32,
    /// Frames of the table.
    pub table: u32,
}

impl Frames {
    /// For buffers of `wanted` frames, or as many as the table has words for.
    pub fn new(cpus: u32, wanted: u32) -> Self {
        let cpus = cpus.max(1);
        let room = MOST_WORDS.saturating_sub(first_list(cpus)) / cpus;
        let each = wanted.min(room).min(u16::MAX.into()).min(MOST_FRAMES);
        let words = first_list(cpus) + cpus * each;
        Self { cpus, each, table: (4 * words).div_ceil(FRAME_SIZE as u32) }
    }

    /// Frames of all buffers.
    pub fn all(&self) -> u32 {
        self.cpus * self.each
    }

    /// Bytes of a buffer behind its two words.
    pub(crate) fn room(&self) -> u32 {
        (self.each * FRAME_SIZE as u32).saturating_sub(8)
    }

    /// Where in the table the number of a frame stands, of all CPUs' one after the other.
    pub fn place(&self, table: Mfn, index: u32) -> Maddr {
        Maddr(table.maddr().0 + 4 * u64::from(first_list(self.cpus) + index))
    }

    /// Writes the table's first words.
    pub fn write_head<M: GuestMemory>(&self, memory: &M, table: Mfn) {
        let put = |index: u32, value: u32| {
            let at = table.maddr().0 + 2 * u64::from(index);
            value.to_le_bytes()[..2].iter().zip(at..).for_each(|(byte, at)| memory.store8(Maddr(at), *byte));
        };
        put(0, self.each);
        (0..self.cpus).for_each(|cpu| put(1 + cpu, first_list(self.cpus) + cpu * self.each));
    }
}

/// The word that the first list begins at.
fn first_list(cpus: u32) -> u32 {
    (1 + cpus).div_ceil(2)
}

impl Region {
    /// How many frames there are of what.
    pub fn frames(&self) -> Frames {
        Frames::new(self.cpus(), self.buffers.frames.get())
    }

    /// A frame of a CPU's buffer.
    pub(crate) fn frame<M: GuestMemory>(&self, memory: &M, cpu: CpuId, index: u32) -> Mfn {
        let frames = self.frames();
        let at = frames.place(Mfn(self.buffers.table.get()), cpu.0 * frames.each + index);
        Mfn(memory.load32(at).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_memory::FakeMemory;

    #[test]
    fn tables_have_room_for_all_lists() {
        assert_eq!(Frames::new(2, 32), Frames { cpus: 2, each: 32, table: 1 });
        assert_eq!(Frames::new(2, 32).room(), 32 * 4096 - 8);
        for (cpus, wanted) in [(1, u32::MAX), (2, 40_000), (128, 32), (256, 100_000), (1, 1)] {
            let frames = Frames::new(cpus, wanted);
            assert!(frames.each >= 1 && frames.table <= MOST_INFO_FRAMES, "{frames:?}");
            assert!(first_list(cpus) + (cpus - 1) * frames.each <= u16::MAX.into(), "{frames:?}");
        }
    }

    #[test]
    fn heads_say_where_lists_begin() {
        let memory = FakeMemory::new(4);
        let frames = Frames::new(3, 5);
        frames.write_head(&memory, Mfn(2));
        let word = |index: u64| memory.load64(Maddr(2 * 4096 + 8 * index));
        assert_eq!(word(0), 5 | 2 << 16 | 7 << 32 | 12 << 48);
        assert_eq!(frames.place(Mfn(2), 0), Maddr(2 * 4096 + 8));
        assert_eq!(frames.place(Mfn(2), 14), Maddr(2 * 4096 + 8 + 56));
    }
}
