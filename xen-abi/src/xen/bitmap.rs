//! Bitmaps of the control interfaces (`xen.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A bitmap in the caller's memory. C name: `xenctl_bitmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenctlBitmap {
    /// Linear address of the bytes.
    pub bitmap: u64,
    /// Bits there.
    pub nr_bits: u32,
    /// Padding.
    pub _pad0: u32,
}

const_assert_eq!(size_of::<XenctlBitmap>(), 16);
