//! The names of things: frame numbers, addresses, domain, vCPU and CPU identifiers.
//!
//! Newtypes, so that a machine frame is never taken for a guest frame. No state, no logic.
#![no_std]
#![forbid(unsafe_code)]

use core::fmt;

/// log2 of the frame size.
pub const FRAME_SHIFT: u32 = 12;
/// Bytes in a frame (4 KiB).
pub const FRAME_SIZE: u64 = 1 << FRAME_SHIFT;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $short:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($short, "{:#x}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}

number!(
    /// Machine frame number: a 4 KiB frame of the real machine.
    Mfn(u64), "mfn:"
);
number!(
    /// Guest (pseudo-physical) frame number.
    Gfn(u64), "gfn:"
);
number!(
    /// Machine address in bytes.
    Maddr(u64), "maddr:"
);
number!(
    /// Guest virtual (linear) address in bytes: an allegation until it is translated.
    Gva(u64), "gva:"
);
number!(
    /// Domain identifier as guests see it (`domid_t`, public/xen.h).
    DomId(u16), "d"
);
number!(
    /// vCPU number within its domain.
    VcpuId(u32), "v"
);
number!(
    /// Index of a physical CPU, dense from 0 (the boot CPU).
    CpuId(u32), "cpu"
);

number!(
    /// Index of a domain's records in every durable region; slot 0 is Dom0. Reused after teardown.
    DomainSlot(u16), "dslot"
);
number!(
    /// Index of a vCPU's records in every durable region. A domain's vCPUs lie side by side, by number.
    VcpuSlot(u32), "vslot"
);

impl Mfn {
    /// The machine address of the frame's first byte.
    pub const fn maddr(self) -> Maddr {
        Maddr(self.0 << FRAME_SHIFT)
    }
}

impl Maddr {
    /// The frame the address lies in.
    pub const fn mfn(self) -> Mfn {
        Mfn(self.0 >> FRAME_SHIFT)
    }

    /// Byte offset within the frame.
    pub const fn offset(self) -> u64 {
        self.0 & (FRAME_SIZE - 1)
    }
}
