//! A set of CPUs.

use ids::CpuId;

/// CPUs that there may be (`machine::percpu::MAX_CPUS`).
pub const MAX_CPUS: u32 = 256;
/// Words of a set.
pub(crate) const WORDS: usize = (MAX_CPUS / 64) as usize;

/// CPUs by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuSet(pub(crate) [u64; WORDS]);

impl CpuSet {
    /// None.
    pub const NONE: Self = Self([0; WORDS]);
    /// All that there may be.
    pub const ALL: Self = Self([u64::MAX; WORDS]);

    /// The first `count` CPUs.
    pub fn first(count: u32) -> Self {
        let mut set = Self::NONE;
        for (word, start) in set.0.iter_mut().zip((0..).step_by(64)) {
            *word = match count.saturating_sub(start) {
                0 => 0,
                some @ 1..64 => (1 << some) - 1,
                _ => u64::MAX,
            };
        }
        set
    }

    /// Of its words, bit 0 of the first for CPU 0.
    pub const fn from_words(words: [u64; WORDS]) -> Self {
        Self(words)
    }

    /// Its words.
    pub const fn words(&self) -> &[u64; WORDS] {
        &self.0
    }

    /// Whether a CPU is in it.
    #[inline]
    pub fn has(&self, cpu: CpuId) -> bool {
        self.0.get(cpu.0 as usize / 64).is_some_and(|word| word >> (cpu.0 % 64) & 1 != 0)
    }

    /// Puts a CPU into it; one that there cannot be is left out.
    pub fn add(&mut self, cpu: CpuId) {
        if let Some(word) = self.0.get_mut(cpu.0 as usize / 64) {
            *word |= 1 << (cpu.0 % 64);
        }
    }

    /// Takes a CPU out of it.
    pub fn remove(&mut self, cpu: CpuId) {
        if let Some(word) = self.0.get_mut(cpu.0 as usize / 64) {
            *word &= !(1 << (cpu.0 % 64));
        }
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut both = *self;
        both.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        both
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// How many there are.
    #[inline(never)]
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The CPUs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + use<> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (index, word) = (0..).zip(&mut rest).find(|(_, word)| **word != 0)?;
            let bit = word.trailing_zeros();
            *word &= *word - 1;
            Some(CpuId(index * 64 + bit))
        })
    }

    /// The last one.
    pub fn last(&self) -> Option<CpuId> {
        let (index, word) = (0..).zip(&self.0).filter(|(_, word)| **word != 0).last()?;
        Some(CpuId(index * 64 + word.ilog2()))
    }
}

impl FromIterator<CpuId> for CpuSet {
    fn from_iter<I: IntoIterator<Item = CpuId>>(cpus: I) -> Self {
        let mut set = Self::NONE;
        cpus.into_iter().for_each(|cpu| set.add(cpu));
        set
    }
}
