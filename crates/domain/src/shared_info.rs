//! The page that a domain shares with the hypervisor.

use core::mem::offset_of;
use guest_memory::GuestMemory;
use ids::Maddr;
use xen_abi::xen::{SharedInfo, VcpuInfo, XEN_LEGACY_MAX_VCPUS};

/// Makes a new domain's: all zero but for the upcall masks.
pub fn clear_shared_info<M: GuestMemory>(memory: &M, at: Maddr) {
    memory.clear_frame(at);
    let first = offset_of!(SharedInfo, vcpu_info) + offset_of!(VcpuInfo, evtchn_upcall_mask);
    for vcpu in 0..XEN_LEGACY_MAX_VCPUS {
        memory.store8(Maddr(at.0 + (first + vcpu * size_of::<VcpuInfo>()) as u64), 1);
    }
}
