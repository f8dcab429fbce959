//! What each domain was told once already: requests the hypervisor does not know are logged a single time.

use vault::{Tx, Word, record};

record! {
    /// By hypercall number a bit for each sub-operation that was logged.
    ///
    /// Lock: none (compare-exchange). Rebuild: nothing is derived.
    pub struct Notices {
        said: [Word; 64],
    }
}

impl Notices {
    /// Notes that a sub-operation of a hypercall is logged now; false if it was before.
    #[must_use]
    pub fn note(&self, tx: &mut Tx<'_>, op: u64, sub: u64) -> bool {
        let word = &self.said[(op % 64) as usize];
        let bit = 1 << (sub % 64);
        loop {
            let old = word.get();
            if old & bit != 0 {
                return false;
            }
            if tx.exchange(word, old, old | bit) {
                return true;
            }
        }
    }

    /// A new domain: nothing was logged of it.
    pub fn reset(&self, tx: &mut Tx<'_>) {
        for word in &self.said {
            let mut old = word.get();
            while old != 0 && !tx.exchange(word, old, 0) {
                old = word.get();
            }
        }
    }

    /// Whether it was logged before.
    #[must_use]
    pub fn was_noted(&self, op: u64, sub: u64) -> bool {
        self.said[(op % 64) as usize].get() & 1 << (sub % 64) != 0
    }
}
