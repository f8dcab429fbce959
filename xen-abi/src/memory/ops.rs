//! Numbers of the memory operations and their flags (`memory.h`).

use crate::constants::constants;

constants! {
    /// Sub-operations of `memory_op`, in bits 5:0 of the command.
    XENMEM_OPS: u32;
    /// Adds pages: [`MemoryReservation`](crate::memory::MemoryReservation).
    XENMEM_INCREASE_RESERVATION = 0, "XENMEM_increase_reservation";
    /// Gives pages back: [`MemoryReservation`](crate::memory::MemoryReservation).
    XENMEM_DECREASE_RESERVATION = 1, "XENMEM_decrease_reservation";
    /// Returns the largest frame of RAM.
    XENMEM_MAXIMUM_RAM_PAGE = 2, "XENMEM_maximum_ram_page";
    /// Returns the pages of a domain: [`MemoryDomain`](crate::memory::MemoryDomain).
    XENMEM_CURRENT_RESERVATION = 3, "XENMEM_current_reservation";
    /// Returns the page limit of a domain: [`MemoryDomain`](crate::memory::MemoryDomain).
    XENMEM_MAXIMUM_RESERVATION = 4, "XENMEM_maximum_reservation";
    /// Lists the frames of the M2P: [`MachphysMfnList`](crate::memory::MachphysMfnList).
    XENMEM_MACHPHYS_MFN_LIST = 5, "XENMEM_machphys_mfn_list";
    /// Adds pages at given frame numbers: [`MemoryReservation`](crate::memory::MemoryReservation).
    XENMEM_POPULATE_PHYSMAP = 6, "XENMEM_populate_physmap";
    /// Maps one page: [`AddToPhysmap`](crate::memory::AddToPhysmap).
    XENMEM_ADD_TO_PHYSMAP = 7, "XENMEM_add_to_physmap";
    /// Reads the pseudo-physical map: [`MemoryMap`](crate::memory::MemoryMap).
    XENMEM_MEMORY_MAP = 9, "XENMEM_memory_map";
    /// Reads the machine's map: [`MemoryMap`](crate::memory::MemoryMap).
    XENMEM_MACHINE_MEMORY_MAP = 10, "XENMEM_machine_memory_map";
    /// Exchanges pages: [`MemoryExchange`](crate::memory::MemoryExchange).
    XENMEM_EXCHANGE = 11, "XENMEM_exchange";
    /// Reads where the M2P is: [`MachphysMapping`](crate::memory::MachphysMapping).
    XENMEM_MACHPHYS_MAPPING = 12, "XENMEM_machphys_mapping";
    /// Sets a domain's map: [`ForeignMemoryMap`](crate::memory::ForeignMemoryMap).
    XENMEM_SET_MEMORY_MAP = 13, "XENMEM_set_memory_map";
    /// Returns a domain's largest frame number: [`MemoryDomain`](crate::memory::MemoryDomain).
    XENMEM_MAXIMUM_GPFN = 14, "XENMEM_maximum_gpfn";
    /// Unmaps one page: [`RemoveFromPhysmap`](crate::memory::RemoveFromPhysmap).
    XENMEM_REMOVE_FROM_PHYSMAP = 15, "XENMEM_remove_from_physmap";
    /// Sets the populate-on-demand target: [`PodTarget`](crate::memory::PodTarget).
    XENMEM_SET_POD_TARGET = 16, "XENMEM_set_pod_target";
    /// Reads it: [`PodTarget`](crate::memory::PodTarget).
    XENMEM_GET_POD_TARGET = 17, "XENMEM_get_pod_target";
    /// Returns pages saved by sharing.
    XENMEM_GET_SHARING_FREED_PAGES = 18, "XENMEM_get_sharing_freed_pages";
    /// Returns pages shared.
    XENMEM_GET_SHARING_SHARED_PAGES = 19, "XENMEM_get_sharing_shared_pages";
    /// Paging by a pager.
    XENMEM_PAGING_OP = 20, "XENMEM_paging_op";
    /// Access restrictions.
    XENMEM_ACCESS_OP = 21, "XENMEM_access_op";
    /// Page sharing.
    XENMEM_SHARING_OP = 22, "XENMEM_sharing_op";
    /// Maps pages: [`AddToPhysmapBatch`](crate::memory::AddToPhysmapBatch).
    XENMEM_ADD_TO_PHYSMAP_BATCH = 23, "XENMEM_add_to_physmap_batch";
    /// Stakes a claim: [`MemoryReservation`](crate::memory::MemoryReservation).
    XENMEM_CLAIM_PAGES = 24, "XENMEM_claim_pages";
    /// `machphys_mfn_list` for 32-bit domains.
    XENMEM_MACHPHYS_COMPAT_MFN_LIST = 25, "XENMEM_machphys_compat_mfn_list";
    /// Reads the virtual NUMA topology: [`VnumaTopologyInfo`](crate::memory::VnumaTopologyInfo).
    XENMEM_GET_VNUMAINFO = 26, "XENMEM_get_vnumainfo";
    /// Lists reserved device memory: [`ReservedDeviceMemoryMap`](crate::memory::ReservedDeviceMemoryMap).
    XENMEM_RESERVED_DEVICE_MEMORY_MAP = 27, "XENMEM_reserved_device_memory_map";
    /// Maps hypervisor pages of a domain: [`MemAcquireResource`](crate::memory::MemAcquireResource).
    XENMEM_ACQUIRE_RESOURCE = 28, "XENMEM_acquire_resource";
}

