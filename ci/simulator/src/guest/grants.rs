//! Hypercalls on grants: of the guest's own pages and of a neighbour's, who lies still.

use super::{Guest, HyperCall};
use crate::entry::Write;
use crate::world::{NEIGHBOUR_ID, World};
use guest_memory::GuestMemory as _;
use ids::{DomainSlot, Maddr};
use xen_abi::grant_table::{
    GNTMAP_APPLICATION_MAP, GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP, GNTMAP_READONLY,
    GNTTABOP_COPY, GNTTABOP_GET_STATUS_FRAMES, GNTTABOP_GET_VERSION, GNTTABOP_MAP_GRANT_REF,
    GNTTABOP_QUERY_SIZE, GNTTABOP_SET_VERSION, GNTTABOP_SETUP_TABLE, GNTTABOP_SWAP_GRANT_REF,
    GNTTABOP_UNMAP_AND_REPLACE, GNTTABOP_UNMAP_GRANT_REF,
};
use xen_abi::hypercall;
use xen_abi::xen::DOMID_SELF;

const OWN: DomainSlot = DomainSlot(0);
/// References that are played with.
const REFS: u64 = 12;
/// Flags for use in an entry of format 1.
const IN_USE: u64 = 24;

impl Guest {
    /// A call of any kind, with an entry of the guest's own table changed before, now and then.
    pub(super) fn grant_table_op(&mut self, world: &World) -> HyperCall {
        if self.r.chance(60) {
            self.write_grant(world);
        }
        let (op, at, count) = match self.r.below(100) {
            0..=29 => self.map_grants(),
            30..=54 => self.unmap_grants(world),
            55..=59 => self.replace_grant(world),
            60..=84 => self.copy_grants(world),
            85..=88 => self.swap_grants(),
            _ => self.grant_table_call(),
        };
        HyperCall::new(hypercall::GRANT_TABLE_OP, [op.into(), at, count, 0, 0])
    }

    /// Grants a page of its own to itself, or takes such a grant back, as long as nobody uses it.
    fn write_grant(&mut self, world: &World) {
        let grants = &world.system.state.grants;
        let Some(table) = grants.frames(OWN).next().map(|mfn| mfn.maddr().0) else { return };
        let gref = self.r.below(REFS);
        let flags = self.r.pick(&[1, 1, 1, 1 | 4, 0, 2, 1 | 256]);
        let frame = self.view.frame(world, &mut self.r);
        if grants.mappings().any(|m| m.granter == OWN && u64::from(m.gref) == gref) {
            return;
        }
        if grants.version(OWN) == 1 {
            let at = Maddr(table + 8 * gref);
            if world.machine.load64(at) & IN_USE == 0 {
                self.args.writes.push(Write::Word(at, flags | frame << 32));
            }
        } else {
            let part = self.r.below(4096) << 32 | self.r.below(4096) << 48;
            let part = if flags & 256 != 0 { part } else { 0 };
            self.args.writes.push(Write::Word(Maddr(table + 16 * gref), flags | part));
            self.args.writes.push(Write::Word(Maddr(table + 16 * gref + 8), frame));
        }
    }

    fn granter(&mut self) -> u64 {
        self.r.pick(&[0, NEIGHBOUR_ID.into(), NEIGHBOUR_ID.into(), NEIGHBOUR_ID.into(), 0x1234])
    }

    fn gref(&mut self) -> u64 {
        if self.r.chance(4) { self.r.pick(&[255, 256, 511, 512, 0xffff_ffff]) } else { self.r.below(REFS) }
    }

    fn map_grants(&mut self) -> (u32, u64, u64) {
        let count = 1 + self.r.below(4);
        let mut list = Vec::new();
        for _ in 0..count {
            let va = self.view.play_address(&mut self.r);
            let by_entry = self.r.chance(50);
            let mut flags = self.r.pick(&[GNTMAP_HOST_MAP, GNTMAP_HOST_MAP, GNTMAP_HOST_MAP, 3, 1, 0]);
            flags |= self.r.pick(&[0, 0, GNTMAP_READONLY]);
            flags |= self.r.pick(&[0, GNTMAP_APPLICATION_MAP, 1 << 16, GNTMAP_DEVICE_MAP]);
            flags |= if by_entry { GNTMAP_CONTAINS_PTE } else { 0 };
            let mut at = if by_entry { self.view.entry_of(va).0.0 } else { va };
            if self.r.chance(3) {
                at = self.r.pick(&[0, 1 << 47, 0x1234, at + 4, u64::MAX - 7]);
            }
            let (gref, granter) = (self.gref(), self.granter());
            list.extend([at, u64::from(flags) | gref << 32, granter, 0]);
        }
        (GNTTABOP_MAP_GRANT_REF, self.args.words(&mut self.r, &list), count)
    }

