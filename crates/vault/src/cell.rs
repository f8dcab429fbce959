//! The three kinds of durable word.

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use zerocopy::FromZeros;

mod sealed {
    pub trait Cell {
        fn load(&self) -> u64;
        fn store(&self, bits: u64);
        const WIDTH: u64;
    }
}
pub(crate) use sealed::Cell;

macro_rules! cell {
    ($atomic:ty, $int:ty, $width:literal) => {
        impl Cell for $atomic {
            const WIDTH: u64 = $width;
            #[inline(always)]
            fn load(&self) -> u64 {
                u64::from(<$atomic>::load(self, Ordering::Relaxed))
            }
            #[inline(always)]
            fn store(&self, bits: u64) {
                // Release: the undo entry and the head are in memory before the word changes.
                <$atomic>::store(self, bits as $int, Ordering::Release);
            }
        }
        impl Plain for $int {
            type Cell = $atomic;
            #[inline(always)]
            fn into_bits(self) -> u64 {
                u64::from(self)
            }
            #[inline(always)]
            fn from_bits(bits: u64) -> Self {
                bits as $int
            }
        }
    };
}

/// A value that fits one durable word. Implemented for `u8` to `u64`, `bool` and the newtypes of `ids`;
/// other newtypes use [`plain!`](crate::plain).
pub trait Plain: Copy + 'static {
    /// The atomic that stores it.
    #[doc(hidden)]
    type Cell: Cell + FromZeros + Send + Sync + 'static;
    /// The value's bits, zero-extended.
    fn into_bits(self) -> u64;
    /// The value back from its bits.
    fn from_bits(bits: u64) -> Self;
}

cell!(AtomicU8, u8, 1);
cell!(AtomicU16, u16, 2);
cell!(AtomicU32, u32, 4);
cell!(AtomicU64, u64, 8);

impl Plain for bool {
    type Cell = AtomicU8;
    #[inline(always)]
    fn into_bits(self) -> u64 {
        u64::from(self)
    }
    #[inline(always)]
    fn from_bits(bits: u64) -> Self {
        bits != 0
    }
}

/// Makes a one-field newtype over an integer a [`Plain`] value: `plain!(Port: u32)`.
#[macro_export]
macro_rules! plain {
    ($($name:ty: $int:ty),+ $(,)?) => {$(
        impl $crate::Plain for $name {
            type Cell = <$int as $crate::Plain>::Cell;
            #[inline(always)]
            fn into_bits(self) -> u64 {
                $crate::Plain::into_bits(self.0)
            }
            #[inline(always)]
            fn from_bits(bits: u64) -> Self {
                Self($crate::Plain::from_bits(bits))
            }
        }
    )+};
}

plain!(ids::DomainSlot: u16, ids::VcpuSlot: u32, ids::Mfn: u64, ids::Gfn: u64, ids::Maddr: u64, ids::Gva: u64, ids::DomId: u16, ids::VcpuId: u32, ids::CpuId: u32);

/// A word undone by value. Read anywhere; written only by [`Tx::set`](crate::Tx::set), under the lock
/// that its record names.
#[derive(FromZeros)]
#[repr(transparent)]
pub struct Durable<T: Plain> {
    pub(crate) cell: T::Cell,
}

impl<T: Plain> Durable<T> {
    /// The present value (possibly uncommitted, if this CPU's transaction wrote it).
    #[inline(always)]
    pub fn get(&self) -> T {
        T::from_bits(self.cell.load())
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for Durable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A shared 64-bit count, undone by delta. Changed only by [`Tx::add`](crate::Tx::add) (before the
/// commit) and by outbox effects (after it).
#[derive(FromZeros)]
#[repr(transparent)]
pub struct Counter {
    pub(crate) cell: AtomicU64,
}

impl Counter {
    /// The present value.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        self.cell.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A 64-bit state machine in one word, changed by compare-exchange and undone by the delta of that one
/// exchange (wrapping subtraction): other CPUs' changes to other fields of the word stay.
#[derive(FromZeros)]
#[repr(transparent)]
pub struct Word {
    pub(crate) cell: AtomicU64,
}

impl Word {
    /// The present value.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        // Acquire: pairs with the locked compare-exchange of `step`; what a state announces is there.
        self.cell.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.get())
    }
}

/// A word that belongs to a guest (a register, a saved selector): written directly, kept by every
/// microreboot, never rolled back.
#[derive(FromZeros)]
#[repr(transparent)]
pub struct GuestOwned<T: Plain> {
    cell: T::Cell,
}

impl<T: Plain> GuestOwned<T> {
    /// The present value.
    #[inline(always)]
    pub fn get(&self) -> T {
        T::from_bits(self.cell.load())
    }

    /// Gives it a value. Inside an entry this is for effects: before the commit the guest's registers
    /// stay what they were.
    #[inline(always)]
    pub fn set(&self, value: T) {
        crate::step::point();
        self.cell.store(value.into_bits());
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for GuestOwned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