constants! {
    /// Bits of [`MemoryReservation::mem_flags`](crate::memory::MemoryReservation::mem_flags).
    XENMEMFS: u32;
    /// Width of the addresses wanted; 0: any.
    XENMEMF_ADDRESS_BITS_MASK = 0xff, "XENMEMF_get_address_bits(~0u)";
    /// Position of the NUMA node, plus 1; 0: any.
    XENMEMF_NODE_SHIFT = 8, "__builtin_ctz(XENMEMF_node(0))";
    /// Allocate on first use.
    XENMEMF_POPULATE_ON_DEMAND = 0x1_0000, "XENMEMF_populate_on_demand";
    /// The node and no other.
    XENMEMF_EXACT_NODE_REQUEST = 0x2_0000, "XENMEMF_exact_node_request";
    /// The node is a virtual one.
    XENMEMF_VNODE = 0x4_0000, "XENMEMF_vnode";
}

constants! {
    /// Sources of `add_to_physmap`.
    XENMAPSPACES: u32;
    /// The shared info page.
    XENMAPSPACE_SHARED_INFO = 0, "XENMAPSPACE_shared_info";
    /// A grant-table frame.
    XENMAPSPACE_GRANT_TABLE = 1, "XENMAPSPACE_grant_table";
    /// A frame of the domain.
    XENMAPSPACE_GMFN = 2, "XENMAPSPACE_gmfn";
    /// A range of such frames.
    XENMAPSPACE_GMFN_RANGE = 3, "XENMAPSPACE_gmfn_range";
    /// A frame of another domain.
    XENMAPSPACE_GMFN_FOREIGN = 4, "XENMAPSPACE_gmfn_foreign";
    /// Device memory.
    XENMAPSPACE_DEV_MMIO = 5, "XENMAPSPACE_dev_mmio";
}

constants! {
    /// Bits of the index of `XENMAPSPACE_grant_table`.
    XENMAPIDXS: u64;
    /// A status frame.
    XENMAPIDX_GRANT_TABLE_STATUS = 0x8000_0000, "XENMAPIDX_grant_table_status";
}

constants! {
    /// Bits of [`ReservedDeviceMemoryMap::flags`](crate::memory::ReservedDeviceMemoryMap::flags).
    XENMEM_RDM_FLAGS: u32;
    /// All devices' regions.
    XENMEM_RDM_ALL = 1, "XENMEM_RDM_ALL";
}

constants! {
    /// Values of [`MemAcquireResource::type_`](crate::memory::MemAcquireResource::type_).
    XENMEM_RESOURCES: u16;
    /// Pages of an ioreq server.
    XENMEM_RESOURCE_IOREQ_SERVER = 0, "XENMEM_resource_ioreq_server";
    /// Grant-table frames.
    XENMEM_RESOURCE_GRANT_TABLE = 1, "XENMEM_resource_grant_table";
    /// Trace buffer of a vCPU.
    XENMEM_RESOURCE_VMTRACE_BUF = 2, "XENMEM_resource_vmtrace_buf";
}

constants! {
    /// Values of [`MemAcquireResource::id`](crate::memory::MemAcquireResource::id) for grant tables.
    XENMEM_RESOURCE_IDS: u32;
    /// The table.
    XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED = 0, "XENMEM_resource_grant_table_id_shared";
    /// The status frames.
    XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS = 1, "XENMEM_resource_grant_table_id_status";
}

constants! {
    /// Values of [`MemAcquireResource::frame`](crate::memory::MemAcquireResource::frame) for ioreq servers.
    XENMEM_IOREQ_FRAMES: u64;
    /// The buffered ring.
    XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ = 0, "XENMEM_resource_ioreq_server_frame_bufioreq";
    /// The first page of synchronous requests.
    XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ_0 = 1, "XENMEM_resource_ioreq_server_frame_ioreq(0)";
}
