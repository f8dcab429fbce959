//! Elements of a list that are read, carried out and answered several at a time.

use super::elements::Element;
use super::places::Later;
use crate::reply::copy_bytes;
use core::mem::offset_of;
use guest_memory::GuestMemory;
use ids::{Gva, Mfn};
use pv_mmu::Blocked;
use vault::Tx;
use xen_abi::grant_table::{
    GNTST_BAD_PAGE, GNTST_GENERAL_ERROR, GnttabCopy, GnttabMapGrantRef, GnttabUnmapGrantRef,
};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Elements that are read at once.
const GROUP: usize = 4;

/// An element with a status, behind which are the rest of its answers, if there are any.
pub(super) trait Answered: FromBytes + IntoBytes + Immutable {
    /// Where its answers begin.
    const ANSWER: usize;

    /// Its status.
    fn status(&mut self) -> &mut i16;
}

macro_rules! answered {
    ($($element:ty),*) => {$(
        impl Answered for $element {
            const ANSWER: usize = offset_of!($element, status);

            fn status(&mut self) -> &mut i16 {
                &mut self.status
            }
        }
    )*};
}
answered!(GnttabMapGrantRef, GnttabUnmapGrantRef, GnttabCopy);

/// Why a transaction on elements goes no further.
pub(super) enum Stop {
    /// The list cannot be read.
    Fault,
    /// Answers cannot be written: then one by one.
    Untold,
    /// A frame has to be freed of what it was; then again.
    InTheWay(Mfn),
}

/// Why an element is not carried out.
pub(super) enum Refused {
    /// This is its status.
    Status(i16),
    /// A frame has to be freed of what it was; then again.
    InTheWay(Mfn),
    /// It goes into another transaction.
    Later,
}

impl From<i16> for Refused {
    fn from(status: i16) -> Self {
        Self::Status(status)
    }
}

impl From<Later> for Refused {
    fn from(_: Later) -> Self {
        Self::Later
    }
}

impl From<Blocked> for Refused {
    fn from(blocked: Blocked) -> Self {
        match blocked {
            Blocked::InTheWay(mfn) => Self::InTheWay(mfn),
            Blocked::Refused => Self::Status(GNTST_GENERAL_ERROR),
            Blocked::NotOwned => Self::Status(GNTST_BAD_PAGE),
        }
    }
}

/// What a transaction has carried out.
pub(super) struct Carried {
    /// Elements, one at least.
    pub(super) done: u64,
    /// The address of the last, whose answer is still to be [told](Group::tell).
    pub(super) untold: Option<u64>,
}

/// Elements in the hypervisor's hands.
pub(super) struct Group<T> {
    elements: [T; GROUP],
    count: usize,
}

impl<T: Answered> Group<T> {
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

    /// Carries out by `one` those that it holds, and reads and carries out those behind them, `room` in all: until one has to
    /// wait for another transaction. They are answered as [`answer`](Self::answer) says.
    ///
    /// # Errors
    /// [`Stop::InTheWay`]: the first cannot be carried out yet. [`Stop::Untold`].
    #[inline(always)]
    pub(super) fn carry_out<M: GuestMemory>(
        &mut self,
        memory: &M,
        first: &Element,
        room: u64,
        mut one: impl FnMut(&mut T) -> Result<(), Refused>,
    ) -> Result<Carried, Stop> {
        let (mut done, mut at) = (0, first.at);
        loop {
            let (mut count, mut goes_on) = (0, true);
            for element in &mut self.elements[..self.count] {
                match one(element) {
                    Ok(()) => {}
                    Err(Refused::Status(status)) => *element.status() = status,
                    Err(Refused::InTheWay(mfn)) if done == 0 && count == 0 => {
                        return Err(Stop::InTheWay(mfn));
                    }
                    Err(Refused::InTheWay(_) | Refused::Later) => {
                        goes_on = false;
                        break;
                    }
                }
                count += 1;
            }
            let told = self.answer(memory, at, count)?;
            done += count as u64;
            if !told {
                return Ok(Carried { done, untold: Some(at) });
            }
            at = at.wrapping_add((count * size_of::<T>()) as u64);
            if !(goes_on && done < room && self.read(memory, at, room - done)) {
                return Ok(Carried { done, untold: None });
            }
        }
    }

    /// Writes the first `count` back to `at`, with their answers. This comes before the commit: a repetition writes them
    /// again, and who looks at them before the hypercall ends is promised nothing. False: the answer of the only one could
    /// not be written, which is to be [told](Self::tell).
    ///
    /// # Errors
    /// [`Stop::Untold`]: those of several could not.
    #[inline(always)]
    fn answer<M: GuestMemory>(&self, memory: &M, at: u64, count: usize) -> Result<bool, Stop> {
        let elements = self.elements[..count].as_bytes();
        if memory.copy_out(Gva(at), elements).is_ok() {
            return Ok(true);
        }
        if count > 1 {
            return Err(Stop::Untold);
        }
        let answer = elements.get(T::ANSWER..).unwrap_or_default();
        Ok(memory.copy_out(Gva(at.wrapping_add(T::ANSWER as u64)), answer).is_ok())
    }

    /// Tells the answer of the one that is still untold by an effect, which makes it the result of the call if that cannot
    /// be.
    #[inline(always)]
    pub(super) fn tell(&self, tx: &mut Tx<'_>, carried: &Carried) {
        if let Some(at) = carried.untold {
            self.tell_first(tx, at);
        }
    }

    #[inline(never)]
    fn tell_first(&self, tx: &mut Tx<'_>, at: u64) {
        let answer = self.elements[..1].as_bytes().get(T::ANSWER..).unwrap_or_default();
        copy_bytes(tx, at.wrapping_add(T::ANSWER as u64), answer);
    }
}
