//! Grants between two domains: Dom0 and another, either of which grants and maps.

mod audit;
mod copy;
mod crash;
mod end;
mod format;
mod map;
mod transfer;

use crate::fixture::{ARGUMENT, DOM0, LIST, OTHER, OTHER_ID, World};
use crate::grants::{OP, setup, setup_status};
use guest_memory::GuestMemory;
use ids::{DomainSlot, Maddr, Mfn};
use xen_abi::grant_table::{GnttabMapGrantRef, GnttabUnmapGrantRef};

const SELF: u16 = 0x7ff0;
/// Frames of each domain: page tables of four levels, then pages.
pub(crate) const PAGES: usize = 4;
pub(crate) const HOST: u32 = 2;
pub(crate) const READ_ONLY: u32 = 4;
pub(crate) const BY_ENTRY: u32 = 16;

/// A domain's number.
pub(crate) fn id(slot: DomainSlot) -> u16 {
    if slot == DOM0 { 0 } else { OTHER_ID }
}

/// Two domains with page tables that map nothing, and tables of grants.
pub(crate) fn scene(world: &mut World) {
    for _ in 0..12 {
        let frames = world.state.frames;
        world.change(|tx| frames.allocate(tx, OTHER, 0, 64).expect("room"));
    }
    for slot in [OTHER, DOM0] {
        let list = frames_of(world, slot);
        for level in 1..4 {
            world.memory.store64(Mfn(list[level]).maddr(), list[level - 1] << 12 | 7);
        }
        world.caller = slot;
        // MMUEXT_PIN_L4_TABLE.
        for (index, word) in [3, list[3], 0].iter().enumerate() {
            world.put(ARGUMENT + 8 * index as u64, word);
        }
        assert_eq!(world.call(26, &[ARGUMENT, 1, 0, u64::from(SELF)]), 0);
        let vcpu = ids::VcpuSlot(slot.0.into());
        let context = world.state.contexts.context(vcpu);
        world.change(|tx| tx.set(&context.root_kernel, Mfn(list[3])));
        setup(world, SELF, 1);
        assert_eq!((world.call(OP, &[2, ARGUMENT, 1]), setup_status(world)), (0, 0));
    }
    world.audit_all();
}

/// The first frames of a domain's list: its tables from level 1 up, then its pages.
pub(crate) fn frames_of(world: &World, slot: DomainSlot) -> Vec<u64> {
    let mut list = Vec::new();
    let mut at = world.state.frames.list(slot).first();
    while let Some(mfn) = at {
        list.push(mfn.0);
        at = world.state.frames.frame(mfn).expect("a frame").following();
    }
    // New frames come to the head.
    list.reverse();
    list
}

/// A page of a domain.
pub(crate) fn page(world: &World, slot: DomainSlot, index: usize) -> u64 {
    frames_of(world, slot)[PAGES + index]
}

/// Where an L1 entry of a domain is.
pub(crate) fn entry(world: &World, slot: DomainSlot, index: u64) -> Maddr {
    Maddr((frames_of(world, slot)[0] << 12) + index * 8)
}

/// Where a grant of format 1 is.
pub(crate) fn grant_at(world: &World, slot: DomainSlot, gref: u64) -> Maddr {
    Maddr(world.state.grants.frames(slot).next().expect("a frame").maddr().0 + 8 * gref)
}

/// A domain grants one of its pages to another.
pub(crate) fn grant(world: &World, from: DomainSlot, gref: u64, to: DomainSlot, flags: u16, mfn: u64) {
    let word = u64::from(flags) | u64::from(id(to)) << 16 | mfn << 32;
    world.memory.store64(grant_at(world, from, gref), word);
}

/// The flags of a grant.
pub(crate) fn flags(world: &World, slot: DomainSlot, gref: u64) -> u16 {
    world.memory.load64(grant_at(world, slot, gref)) as u16
}

/// What to map.
#[derive(Clone, Copy)]
pub(crate) struct Map {
    pub(crate) from: DomainSlot,
    pub(crate) gref: u32,
    pub(crate) flags: u32,
    pub(crate) at: u64,
}

pub(crate) fn put_maps(world: &World, maps: &[Map]) {
    for (index, map) in maps.iter().enumerate() {
        let request = GnttabMapGrantRef {
            host_addr: map.at,
            flags: map.flags,
            ref_: map.gref,
            dom: id(map.from),
            status: 99,
            handle: 0x55,
            dev_bus_addr: 0,
        };
        world.put(LIST + 32 * index as u64, &request);
    }
}

pub(crate) fn get_map(world: &World, index: u64) -> GnttabMapGrantRef {
    world.get(LIST + 32 * index)
}

/// Maps one grant; its status and handle.
pub(crate) fn map(world: &World, map: Map) -> (i16, u32) {
    put_maps(world, &[map]);
    assert_eq!(world.call(OP, &[0, LIST, 1]), 0);
    let answer = get_map(world, 0);
    world.audit_all();
    (answer.status, answer.handle)
}

pub(crate) fn put_unmaps(world: &World, unmaps: &[(u64, u32)]) {
    for (index, (host_addr, handle)) in unmaps.iter().enumerate() {
        let request = GnttabUnmapGrantRef {
            host_addr: *host_addr,
            dev_bus_addr: 0,
            handle: *handle,
            status: 99,
            _pad0: [0; 2],
        };
        world.put(LIST + 24 * index as u64, &request);
    }
}

pub(crate) fn get_unmap(world: &World, index: u64) -> i16 {
    world.get::<GnttabUnmapGrantRef>(LIST + 24 * index).status
}

/// Ends one mapping; its status.
pub(crate) fn unmap(world: &World, at: u64, handle: u32) -> i16 {
    put_unmaps(world, &[(at, handle)]);
    assert_eq!(world.call(OP, &[1, LIST, 1]), 0);
    world.audit_all();
    get_unmap(world, 0)
}
