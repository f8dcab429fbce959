//! Domains that come and go, as the toolstack makes and ends them. None of their vCPUs ever runs.

use super::{Guest, HyperCall};
use crate::entry::Write;
use crate::world::{DOMAINS, NEIGHBOUR, World};
use domains::Life;
use frames::{Owner, Usage};
use ids::{DomainSlot, Mfn};
use xen_abi::domctl::{
    XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_GETDOMAININFO,
    XEN_DOMCTL_GETPAGEFRAMEINFO3, XEN_DOMCTL_GETVCPUCONTEXT, XEN_DOMCTL_GETVCPUINFO,
    XEN_DOMCTL_HYPERCALL_INIT, XEN_DOMCTL_IOMEM_PERMISSION, XEN_DOMCTL_IOPORT_PERMISSION,
    XEN_DOMCTL_IRQ_PERMISSION, XEN_DOMCTL_MAX_MEM, XEN_DOMCTL_MAX_VCPUS, XEN_DOMCTL_PAUSEDOMAIN,
    XEN_DOMCTL_RESUMEDOMAIN, XEN_DOMCTL_SCHEDULER_OP, XEN_DOMCTL_SET_ADDRESS_SIZE,
    XEN_DOMCTL_SETDOMAINHANDLE, XEN_DOMCTL_SETVCPUAFFINITY, XEN_DOMCTL_UNPAUSEDOMAIN,
};
use xen_abi::hypercall;

/// Numbers that some of them have; the others get the next.
const NUMBERS: [u64; 3] = [40, 41, 0];
/// `MEMOP_populate_physmap` and others.
const MEMORY_OPS: [u64; 4] = [6, 6, 0, 1];
/// `MMUEXT_PIN_L1_TABLE` to `UNPIN_TABLE`.
const PIN_OPS: [u64; 7] = [0, 0, 1, 2, 3, 4, 4];

impl Guest {
    /// A call on one of them, or one that makes another.
    pub(super) fn domain_call(&mut self, world: &World) -> HyperCall {
        let known: Vec<(DomainSlot, u64)> = (NEIGHBOUR.0 + 1..DOMAINS)
            .map(|slot| (DomainSlot(slot), world.system.state.domains.domain(DomainSlot(slot))))
            .filter(|(_, record)| record.life() != Life::Free)
            .map(|(slot, record)| (slot, record.id.get().0.into()))
            .collect();
        if known.is_empty() || self.r.chance(6) {
            return self.create_domain();
        }
        let (slot, id) = self.r.pick(&known);
        match self.r.below(100) {
            0..=24 => self.memory_of(world, slot, id),
            25..=39 => self.tables_of(world, slot, id),
            40..=49 => self.map_page_of(world, slot, id),
            50..=57 => self.port_with(id),
            58..=69 => self.end_of(id),
            70..=79 => self.size_of(id),
            _ => self.setting_of(world, slot, id),
        }
    }

