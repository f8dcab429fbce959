//! Page-table entries: bits, and what a PV guest may put there.

use ids::Mfn;

/// A page-table entry (AMD64 manual volume 2, 5.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pte(pub u64);

impl Pte {
    /// Present.
    pub const P: u64 = 1;
    /// Writable.
    pub const RW: u64 = 1 << 1;
    /// User.
    pub const US: u64 = 1 << 2;
    /// Accessed.
    pub const A: u64 = 1 << 5;
    /// Dirty.
    pub const D: u64 = 1 << 6;
    /// Page size (in L2 and L3); PAT in L1.
    pub const PSE: u64 = 1 << 7;
    /// Global.
    pub const G: u64 = 1 << 8;
    /// Software bit 52: the entry maps a page of the guest *kernel* (`_PAGE_GUEST_KERNEL` of Xen's ABI).
    pub const GUEST_KERNEL: u64 = 1 << 52;
    /// No execute.
    pub const NX: u64 = 1 << 63;
    const FRAME: u64 = 0x000f_ffff_ffff_f000;

    /// Whether it maps anything.
    pub const fn is_present(self) -> bool {
        self.0 & Self::P != 0
    }

    /// Whether it allows writes.
    pub const fn is_writable(self) -> bool {
        self.0 & Self::RW != 0
    }

    /// It, without the right to write.
    pub const fn read_only(self) -> Self {
        Self(self.0 & !Self::RW)
    }

    /// The frame it names.
    pub const fn mfn(self) -> Mfn {
        Mfn((self.0 & Self::FRAME) >> ids::FRAME_SHIFT)
    }
}

impl core::fmt::Debug for Pte {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "pte:{:#x}", self.0)
    }
}

/// An L1 entry as it stands in a table: both rings 3 of a PV guest need the user bit; bit 52 remembers a
/// kernel page, the global bit marks a user page. Idempotent.
pub const fn adjusted_l1(pte: Pte) -> Pte {
    if !pte.is_present() {
        return pte;
    }
    if pte.0 & Pte::US == 0 {
        Pte(pte.0 & !Pte::G | Pte::US | Pte::GUEST_KERNEL)
    } else if pte.0 & Pte::GUEST_KERNEL == 0 {
        Pte(pte.0 | Pte::G)
    } else {
        Pte(pte.0 & !Pte::G)
    }
}

/// An entry of a higher level as it stands in a table. Idempotent.
pub const fn adjusted_table(pte: Pte) -> Pte {
    if pte.is_present() { Pte(pte.0 | Pte::US) } else { pte }
}

/// Whether two entries differ in the accessed and dirty bits at most.
pub const fn same_but_ad(a: u64, b: u64) -> bool {
    (a ^ b) & !(Pte::A | Pte::D) == 0
}
