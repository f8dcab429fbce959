//! Hypercalls on page tables and descriptor tables.

use super::{Guest, HyperCall};
use crate::entry::Write;
use crate::world::World;
use ids::{Maddr, Mfn, VcpuSlot};
use xen_abi::hypercall;
use xen_abi::xen::DOMID_SELF;

const OP_NEW_BASE: u64 = 5;
const OP_NEW_USER_BASE: u64 = 15;

impl Guest {
    /// Where the number of elements done goes.
    fn done_count(&mut self) -> u64 {
        if self.r.chance(30) { 0 } else { self.args.halves(&mut self.r, &[0x5555]) }
    }

    fn whom(&mut self) -> u64 {
        if self.r.chance(95) { DOMID_SELF.into() } else { self.r.pick(&[0, 1, 0x7ff1, 0x7ff3]) }
    }

    /// A table of leaves comes into the kernel's address space; then it goes, and is a page to write to.
    fn relink(&mut self, world: &World) -> Option<HyperCall> {
        let mut list = match self.linked.take() {
            None => {
                let table = self.view.unused(world, &mut self.r)?;
                let at = self.view.spare_table_entry(world, &mut self.r)?;
                self.args.writes.push(Write::Clear(Mfn(table)));
                self.linked = Some((at.0, table));
                vec![at.0, table << 12 | 0x67]
            }
            Some((at, table)) => {
                let page = self.view.entry_of(self.view.play_address(&mut self.r)).0.0;
                vec![at, 0, page, table << 12 | 0x67]
            }
        };
        if self.r.chance(30) {
            list.extend([self.view.entry_of(self.view.play_address(&mut self.r)).0.0, 0]);
        }
        let count = list.len() as u64 / 2;
        let requests = self.args.words(&mut self.r, &list);
        Some(HyperCall::new(hypercall::MMU_UPDATE, [requests, count, 0, DOMID_SELF.into(), 0]))
    }

    pub(super) fn mmu_update(&mut self, world: &World) -> HyperCall {
        if self.r.chance(25)
            && let Some(call) = self.relink(world)
        {
            return call;
        }
        let count = 1 + self.r.below(6);
        let mut list = Vec::new();
        for _ in 0..count {
            let level = self.r.pick(&[0, 0, 0, 1, 1, 2, 3, 4]) as u32;
            let (at, value) = match self.view.table(world, &mut self.r, level.max(1)) {
                Some(table) if level > 0 => {
                    let at = table * 4096 + self.r.below(if level == 4 { 512 } else { 12 }) * 8;
                    (at, self.view.entry(world, &mut self.r, level))
                }
                _ => {
                    let va = self.view.play_address(&mut self.r);
                    (self.view.entry_of(va).0.0, self.view.entry(world, &mut self.r, 1))
                }
            };
            if self.r.chance(12) {
                let mfn = self.view.frame(world, &mut self.r);
                list.extend([mfn << 12 | 1, self.r.below(2000)]);
            } else {
                let at = if self.r.chance(2) { self.r.next() & 0xffff_fff8 } else { at };
                list.extend([at | self.r.pick(&[0, 0, 0, 2, 2, 3]), value]);
            }
        }
        if self.r.chance(40) {
            // As kernels do it: entries of one table go together.
            let (pairs, _) = list.as_chunks_mut::<2>();
            pairs.sort_unstable();
        }
        let requests = self.args.words(&mut self.r, &list);
        HyperCall::new(hypercall::MMU_UPDATE, [requests, count, self.done_count(), self.whom(), 0])
    }

    pub(super) fn update_va_mapping(&mut self, world: &World) -> HyperCall {
        let va = if self.r.chance(96) { self.view.play_address(&mut self.r) } else { self.r.next() };
        let value = self.view.entry(world, &mut self.r, 1);
        let cpus = self.args_words_of_cpus();
        let flags = self.r.pick(&[0, 1, 2, 3, 6, 5, cpus]);
        HyperCall::new(hypercall::UPDATE_VA_MAPPING, [va, value, flags, 0, 0])
    }

    /// A flush scope by a bitmap of vCPUs.
    fn args_words_of_cpus(&mut self) -> u64 {
        self.args.words(&mut self.r, &[3]) | 1
    }

    /// Fills an unused frame with what a table of `level` may hold; returns it.
    fn prepare_table(&mut self, world: &World, level: u32) -> Option<u64> {
        let table = self.view.unused(world, &mut self.r)?;
        let at = |index: u64| Maddr(table * 4096 + index * 8);
        self.args.writes.push(Write::Clear(Mfn(table)));
        for _ in 0..self.r.below(5) {
            let index = if level == 4 { self.r.pick(&[0, 1, 255, 272, 300, 510]) } else { self.r.below(512) };
            let entry = self.view.entry(world, &mut self.r, level);
            self.args.writes.push(Write::Word(at(index), entry));
        }
        if level == 4 && self.r.chance(90) {
            let (slot, entry) = self.view.kernel_slot;
            self.args.writes.push(Write::Word(at(slot), entry));
        }
        Some(table)
    }

