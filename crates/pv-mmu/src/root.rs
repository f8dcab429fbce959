//! The one entry of a root table that depends on its use: the machine-to-physical table's.
//!
//! As `VMASST_TYPE_m2p_strict` in the public `xen.h` says: a new root table lacks it; a kernel's use of the root puts
//! it in; a process's use takes it out again only of a guest that asked to be strict. So the kernels of a guest that
//! did not ask see the table through whatever root they use, also through one that some other vCPU's processes use.

use crate::work::entry_address;
use crate::{Mmu, Pte};
use guest_memory::GuestMemory;
use ids::Mfn;
use vault::{Effect, Tx, kind};

/// The slot of the machine-to-physical table in a root table (`ROOT_PAGETABLE_FIRST_XEN_SLOT`).
pub(crate) const M2P_SLOT: u16 = 256;

impl<M: GuestMemory> Mmu<'_, M> {
    /// A kernel is about to use `root`, which the transaction holds as a valid root table, its lock too: it will see
    /// the machine-to-physical table.
    pub fn show_m2p(&self, tx: &mut Tx<'static>, root: Mfn) {
        self.set_m2p_slot(tx, root, self.hypervisor_slots[0]);
    }

    /// Processes of a strict guest are about to use `root`: nobody sees that table through it.
    pub fn hide_m2p(&self, tx: &mut Tx<'static>, root: Mfn) {
        self.set_m2p_slot(tx, root, 0);
    }

    fn set_m2p_slot(&self, tx: &mut Tx<'static>, root: Mfn, wanted: u64) {
        let at = entry_address(root, M2P_SLOT);
        // A page walk may have marked it.
        if (self.memory.load64(at) ^ wanted) & !(Pte::A | Pte::D) != 0 {
            tx.publish(Effect { kind: kind::PTE, x: 0, a: at.0, b: wanted });
        }
    }
}
