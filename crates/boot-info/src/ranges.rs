//! Sets of machine address ranges: what boot may still take.

use arrayvec::ArrayVec;
use ids::Maddr;

/// Ranges a set may have.
pub(crate) const MAX_RANGES: usize = 256;

/// Bytes `start` to `end` - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// First byte after.
    pub end: u64,
}

impl Range {
    /// `len` bytes from `start` on, cut off at the end of the address space.
    pub const fn new(start: Maddr, len: u64) -> Self {
        Self { start: start.0, end: start.0.saturating_add(len) }
    }

    /// Bytes in the range.
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// True if it has no byte.
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}

/// The set or map would need more ranges than it has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A set of bytes of machine memory as sorted, disjoint, non-adjacent ranges. Serves as the boot allocator: it takes
/// from the top, because low memory is what devices and guests' DMA run out of first.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash)]
pub struct FreeRanges {
    ranges: ArrayVec<Range, MAX_RANGES>,
}

impl FreeRanges {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The ranges, lowest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range> + '_ {
        self.ranges.iter().copied()
    }

    /// Bytes in the set.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|range| range.len()).sum()
    }

    /// First byte after the last range; 0 if the set is empty.
    pub fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.end)
    }

    /// Adds a range, merging it with its neighbours.
    pub fn insert(&mut self, range: Range) -> Result<(), Full> {
        if range.is_empty() {
            return Ok(());
        }
        let first = self.ranges.partition_point(|r| r.end < range.start);
        let last = self.ranges.partition_point(|r| r.start <= range.end);
        let mut merged = range;
        if let [head, .., tail] | [head @ tail] = &self.ranges[first..last] {
            merged.start = merged.start.min(head.start);
            merged.end = merged.end.max(tail.end);
        }
        self.ranges.drain(first..last);
        self.ranges.try_insert(first, merged).map_err(|_| Full)
    }

    /// Removes a range, be it in the set, partly or not.
    pub fn remove(&mut self, range: Range) -> Result<(), Full> {
        if range.is_empty() {
            return Ok(());
        }
        let first = self.ranges.partition_point(|r| r.end <= range.start);
        let last = self.ranges.partition_point(|r| r.start < range.end);
        let Some([head, ..]) = self.ranges.get(first..last) else { return Ok(()) };
        let below = Range { start: head.start, end: range.start };
        let above = Range { start: range.end, end: self.ranges[last - 1].end };
        self.ranges.drain(first..last);
        for piece in [above, below] {
            if !piece.is_empty() {
                self.ranges.try_insert(first, piece).map_err(|_| Full)?;
            }
        }
        Ok(())
    }

    /// Takes `len` bytes, aligned to the power of two `align`, as high as possible but ending at or below `below`.
    pub fn take(&mut self, len: u64, align: u64, below: u64) -> Option<Maddr> {
        let start = self.iter().rev().find_map(|range| {
            let start = range.end.min(below).checked_sub(len)? & !(align - 1);
            (start >= range.start).then_some(start)
        })?;
        self.remove(Range::new(Maddr(start), len)).ok()?;
        Some(Maddr(start))
    }

    /// The same set with every range shrunk to whole 4 KiB frames.
    pub fn whole_frames(&self) -> Self {
        let shrink = |r: Range| Range { start: r.start.saturating_add(0xfff) & !0xfff, end: r.end & !0xfff };
        Self { ranges: self.iter().map(shrink).filter(|r| !r.is_empty()).collect() }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn check(free: &FreeRanges, model: &BTreeSet<u64>) {
        let found: Vec<u64> = free.iter().flat_map(|r| r.start..r.end).collect();
        assert!(found.iter().copied().eq(model.iter().copied()));
        assert!(free.ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
    }

    proptest! {
        #[test]
        fn behaves_as_a_set_of_bytes(steps in prop::collection::vec((0..3_u8, 0..200_u64, 0..40_u64), 0..60)) {
            let (mut free, mut model) = (FreeRanges::new(), BTreeSet::new());
            for (step, start, len) in steps {
                let range = Range::new(Maddr(start), len);
                match step {
                    0 => {
                        free.insert(range).unwrap();
                        model.extend(start..start + len);
                    }
                    1 => {
                        free.remove(range).unwrap();
                        model.retain(|byte| !(start..start + len).contains(byte));
                    }
                    _ => {
                        let len = len.max(1);
                        let fits = |s: &u64| s.is_multiple_of(4) && s + len <= 150 && (*s..s + len).all(|b| model.contains(&b));
                        let best = (0..150_u64).rev().find(fits);
                        prop_assert_eq!(free.take(len, 4, 150).map(|m| m.0), best);
                        if let Some(best) = best {
                            model.retain(|byte| !(best..best + len).contains(byte));
                        }
                    }
                }
                check(&free, &model);
            }
        }
    }

    #[test]
    fn a_full_set_says_so() {
        let mut free = FreeRanges::new();
        for index in 0..MAX_RANGES as u64 {
            free.insert(Range { start: index * 4, end: index * 4 + 2 }).unwrap();
        }
        assert_eq!(free.insert(Range { start: 0x1_0000, end: 0x1_0001 }), Err(Full));
        free.insert(Range { start: 0, end: 7 }).unwrap();
        assert_eq!(free.ranges.len(), MAX_RANGES - 1);
    }
}
