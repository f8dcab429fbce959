//! Which machine frame stands behind each of Dom0's frames, while it is being built.

use super::BuildError;
use alloc::vec::Vec;
use core::cell::Cell;
use ids::{Gfn, Mfn};

/// Adjacent frames on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: Gfn,
    pub(super) mfn: Mfn,
    pub(super) count: u64,
}

/// Runs by ascending frame number, from 0 and without gaps: as many as there are pieces of memory, not frames.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: Vec<Run>,
    /// Where the last look-up ended: the next one is near.
    hint: Cell<usize>,
}

impl Runs {
    /// The first frame without a machine frame.
    pub(super) fn end(&self) -> Gfn {
        Gfn(self.runs.last().map_or(0, |run| run.first.0 + run.count))
    }

    /// Puts `count` machine frames behind the next frames.
    pub(super) fn push(&mut self, mfn: Mfn, count: u64) -> Result<(), BuildError> {
        let first = self.end();
        match self.runs.last_mut() {
            Some(last) if last.mfn.0 + last.count == mfn.0 => last.count += count,
            _ => {
                self.runs.try_reserve(1).map_err(|_| BuildError::NoHeap)?;
                self.runs.push(Run { first, mfn, count });
            }
        }
        Ok(())
    }

    /// The frames from `first` on that are adjacent in the machine too.
    pub(super) fn from(&self, first: Gfn) -> Result<Run, BuildError> {
        let holds = |run: &&Run| first >= run.first && first.0 - run.first.0 < run.count;
        let run = match self.runs.get(self.hint.get()).filter(holds) {
            Some(run) => run,
            None => {
                let after = self.runs.partition_point(|run| run.first <= first);
                self.hint.set(after.saturating_sub(1));
                let run = self.runs.get(self.hint.get()).filter(holds);
                run.ok_or(BuildError::Defect("a frame beyond its memory is named"))?
            }
        };
        let skipped = first.0 - run.first.0;
        Ok(Run { first, mfn: Mfn(run.mfn.0 + skipped), count: run.count - skipped })
    }

    /// The machine frame behind `frame`.
    pub(super) fn machine(&self, frame: Gfn) -> Result<Mfn, BuildError> {
        self.from(frame).map(|run| run.mfn)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::Runs;
    use ids::{Gfn, Mfn};

    #[test]
    fn adjacent_blocks_join() {
        let mut runs = Runs::default();
        for (mfn, count) in [(100, 64), (164, 64), (50, 3), (53, 1), (40, 10)] {
            runs.push(Mfn(mfn), count).unwrap();
        }
        assert_eq!(runs.iter().count(), 3);
        assert_eq!(runs.end(), Gfn(142));
        let expected = (100..228).chain(50..54).chain(40..50);
        for (frame, mfn) in expected.enumerate() {
            assert_eq!(runs.machine(Gfn(frame as u64)), Ok(Mfn(mfn)));
        }
        assert_eq!(runs.machine(Gfn(0)), Ok(Mfn(100)));
        assert_eq!(runs.from(Gfn(130)).unwrap().count, 2);
        assert!(runs.machine(Gfn(142)).is_err());
    }
}
