//! Entries of one live L1 table that are changed in one transaction.

use crate::pte::adjusted_l1;
use crate::{EntryWrite, Mmu, Pte, Subject};
use guest_memory::GuestMemory;
use ids::Maddr;
use vault::Tx;

/// Entries that one transaction changes at most: each publishes two effects and holds one reference.
const TOGETHER: u64 = 16;

impl<M: GuestMemory> Mmu<'_, M> {
    /// Goes on, in the transaction that has changed the entry at `first` and holds its table's lock, with `second` and
    /// with those that `next` names, by how many were before, as long as each is allowed and is behind the one before in
    /// the same table: the changes are not there before the commit, so that an entry which is named twice has to wait for
    /// it. What is not taken is for another transaction, which says why. The answer is how many were changed, the first
    /// one included.
    #[inline(never)]
    pub(crate) fn further_leaves(
        &self,
        tx: &mut Tx<'static>,
        first: Maddr,
        second: EntryWrite,
        subject: Subject,
        next: &mut impl FnMut(u64) -> Option<EntryWrite>,
    ) -> u64 {
        let (mut count, mut last, mut coming) = (1, first, Some(second));
        while let Some(EntryWrite { at, new, ad }) = coming
            && at > last
            && at.mfn() == first.mfn()
        {
            let old = Pte(self.memory.load64(at));
            // A refusal has written nothing.
            if self.replace_leaf(tx, at, old, adjusted_l1(new), ad, subject).is_err() {
                break;
            }
            (count, last) = (count + 1, at);
            coming = if count < TOGETHER { next(count) } else { None };
        }
        count
    }
}
