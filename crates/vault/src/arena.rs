//! Arenas: the fixed memory in which regions of records lie.

use core::mem::{align_of, size_of};
use zerocopy::FromZeros;

/// A durable record: plain atomic words, valid when zeroed, without a destructor. Declared with
/// [`record!`](crate::record).
pub trait Record: FromZeros + Send + Sync + 'static {
    /// Its crate's name and its own: `frames::Frame`.
    const NAME: &'static str;
    /// Its fields, for those who read the memory from outside.
    const FIELDS: &'static [Field];
}

/// Where a field of a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Byte offset in the record.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

/// A region that an arena was asked for: `count` records of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Carved {
    /// The record's [`NAME`](Record::NAME).
    pub name: &'static str,
    /// Address of the first record.
    pub start: usize,
    /// Bytes from one to the next.
    pub stride: usize,
    /// Records.
    pub count: usize,
    /// Their fields.
    pub fields: &'static [Field],
}

/// Declares a durable record. Its doc comment names the lock that covers it (`Lock:`) and what rebuilds
/// the derived state that belongs to it (`Rebuild:`).
#[macro_export]
macro_rules! record {
    ($(#[$doc:meta])* $vis:vis struct $name:ident {
        $($(#[$field_doc:meta])* $field_vis:vis $field:ident : $type:ty),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive($crate::zerocopy::FromZeros)]
        #[zerocopy(crate = "vault::zerocopy")]
        #[repr(C)]
        #[expect(missing_debug_implementations, reason = "records are shown by their crate's audit")]
        $vis struct $name { $($(#[$field_doc])* $field_vis $field: $type),* }

        impl $crate::Record for $name {
            const NAME: &'static str = concat!(env!("CARGO_CRATE_NAME"), "::", stringify!($name));
            const FIELDS: &'static [$crate::Field] = &[$($crate::Field {
                name: stringify!($field),
                offset: ::core::mem::offset_of!($name, $field),
                size: ::core::mem::size_of::<$type>(),
            }),*];
        }
    };
}

/// A run of memory carved into regions in a fixed order, so that first boot and recovery get the same
/// addresses. First boot gives zeroed memory; recovery what was left there.
#[derive(Debug)]
pub struct Arena {
    next: usize,
    end: usize,
    carved: [Option<Carved>; MAX_CARVED],
}

/// Regions that [`Arena::carved`] has room for.
const MAX_CARVED: usize = 48;

impl Arena {
    /// # Safety
    /// (1) `start..start+len` is mapped, writable and used through this arena alone for the life of the
    /// program; (2) it is zeroed, or holds what the same sequence of [`carve`](Self::carve) calls left.
    #[expect(unsafe_code, reason = "the caller vouches for the memory")]
    pub const unsafe fn new(start: usize, len: usize) -> Self {
        Self { next: start, end: start + len, carved: [None; MAX_CARVED] }
    }

    /// Takes the next `count` records. `None` when the arena is too small.
    #[expect(unsafe_code, reason = "the one place where memory becomes records")]
    pub fn carve<R: Record>(&mut self, count: usize) -> Option<&'static [R]> {
        let region = Carved { name: R::NAME, start: 0, stride: size_of::<R>(), count, fields: R::FIELDS };
        let start = self.take(region, align_of::<R>().max(64))?;
        // SAFETY: (1) `new`'s contract gives the memory to this arena, and each carve moves past it;
        // (2) R is valid for zeroed memory (FromZeros) and for what its own atomics left there;
        // (3) R holds atomics only, so shared references are all that is needed.
        Some(unsafe { core::slice::from_raw_parts(start as *const R, count) })
    }

    /// Takes the next memory for `region`; returns where it starts. One function for all kinds of records.
    #[inline(never)]
    fn take(&mut self, mut region: Carved, align: usize) -> Option<usize> {
        let start = self.next.checked_next_multiple_of(align)?;
        let end = start.checked_add(region.stride.checked_mul(region.count)?)?;
        if end > self.end {
            return None;
        }
        self.next = end;
        region.start = start;
        if let Some(place) = self.carved.iter_mut().find(|place| place.is_none()) {
            *place = Some(region);
        }
        Some(start)
    }

    /// The first 48 regions carved, in order.
    pub fn carved(&self) -> impl Iterator<Item = &Carved> {
        self.carved.iter().flatten()
    }

    /// Bytes not carved yet.
    pub const fn left(&self) -> usize {
        self.end - self.next
    }
}

#[cfg(any(test, feature = "crash-points"))]
impl Arena {
    /// Host only: an arena of `len` zeroed bytes that is never freed.
    pub fn leak(len: usize) -> Self {
        Ground::leak(len).arena()
    }
}

/// Host only: the memory under an arena, never freed, which a simulator saves, puts back, and carves anew as
/// every start does.
#[cfg(any(test, feature = "crash-points"))]
#[derive(Clone, Copy, Debug)]
pub struct Ground(&'static [core::sync::atomic::AtomicU64]);

#[cfg(any(test, feature = "crash-points"))]
impl Ground {
    /// `len` zeroed bytes.
    pub fn leak(len: usize) -> Self {
        let words = (0..len / 8).map(|_| core::sync::atomic::AtomicU64::new(0));
        Self(words.collect::<std::vec::Vec<_>>().leak())
    }

    /// The words, for saving and putting back.
    pub const fn words(self) -> &'static [core::sync::atomic::AtomicU64] {
        self.0
    }

    /// An arena over all of it. Whoever carves it again carves the same records in the same order.
    #[expect(unsafe_code, reason = "gives leaked memory to an arena")]
    pub fn arena(self) -> Arena {
        // SAFETY: leaked, zeroed at first, atomics for whoever reaches it; records are atomics too, so that
        // even another order of carving would only mix up their meaning.
        unsafe { Arena::new(self.0.as_ptr() as usize, self.0.len() * 8) }
    }
}

impl Record for crate::log::Log {
    const NAME: &'static str = "vault::Log";
    const FIELDS: &'static [Field] =
        &[Field { name: "head", offset: core::mem::offset_of!(crate::log::Log, head), size: 8 }];
}