    fn create_domain(&mut self) -> HyperCall {
        let vcpus = self.r.pick(&[1, 1, 2, 3, 4, 0, 200]);
        let highest_port = self.r.pick(&[63, 127, u32::MAX]);
        let grant_frames = self.r.pick(&[1, 2, u32::MAX, 1 << 20]);
        let pool = self.r.pick(&[0, 0, 0, 1, 9]);
        let halves = [0, 1, 2, 3, 4, 0, 0, vcpus, highest_port, grant_frames, u32::MAX, 2, 0, pool, 0, 0];
        let words: Vec<u64> =
            halves.chunks(2).map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32).collect();
        let number = self.r.pick(&NUMBERS);
        self.domctl(XEN_DOMCTL_CREATEDOMAIN.into(), number, &words)
    }

    /// Its vCPUs and how much memory it may have.
    fn size_of(&mut self, id: u64) -> HyperCall {
        if self.r.chance(50) {
            let most = self.r.pick(&[1, 1, 2, 3, 4]);
            return self.domctl(XEN_DOMCTL_MAX_VCPUS.into(), id, &[most]);
        }
        let kib = 4 * self.r.pick(&[24, 24, 60, 3, 0, 1 << 40]);
        self.domctl(XEN_DOMCTL_MAX_MEM.into(), id, &[kib])
    }

    /// Pages for it, or taken from it.
    fn memory_of(&mut self, world: &World, slot: DomainSlot, id: u64) -> HyperCall {
        let op = self.r.pick(&MEMORY_OPS);
        let order = self.r.pick(&[0, 0, 0, 1, 2]);
        let count = 1 + self.r.below(6);
        let list: Vec<u64> = if op == 1 {
            (0..count).map(|_| self.frame_of(world, slot, |_| true)).collect()
        } else {
            (0..count).map(|_| self.r.below(64)).collect()
        };
        let list = self.args.words(&mut self.r, &list);
        let reservation = self.args.words(&mut self.r, &[list, count, order, id]);
        HyperCall::new(hypercall::MEMORY_OP, [op, reservation, 0, 0, 0])
    }

    fn frame_of(&mut self, world: &World, slot: DomainSlot, wanted: impl Fn(&Usage) -> bool) -> u64 {
        let frames = &world.system.state.frames;
        let own = |mfn: &u64| {
            let usage = frames.frame(Mfn(*mfn)).map(|frame| frame.usage());
            usage.is_some_and(|u| u.owner() == Owner::domain(slot) && wanted(&u))
        };
        let all: Vec<u64> = (0..frames.len()).filter(own).collect();
        if all.is_empty() || self.r.chance(4) {
            self.view.frame(world, &mut self.r)
        } else {
            self.r.pick(&all)
        }
    }

    /// A page of it becomes a table or ceases to be one, or an entry of such a table changes.
    fn tables_of(&mut self, world: &World, slot: DomainSlot, id: u64) -> HyperCall {
        if self.r.chance(60) {
            let frame = self.frame_of(world, slot, |_| true);
            let op = self.r.pick(&PIN_OPS);
            let request = self.args.words(&mut self.r, &[op, frame, 0]);
            return HyperCall::new(hypercall::MMUEXT_OP, [request, 1, 0, id, 0]);
        }
        let table = self.frame_of(world, slot, |u| u.kind().level().is_some());
        let page = self.frame_of(world, slot, |_| true);
        let at = table << 12 | self.r.below(8) << 3;
        let value = if self.r.chance(20) { 0 } else { page << 12 | self.r.pick(&[0x67, 0x65]) };
        let request = self.args.words(&mut self.r, &[at, value]);
        // Whose tables and whose pages.
        HyperCall::new(hypercall::MMU_UPDATE, [request, 1, 0, id | (id + 1) << 16, 0])
    }

    /// A page of it is mapped by Dom0, which also writes to it now and then.
    fn map_page_of(&mut self, world: &World, slot: DomainSlot, id: u64) -> HyperCall {
        let page = self.frame_of(world, slot, |_| true);
        let va = self.view.play_address(&mut self.r);
        if self.r.chance(30) && self.shows(world, va, slot) {
            self.args.writes.push(Write::Virtual(va, vec![0; 16]));
        }
        let flags = self.r.pick(&[0x67, 0x67, 0x65]);
        let request = self.args.words(&mut self.r, &[self.view.entry_of(va).0.0, page << 12 | flags]);
        HyperCall::new(hypercall::MMU_UPDATE, [request, 1, 0, id, 0])
    }

    /// Whether Dom0 has a page of it at an address.
    fn shows(&self, world: &World, va: u64, slot: DomainSlot) -> bool {
        let (state, root) =
            (world.system.state, world.system.state.contexts.context(self.vcpu).root_kernel.get());
        let frame =
            world.machine.memory.translate(root, va, true).and_then(|at| state.frames.frame(at.mfn()));
        frame.is_some_and(|frame| frame.usage().owner() == Owner::domain(slot))
    }

    /// A port of it for Dom0, or Dom0's end of one.
    fn port_with(&mut self, id: u64) -> HyperCall {
        let id = id as u32;
        let (op, words) =
            if self.r.chance(50) { (6, [id, 0, 0]) } else { (0, [id, self.r.below(6) as u32, 0]) };
        let at = self.args.halves(&mut self.r, &words);
        HyperCall::new(hypercall::EVENT_CHANNEL_OP, [op, at, 0, 0, 0])
    }

    fn end_of(&mut self, id: u64) -> HyperCall {
        let commands = [
            XEN_DOMCTL_DESTROYDOMAIN,
            XEN_DOMCTL_DESTROYDOMAIN,
            XEN_DOMCTL_PAUSEDOMAIN,
            XEN_DOMCTL_UNPAUSEDOMAIN,
            XEN_DOMCTL_RESUMEDOMAIN,
        ];
        let command = self.r.pick(&commands);
        self.domctl(command.into(), id, &[])
    }

    fn setting_of(&mut self, world: &World, slot: DomainSlot, id: u64) -> HyperCall {
        let commands = [
            XEN_DOMCTL_GETDOMAININFO,
            XEN_DOMCTL_GETVCPUINFO,
            XEN_DOMCTL_GETVCPUCONTEXT,
            XEN_DOMCTL_GETPAGEFRAMEINFO3,
            XEN_DOMCTL_SETDOMAINHANDLE,
            XEN_DOMCTL_SET_ADDRESS_SIZE,
            XEN_DOMCTL_HYPERCALL_INIT,
            XEN_DOMCTL_IOMEM_PERMISSION,
            XEN_DOMCTL_IOPORT_PERMISSION,
            XEN_DOMCTL_IRQ_PERMISSION,
            XEN_DOMCTL_SETVCPUAFFINITY,
            XEN_DOMCTL_SCHEDULER_OP,
        ];
        let command = self.r.pick(&commands);
        let frame = self.frame_of(world, slot, |_| true);
        let member = match command {
            XEN_DOMCTL_GETVCPUCONTEXT => vec![self.r.below(2), self.args.room(&mut self.r, 5200)],
            XEN_DOMCTL_GETPAGEFRAMEINFO3 => vec![1, self.args.words(&mut self.r, &[frame])],
            XEN_DOMCTL_SETDOMAINHANDLE => vec![self.r.next(), self.r.next()],
            XEN_DOMCTL_SET_ADDRESS_SIZE => vec![self.r.pick(&[64, 32])],
            XEN_DOMCTL_HYPERCALL_INIT => vec![frame],
            XEN_DOMCTL_IOMEM_PERMISSION => vec![self.r.pick(&[0xfe000, 0xfee00]), 1, self.r.below(2)],
            XEN_DOMCTL_IOPORT_PERMISSION => vec![0x60 | self.r.below(8) << 32, self.r.below(2)],
            XEN_DOMCTL_IRQ_PERMISSION => vec![self.r.below(20) | self.r.below(2) << 32],
            XEN_DOMCTL_SETVCPUAFFINITY => {
                let map = self.args.words(&mut self.r, &[3]);
                vec![self.r.below(3) | self.r.pick(&[1, 2, 3]) << 32, map, 8, map, 8]
            }
            XEN_DOMCTL_SCHEDULER_OP => vec![6, self.r.pick(&[1, 256, 700])],
            _ => vec![self.r.below(3)],
        };
        self.domctl(command.into(), id, &member)
    }
}
