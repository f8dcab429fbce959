//! Queries of `memory_op` that change nothing.

use crate::call::{Call, CallResult, fault};
use crate::memory_op::named_domain;
use guest_memory::GuestMemory;
use ids::{DomainSlot, Gva, Maddr, Mfn};
use pv_mmu::Pte;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::arch::{HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START};
use xen_abi::memory::{
    MachphysMapping, MachphysMfnList, MemAcquireResource, ReservedDeviceMemoryMap, VnumaTopologyInfo,
    XENMEM_CURRENT_RESERVATION, XENMEM_MAXIMUM_RESERVATION, XENMEM_RDM_ALL,
};

/// Range of the machine-to-physical table in every PV guest's address space.
const M2P_START: u64 = 0xffff_8000_0000_0000;
const M2P_END: u64 = 0xffff_8040_0000_0000;
/// Bytes of the table that one entry of `machphys_mfn_list` covers.
const M2P_EXTENT: u64 = 2 << 20;
/// Where shared_info holds the guest's `arch.max_pfn`.
const MAX_PFN_OFFSET: u64 = 3088;

/// Pages a domain has, may have, or its largest frame number.
pub(crate) fn of_domain<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    op: u32,
) -> Result<i64, Errno> {
    let slot = named_domain(call)?;
    let list = call.state.frames.list(slot);
    Ok(match op {
        XENMEM_CURRENT_RESERVATION => list.pages() as i64,
        // An unsigned int in Xen, all ones for "no limit".
        XENMEM_MAXIMUM_RESERVATION => list.max_pages().min(u32::MAX.into()) as i64,
        _ => {
            let page = call.state.domains.domain(slot).shared_info.get();
            let max_pfn = match page {
                Mfn(0) => 0,
                page => call.memory.load64(Maddr(page.maddr().0 + MAX_PFN_OFFSET)),
            };
            // One behind the last; 0 as long as the guest has not said it.
            max_pfn.saturating_sub(1) as i64
        }
    })
}

/// Where the machine-to-physical table is.
pub(crate) fn machphys_mapping<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
) -> Result<i64, Errno> {
    let max_mfn = call.state.frames.len().saturating_sub(1);
    let mapping = MachphysMapping { v_start: M2P_START, v_end: M2P_END, max_mfn };
    call.memory.write(Gva(call.args[1]), &mapping).map_err(fault)?;
    Ok(0)
}

/// The frames of the machine-to-physical table, one for every 2 MiB of it.
pub(crate) fn machphys_mfn_list<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
) -> Result<i64, Errno> {
    call.privileged()?;
    let at = Gva(call.args[1]);
    let mut list: MachphysMfnList = call.memory.read(at).map_err(fault)?;
    let extents = (call.state.frames.len() * 8).div_ceil(M2P_EXTENT);
    let mut count = 0;
    while u64::from(count) < extents && count < list.max_extents {
        let Some(mfn) = m2p_frame(call, u64::from(count)) else { break };
        let to = list.extent_start.checked_add(8 * u64::from(count)).ok_or(Errno::EFAULT)?;
        call.memory.write(Gva(to), &mfn.0).map_err(fault)?;
        count += 1;
    }
    list.nr_extents = count;
    call.memory.write(at, &list).map_err(fault)?;
    Ok(0)
}

/// The first frame of an extent of the table, from the page tables that show it to the guests.
fn m2p_frame<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>, extent: u64) -> Option<Mfn> {
    let below = |entry: Pte, index: u64| {
        entry.is_present().then(|| Pte(call.memory.load64(Maddr(entry.mfn().maddr().0 + 8 * (index % 512)))))
    };
    let l3 = below(Pte(call.state.hypervisor_slots[0]), extent / 512)?;
    if l3.0 & Pte::PSE != 0 {
        return Some(Mfn(l3.mfn().0 + (extent % 512) * 512));
    }
    let l2 = below(l3, extent)?;
    let found = if l2.0 & Pte::PSE != 0 { l2 } else { below(l2, 0)? };
    found.is_present().then(|| found.mfn())
}

/// `XENMEM_get_vnumainfo`: no domain has virtual nodes.
pub(crate) fn virtual_nodes<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>) -> CallResult {
    let topology: VnumaTopologyInfo = call.memory.read(Gva(call.args[1])).map_err(fault)?;
    if topology.pad != 0 {
        return Err(Errno::EINVAL);
    }
    call.domain_slot(topology.domid)?;
    Err(Errno::EOPNOTSUPP)
}

/// `XENMEM_access_op`: of another domain, with page tables by the processor; there is none of that kind.
pub(crate) fn access<M: GuestMemory + 'static, A: Apply>(call: &Call<'_, M, A>) -> CallResult {
    // The kind of operation and of access, then the domain.
    let [first, ..]: [u64; 4] = call.memory.read(Gva(call.args[1])).map_err(fault)?;
    let slot = call.state.domains.by_id(ids::DomId((first >> 16) as u16)).ok_or(Errno::ESRCH)?;
    Err(if slot == call.domain { Errno::EPERM } else { Errno::EINVAL })
}

/// Memory that devices need identity-mapped: none is known without an IOMMU.
pub(crate) fn reserved_device_memory<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
) -> Result<i64, Errno> {
    let at = Gva(call.args[1]);
    let mut map: ReservedDeviceMemoryMap = call.memory.read(at).map_err(fault)?;
    if map.nr_entries != 0 && (HYPERVISOR_VIRT_START..HYPERVISOR_VIRT_END).contains(&map.buffer) {
        return Err(Errno::EFAULT);
    }
    if map.flags & !XENMEM_RDM_ALL != 0 {
        return Err(Errno::EINVAL);
    }
    map.nr_entries = 0;
    call.memory.write(at, &map).map_err(fault)?;
    Ok(0)
}

/// The checks of `acquire_resource` that come before its kind.
pub(crate) fn check_resource<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
) -> Result<(DomainSlot, MemAcquireResource), Errno> {
    let request: MemAcquireResource = call.memory.read(Gva(call.args[1])).map_err(fault)?;
    if request.pad != 0 || request.frame.saturating_add(request.nr_frames.into()) >> 32 != 0 {
        return Err(Errno::EINVAL);
    }
    let own = call.state.domains.domain(call.domain).id.get().0;
    if request.domid == own {
        return Err(Errno::EPERM);
    }
    // Itself is no other domain.
    if request.domid == xen_abi::xen::DOMID_SELF {
        return Err(Errno::ESRCH);
    }
    Ok((call.domain_slot(request.domid)?, request))
}
