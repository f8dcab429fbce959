//! Walking a guest's page tables in software.

use crate::Pte;
use crate::work::entry_address;
use guest_memory::GuestMemory;
use ids::{Gva, Maddr, Mfn};

/// Where a guest address is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Address of the L1 entry.
    pub at: Maddr,
    /// The L1 entry.
    pub pte: Pte,
    /// Whether every level allows writes.
    pub writable: bool,
    /// Whether the page is a kernel page (bit 52).
    pub kernel: bool,
}

/// Finds the L1 entry of `va` under the root table `root`. `None`: a level above is absent, or `va` is
/// not canonical.
pub fn walk<M: GuestMemory>(memory: &M, root: Mfn, va: Gva) -> Option<Mapping> {
    let top = va.0 >> 47;
    if top != 0 && top != 0x1_ffff {
        return None;
    }
    let mut table = root;
    let mut writable = true;
    for level in (2..=4).rev() {
        let pte = Pte(memory.load64(entry_address(table, index_of(va, level))));
        if !pte.is_present() || pte.0 & Pte::PSE != 0 {
            return None;
        }
        writable &= pte.is_writable();
        table = pte.mfn();
    }
    let at = entry_address(table, index_of(va, 1));
    let pte = Pte(memory.load64(at));
    Some(Mapping { at, pte, writable: writable && pte.is_writable(), kernel: pte.0 & Pte::GUEST_KERNEL != 0 })
}

/// Index of `va` in a table of `level`.
pub(crate) fn index_of(va: Gva, level: u32) -> u16 {
    (va.0 >> (12 + 9 * (level - 1)) & 0x1ff) as u16
}