    pub(super) fn mmuext(&mut self, world: &World) -> HyperCall {
        let count = 1 + self.r.below(4);
        let mut list = Vec::new();
        for _ in 0..count {
            list.extend(self.mmuext_one(world));
        }
        let ops = self.args.words(&mut self.r, &list);
        HyperCall::new(hypercall::MMUEXT_OP, [ops, count, self.done_count(), self.whom(), 0])
    }

    fn mmuext_one(&mut self, world: &World) -> [u64; 3] {
        match self.r.below(20) {
            0..=5 => {
                let level = self.r.pick(&[1, 1, 1, 2, 2, 3, 4, 4]) as u32;
                let table = if self.r.chance(75) { self.prepare_table(world, level) } else { None };
                let table = table.unwrap_or_else(|| self.view.frame(world, &mut self.r));
                [u64::from(level) - 1, table, 0]
            }
            6..=8 => {
                let level = self.r.pick(&[1, 2, 3, 4]) as u32;
                let table = self.view.table(world, &mut self.r, level);
                [4, table.unwrap_or_else(|| self.view.frame(world, &mut self.r)), 0]
            }
            9 => [OP_NEW_BASE, self.root(world), 0],
            10 | 11 => {
                let root = if self.r.chance(15) { 0 } else { self.root(world) };
                [OP_NEW_USER_BASE, root, 0]
            }
            12 => {
                let base = self.view.play_address(&mut self.r);
                let entries = self.r.pick(&[0, 1, 512, 1024, 8192, 9000]);
                [13, base, entries]
            }
            13 => [16, self.view.frame(world, &mut self.r), 0],
            14 => [17, self.view.frame(world, &mut self.r), self.view.frame(world, &mut self.r)],
            _ => {
                let op = self.r.pick(&[6, 7, 8, 9, 10, 11, 12, 18, 99]);
                [op, self.view.play_address(&mut self.r), self.args_words_of_cpus() & !1]
            }
        }
    }

    /// A root table on which the kernel can go on.
    fn root(&mut self, world: &World) -> u64 {
        let (slot, entry) = self.view.kernel_slot;
        let frame_of = 0x000f_ffff_ffff_f000_u64;
        let good = |mfn: &u64| {
            let found = world.machine.memory.get(Maddr(mfn * 4096 + slot * 8));
            found & frame_of == entry & frame_of && found & 1 != 0
        };
        let all = self.view.frames(world, |u| u.kind() == frames::Kind::L4 && u.typed() > 0);
        let all: Vec<u64> = all.into_iter().filter(good).collect();
        let first = world.system.state.contexts.context(VcpuSlot(0)).root_kernel.get().0;
        match (all.is_empty(), self.r.below(10)) {
            (false, 0..=7) => self.r.pick(&all),
            (_, 8) => self.prepare_table(world, 4).unwrap_or(first),
            _ => first,
        }
    }

    pub(super) fn set_gdt(&mut self, world: &World) -> HyperCall {
        let entries = self.r.pick(&[0, 1, 512, 513, 1024, 1536, 8000]);
        let list: Vec<u64> = (0..3).map(|_| self.descriptors(world)).collect();
        let list = self.args.words(&mut self.r, &list);
        HyperCall::new(hypercall::SET_GDT, [list, entries, 0, 0, 0])
    }

    /// A frame that may be a descriptor table: zeroed if nobody uses it.
    fn descriptors(&mut self, world: &World) -> u64 {
        match self.view.unused(world, &mut self.r) {
            Some(frame) if self.r.chance(80) => {
                self.args.writes.push(Write::Clear(Mfn(frame)));
                frame
            }
            _ => self.view.frame(world, &mut self.r),
        }
    }

    pub(super) fn update_descriptor(&mut self, world: &World) -> HyperCall {
        let used = self.view.frames(world, |u| u.kind() == frames::Kind::Descriptors);
        let frame = if used.is_empty() { self.view.frame(world, &mut self.r) } else { self.r.pick(&used) };
        let raw = self.r.pick(&[0, 0x00af_fb00_0000_ffff, 0x00cf_f300_0000_ffff, 0x00af_9b00_0000_ffff]);
        HyperCall::new(hypercall::UPDATE_DESCRIPTOR, [frame * 4096 + self.r.below(512) * 8, raw, 0, 0, 0])
    }
}
