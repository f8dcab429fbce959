//! Elements of a list that are read, and answered, several at a time.

use crate::reply::copy_bytes;
use guest_memory::GuestMemory;
use ids::Gva;
use vault::Tx;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Elements that are read at once.
const GROUP: usize = 4;

/// Elements in the hypervisor's hands.
pub(super) struct Group<T> {
    elements: [T; GROUP],
    count: usize,
}

/// Answers of several could not be written: the elements are to be carried out one by one.
pub(super) struct Untold;

impl<T: FromBytes + IntoBytes + Immutable> Group<T> {
    /// None yet.
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { elements: <[T; GROUP]>::new_zeroed(), count: 0 }
    }

    /// Reads those at `at`, `most` at most, or one if so many cannot be read. False: not even that.
    #[inline(always)]
    pub(super) fn read<M: GuestMemory>(&mut self, memory: &M, at: u64, most: u64) -> bool {
        self.count = GROUP.min(most as usize);
        let read = |elements: &mut [T]| memory.copy_in(Gva(at), elements.as_mut_bytes()).is_ok();
        if read(&mut self.elements[..self.count]) {
            return true;
        }
        self.count = 1;
        read(&mut self.elements[..1])
    }

    /// The first of them.
    pub(super) fn first(&self) -> &T {
        &self.elements[0]
    }

    /// All of them.
    #[inline(always)]
    pub(super) fn elements(&mut self) -> &mut [T] {
        &mut self.elements[..self.count]
    }

    /// Writes the first `count` back to `at`, with their answers, which are the bytes from `offset` on in each. This comes
    /// before the commit: a repetition writes them again, and who looks at them before the hypercall ends is promised
    /// nothing. False: the answer of the only one could not be written, which is to be [told](Self::tell).
    ///
    /// # Errors
    /// [`Untold`].
    #[inline(always)]
    pub(super) fn answer<M: GuestMemory>(
        &self,
        memory: &M,
        at: u64,
        count: usize,
        offset: usize,
    ) -> Result<bool, Untold> {
        let elements = self.elements[..count].as_bytes();
        if memory.copy_out(Gva(at), elements).is_ok() {
            return Ok(true);
        }
        if count > 1 {
            return Err(Untold);
        }
        let answer = elements.get(offset..).unwrap_or_default();
        Ok(memory.copy_out(Gva(at.wrapping_add(offset as u64)), answer).is_ok())
    }

    /// Tells the answer of the first by an effect, which makes it the result of the call if that cannot be.
    #[inline(never)]
    pub(super) fn tell(&self, tx: &mut Tx<'_>, at: u64, offset: usize) {
        let answer = self.elements[..1].as_bytes().get(offset..).unwrap_or_default();
        copy_bytes(tx, at.wrapping_add(offset as u64), answer);
    }
}
