//! Arguments of the memory operations (`memory.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::physdev::PhysdevPciDevice;

/// Argument of the reservation operations. C name: `xen_memory_reservation_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryReservation {
    /// Address of the frame list (u64 each).
    pub extent_start: u64,
    /// Extents in it.
    pub nr_extents: u64,
    /// Each has 2^order pages.
    pub extent_order: u32,
    /// Bits of [`XENMEMFS`](crate::memory::XENMEMFS).
    pub mem_flags: u32,
    /// Domain.
    pub domid: u16,
    /// Padding.
    pub _pad0: [u8; 6],
}

const_assert_eq!(size_of::<MemoryReservation>(), 32);

/// Argument of `XENMEM_exchange`. C name: `xen_memory_exchange_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryExchange {
    /// Extents given (C: `in`).
    pub in_: MemoryReservation,
    /// Extents taken.
    pub out: MemoryReservation,
    /// In: 0. Out: input extents done.
    pub nr_exchanged: u64,
}

const_assert_eq!(size_of::<MemoryExchange>(), 72);

/// Argument of the queries of a domain. C name: `xen_memory_domain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryDomain {
    /// Domain.
    pub domid: u16,
}

const_assert_eq!(size_of::<MemoryDomain>(), 2);

/// Argument of `XENMEM_machphys_mfn_list`. C name: `xen_machphys_mfn_list_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MachphysMfnList {
    /// Room in the list.
    pub max_extents: u32,
    /// Padding.
    pub _pad0: [u8; 4],
    /// Address of the list (u64 each).
    pub extent_start: u64,
    /// Out: extents written.
    pub nr_extents: u32,
    /// Padding.
    pub _pad1: [u8; 4],
}

const_assert_eq!(size_of::<MachphysMfnList>(), 24);

/// Argument of `XENMEM_machphys_mapping`. C name: `xen_machphys_mapping_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MachphysMapping {
    /// First linear address of the M2P.
    pub v_start: u64,
    /// One past the last.
    pub v_end: u64,
    /// Largest frame that may have an entry.
    pub max_mfn: u64,
}

const_assert_eq!(size_of::<MachphysMapping>(), 24);

/// Argument of `XENMEM_add_to_physmap`. C name: `xen_add_to_physmap_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddToPhysmap {
    /// Domain.
    pub domid: u16,
    /// Pages, for `XENMAPSPACE_gmfn_range`.
    pub size: u16,
    /// One of [`XENMAPSPACES`](crate::memory::XENMAPSPACES).
    pub space: u32,
    /// Index in it.
    pub idx: u64,
    /// Frame number to map at.
    pub gpfn: u64,
}

const_assert_eq!(size_of::<AddToPhysmap>(), 24);

/// Argument of `XENMEM_add_to_physmap_batch`. C name: `xen_add_to_physmap_batch_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddToPhysmapBatch {
    /// Domain.
    pub domid: u16,
    /// One of [`XENMAPSPACES`](crate::memory::XENMAPSPACES).
    pub space: u16,
    /// Pages.
    pub size: u16,
    /// Foreign domain of `XENMAPSPACE_gmfn_foreign`, else zero (C: union `u`).
    pub u: u16,
    /// Address of the indexes (u64 each).
    pub idxs: u64,
    /// Address of the frame numbers (u64 each).
    pub gpfns: u64,
    /// Address of the results (i32 each).
    pub errs: u64,
}

const_assert_eq!(size_of::<AddToPhysmapBatch>(), 32);

/// Argument of `XENMEM_remove_from_physmap`. C name: `xen_remove_from_physmap_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RemoveFromPhysmap {
    /// Domain.
    pub domid: u16,
    /// Padding.
    pub _pad0: [u8; 6],
    /// Frame number to unmap.
    pub gpfn: u64,
}

const_assert_eq!(size_of::<RemoveFromPhysmap>(), 16);

