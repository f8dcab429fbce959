//! The machine as the auditor of frames sees it: raw memory, and who holds frames besides page tables.

use crate::world::{DOMAINS, FORBIDDEN, World, hypervisor_slots};
use ::audit::{Audited, Found, Held};
use frames::Owner;
use ids::{DomainSlot, Maddr, Mfn, VcpuSlot};

/// A world under audit.
pub(super) struct Whole<'w>(pub(super) &'w World);

impl Whole<'_> {
    fn is_kernel_root(&self, mfn: Mfn) -> bool {
        let contexts = &self.0.system.state.contexts;
        (0..self.0.size.slots()).any(|vcpu| contexts.context(VcpuSlot(vcpu)).root_kernel.get() == mfn)
    }

    /// Whether it is a domain's and the hypervisor's, and the domain cannot give it up.
    fn is_shared(&self, mfn: Mfn) -> bool {
        let state = self.0.system.state;
        // Frame 0 is none.
        mfn != Mfn(0)
            && (0..DOMAINS).map(DomainSlot).any(|slot| {
                let tables = state.grants.frames(slot).chain(state.grants.status(slot));
                tables.chain([state.domains.domain(slot).shared_info.get()]).any(|shared| shared == mfn)
            })
    }
}

impl Audited for Whole<'_> {
    fn word(&self, at: Maddr) -> u64 {
        self.0.machine.memory.get(at)
    }

    fn is_slot_right(&self, root: Mfn, slot: u64, entry: u64) -> bool {
        // The M2P appears with a kernel's use.
        let hidden = slot == 256 && entry == 0 && !self.is_kernel_root(root);
        hidden || entry == hypervisor_slots()[slot as usize - 256]
    }

    /// Allocations, roots in use, descriptor tables, frames shared with the guest.
    fn held(&self, hold: &mut dyn FnMut(Mfn, Held)) {
        let state = self.0.system.state;
        for mfn in (0..state.frames.len()).map(Mfn) {
            let kept = |usage: frames::Usage| usage.is_allocated() || usage.owner() == Owner::HYPERVISOR;
            if state.frames.frame(mfn).is_some_and(|frame| kept(frame.usage())) {
                hold(mfn, Held::General);
            }
            if self.is_shared(mfn) {
                hold(mfn, Held::Writable);
            }
        }
        for vcpu in (0..self.0.size.slots()).map(VcpuSlot) {
            let context = state.contexts.context(vcpu);
            let roots = [&context.root_kernel, &context.root_user].map(|word| (word.get(), Held::Root));
            let tables = context.gdt.iter().chain(&context.ldt).map(|word| (word.get(), Held::Descriptors));
            roots.into_iter().chain(tables).filter(|(mfn, _)| *mfn != Mfn(0)).for_each(|(mfn, how)| {
                hold(mfn, how);
            });
        }
        for mapped in state.grants.mappings() {
            let how = if mapped.usage.writes() { Held::Writable } else { Held::General };
            (0..mapped.usage.references()).for_each(|_| hold(mapped.frame, how));
        }
        let mut both = |mfn: Mfn| {
            hold(mfn, Held::General);
            hold(mfn, Held::Writable);
        };
        events::held_frames(&state.events, &mut both);
        irqs::held_frames(&state.irqs, &mut both);
    }

    fn is_placed(&mut self, found: &Found) -> Result<(), String> {
        let Found { mfn, usage, free, listed, alive } = *found;
        let right = match usage.owner() {
            owner if let Some(slot) = owner.slot() => {
                !free && alive && (listed == Some(slot)) != self.is_shared(mfn)
            }
            Owner::HYPERVISOR => !free && alive && listed.is_none(),
            _ => free && !alive && listed.is_none(),
        };
        let m2p = self.0.machine.devices.borrow().m2p[mfn.0 as usize];
        if free && m2p != u64::MAX {
            return Err(format!("free, but its M2P entry is {m2p:#x}"));
        }
        if right { Ok(()) } else { Err(format!("free {free}, listed {listed:?}")) }
    }

    fn may_map_device(&self, mfn: Mfn, write: bool) -> bool {
        let kept = write && self.0.system.state.irqs.msix_tables.is_closed(mfn);
        mfn.0 != FORBIDDEN && !kept
    }
}