    /// A mapping there is, and where an entry for its frame may be; or none at all.
    fn mapped(&mut self, world: &World) -> (u64, u64, u64) {
        let mappings: Vec<_> = world.system.state.grants.mappings().filter(|m| m.mapper == OWN).collect();
        if mappings.is_empty() || self.r.chance(8) {
            return (self.view.play_address(&mut self.r), 0, self.r.below(300));
        }
        let mapped = self.r.pick(&mappings);
        let places: Vec<u64> = (0..512)
            .map(|index| self.view.l1.maddr().0 + 8 * index)
            .filter(|at| world.machine.load64(Maddr(*at)) >> 12 & 0xff_ffff == mapped.frame.0)
            .collect();
        let device = if self.r.chance(70) { mapped.frame.0 << 12 } else { 0 };
        if places.is_empty() {
            return (self.view.play_address(&mut self.r), device, mapped.handle.into());
        }
        let at = self.r.pick(&places);
        let by_entry = mapped.usage.has(grants::Use::BY_ENTRY) != self.r.chance(3);
        let host = if by_entry { at } else { self.view.address_of(Maddr(at)) };
        let host = if self.r.chance(5) { 0 } else { host };
        (host, device, mapped.handle.into())
    }

    fn unmap_grants(&mut self, world: &World) -> (u32, u64, u64) {
        let count = self.r.pick(&[1, 1, 2, 3, 4]);
        let list: Vec<u64> = (0..count)
            .flat_map(|_| {
                let (host, device, handle) = self.mapped(world);
                [host, device, handle]
            })
            .collect();
        (GNTTABOP_UNMAP_GRANT_REF, self.args.words(&mut self.r, &list), count)
    }

    fn replace_grant(&mut self, world: &World) -> (u32, u64, u64) {
        let (host, _, handle) = self.mapped(world);
        let from = if self.r.chance(10) { 0 } else { self.view.play_address(&mut self.r) };
        (GNTTABOP_UNMAP_AND_REPLACE, self.args.words(&mut self.r, &[host, from, handle]), 1)
    }

    fn copy_grants(&mut self, world: &World) -> (u32, u64, u64) {
        let count = 1 + self.r.below(3);
        let mut list = Vec::new();
        for _ in 0..count {
            let flags = self.r.below(4);
            let len = self.r.pick(&[0, 8, 40, 100, 200]);
            for bit in [1, 2] {
                let offset = self.r.pick(&[0, 0, 8, 64, 3, 1000, 4090]);
                let (what, domain) = if flags & bit != 0 {
                    (self.gref(), self.granter())
                } else {
                    (self.view.frame(world, &mut self.r), DOMID_SELF.into())
                };
                list.extend([what, domain | offset << 16]);
            }
            list.push(len | flags << 16);
        }
        (GNTTABOP_COPY, self.args.words(&mut self.r, &list), count)
    }

    fn swap_grants(&mut self) -> (u32, u64, u64) {
        let refs = [self.gref() as u32, self.gref() as u32, 0];
        (GNTTABOP_SWAP_GRANT_REF, self.args.halves(&mut self.r, &refs), 1)
    }

    /// The table's size, frames and version.
    fn grant_table_call(&mut self) -> (u32, u64, u64) {
        let own = u32::from(DOMID_SELF);
        let op = self.r.pick(&[
            GNTTABOP_SETUP_TABLE,
            GNTTABOP_SETUP_TABLE,
            GNTTABOP_QUERY_SIZE,
            GNTTABOP_SET_VERSION,
            GNTTABOP_SET_VERSION,
            GNTTABOP_SET_VERSION,
            GNTTABOP_GET_STATUS_FRAMES,
            GNTTABOP_GET_VERSION,
            13,
        ]);
        let at = match op {
            GNTTABOP_SETUP_TABLE => {
                let frames = self.r.pick(&[1, 1, 2, 3, 70]);
                let list = self.args.room(&mut self.r, 64);
                let words = [u64::from(own) | frames << 32, 0, list];
                self.args.words(&mut self.r, &words)
            }
            GNTTABOP_GET_STATUS_FRAMES => {
                let list = self.args.room(&mut self.r, 64);
                let words = [1 | u64::from(own) << 32, list];
                self.args.words(&mut self.r, &words)
            }
            GNTTABOP_SET_VERSION => {
                let version = self.r.pick(&[1, 1, 2, 2, 3]);
                self.args.halves(&mut self.r, &[version])
            }
            GNTTABOP_QUERY_SIZE => self.args.halves(&mut self.r, &[own, 0, 0, 0]),
            GNTTABOP_GET_VERSION => self.args.halves(&mut self.r, &[own, 0]),
            _ => self.args.room(&mut self.r, 128),
        };
        (op, at, 1)
    }
}