/// Argument of `XENMEM_memory_map` and `XENMEM_machine_memory_map`. C name: `xen_memory_map_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryMap {
    /// Room in the buffer; out: entries written.
    pub nr_entries: u32,
    /// Padding.
    pub _pad0: [u8; 4],
    /// Address of the [`E820Entry`](crate::e820::E820Entry) list.
    pub buffer: u64,
}

const_assert_eq!(size_of::<MemoryMap>(), 16);

/// Argument of `XENMEM_set_memory_map`. C name: `xen_foreign_memory_map_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ForeignMemoryMap {
    /// Domain.
    pub domid: u16,
    /// Padding.
    pub _pad0: [u8; 6],
    /// Its map.
    pub map: MemoryMap,
}

const_assert_eq!(size_of::<ForeignMemoryMap>(), 24);

/// Argument of the populate-on-demand operations. C name: `xen_pod_target_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PodTarget {
    /// In: target in pages.
    pub target_pages: u64,
    /// Out: pages of the domain.
    pub tot_pages: u64,
    /// Out: pages of the cache.
    pub pod_cache_pages: u64,
    /// Out: entries not yet populated.
    pub pod_entries: u64,
    /// In: domain.
    pub domid: u16,
    /// Padding.
    pub _pad0: [u8; 6],
}

const_assert_eq!(size_of::<PodTarget>(), 40);

/// One region of reserved device memory. C name: `xen_reserved_device_memory_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReservedDeviceMemory {
    /// First frame.
    pub start_pfn: u64,
    /// Pages.
    pub nr_pages: u64,
}

const_assert_eq!(size_of::<ReservedDeviceMemory>(), 16);

/// Argument of `XENMEM_reserved_device_memory_map`. C name: `xen_reserved_device_memory_map_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ReservedDeviceMemoryMap {
    /// Bits of [`XENMEM_RDM_FLAGS`](crate::memory::XENMEM_RDM_FLAGS).
    pub flags: u32,
    /// Room in the buffer; out: regions there are.
    pub nr_entries: u32,
    /// Address of the [`ReservedDeviceMemory`] list.
    pub buffer: u64,
    /// The device (C: union `dev`).
    pub dev: PhysdevPciDevice,
    /// Padding.
    pub _pad0: [u8; 4],
}

const_assert_eq!(size_of::<ReservedDeviceMemoryMap>(), 24);

/// Argument of `XENMEM_acquire_resource`. C name: `xen_mem_acquire_resource_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemAcquireResource {
    /// Domain of the resource.
    pub domid: u16,
    /// One of [`XENMEM_RESOURCES`](crate::memory::XENMEM_RESOURCES) (C: `type`).
    pub type_: u16,
    /// Which, by type.
    pub id: u32,
    /// Frames wanted; 0 with a null list: query, out: their number.
    pub nr_frames: u32,
    /// Must be zero.
    pub pad: u32,
    /// First frame of the resource.
    pub frame: u64,
    /// Address of the frame list (u64 each).
    pub frame_list: u64,
}

const_assert_eq!(size_of::<MemAcquireResource>(), 32);

/// Memory range of a virtual NUMA node. C name: `xen_vmemrange_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Vmemrange {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Zero.
    pub flags: u32,
    /// Node.
    pub nid: u32,
}

const_assert_eq!(size_of::<Vmemrange>(), 24);

/// Argument of `XENMEM_get_vnumainfo`. C name: `xen_vnuma_topology_info_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VnumaTopologyInfo {
    /// Domain.
    pub domid: u16,
    /// Must be zero.
    pub pad: u16,
    /// Room for, then number of nodes.
    pub nr_vnodes: u32,
    /// Room for, then number of vCPUs.
    pub nr_vcpus: u32,
    /// Room for, then number of ranges.
    pub nr_vmemranges: u32,
    /// Address of the distances (u32 each).
    pub vdistance: u64,
    /// Address of the node per vCPU (u32 each).
    pub vcpu_to_vnode: u64,
    /// Address of the [`Vmemrange`] list.
    pub vmemrange: u64,
}

const_assert_eq!(size_of::<VnumaTopologyInfo>(), 40);
