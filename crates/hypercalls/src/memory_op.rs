//! `memory_op`: reservations, exchanges, and what there is to know about memory.

use crate::call::{Call, CallResult, Outcome, fault};
use crate::{memory_claim, memory_exchange, memory_map, memory_query, memory_reservation};
use guest_memory::GuestMemory;
use ids::Gva;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::hypercall::MEMORY_OP;
use xen_abi::memory::{
    MemoryDomain, XENMEM_ACCESS_OP, XENMEM_ACQUIRE_RESOURCE, XENMEM_ADD_TO_PHYSMAP,
    XENMEM_ADD_TO_PHYSMAP_BATCH, XENMEM_CLAIM_PAGES, XENMEM_CURRENT_RESERVATION, XENMEM_DECREASE_RESERVATION,
    XENMEM_EXCHANGE, XENMEM_GET_POD_TARGET, XENMEM_GET_SHARING_FREED_PAGES, XENMEM_GET_SHARING_SHARED_PAGES,
    XENMEM_GET_VNUMAINFO, XENMEM_INCREASE_RESERVATION, XENMEM_MACHINE_MEMORY_MAP,
    XENMEM_MACHPHYS_COMPAT_MFN_LIST, XENMEM_MACHPHYS_MAPPING, XENMEM_MACHPHYS_MFN_LIST, XENMEM_MAXIMUM_GPFN,
    XENMEM_MAXIMUM_RAM_PAGE, XENMEM_MAXIMUM_RESERVATION, XENMEM_MEMORY_MAP, XENMEM_PAGING_OP,
    XENMEM_POPULATE_PHYSMAP, XENMEM_REMOVE_FROM_PHYSMAP, XENMEM_RESERVED_DEVICE_MEMORY_MAP,
    XENMEM_RESOURCE_GRANT_TABLE, XENMEM_SET_MEMORY_MAP, XENMEM_SET_POD_TARGET, XENMEM_SHARING_OP,
};

/// The sub-operation has this many bits; above them stands where a repetition goes on.
pub(crate) const COMMAND_BITS: u32 = 6;

/// The hypercall: command and first extent, argument.
pub(crate) fn memory_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [command, at, ..] = call.args;
    let (op, start) = ((command & ((1 << COMMAND_BITS) - 1)) as u32, command >> COMMAND_BITS);
    match op {
        XENMEM_INCREASE_RESERVATION | XENMEM_POPULATE_PHYSMAP => {
            return memory_reservation::grow(call, op, start);
        }
        XENMEM_DECREASE_RESERVATION => return memory_reservation::shrink(call, start),
        XENMEM_ACCESS_OP => return memory_query::access(call),
        XENMEM_SET_MEMORY_MAP | XENMEM_PAGING_OP | XENMEM_SHARING_OP if start != 0 => {
            return Err(Errno::ENOSYS);
        }
        _ if start != 0 => return Err(Errno::EINVAL),
        XENMEM_EXCHANGE => return memory_exchange::exchange(call),
        _ => {}
    }
    let value = match op {
        XENMEM_MAXIMUM_RAM_PAGE => call.state.frames.len() as i64,
        XENMEM_CURRENT_RESERVATION | XENMEM_MAXIMUM_RESERVATION | XENMEM_MAXIMUM_GPFN => {
            memory_query::of_domain(call, op)?
        }
        XENMEM_MACHPHYS_MAPPING => memory_query::machphys_mapping(call)?,
        XENMEM_MACHPHYS_MFN_LIST => memory_query::machphys_mfn_list(call)?,
        XENMEM_MACHINE_MEMORY_MAP => return memory_map::machine(call),
        XENMEM_RESERVED_DEVICE_MEMORY_MAP => memory_query::reserved_device_memory(call)?,
        XENMEM_CLAIM_PAGES => return memory_claim::claim(call),
        // Nothing is shared.
        XENMEM_GET_SHARING_FREED_PAGES | XENMEM_GET_SHARING_SHARED_PAGES => 0,
        XENMEM_GET_VNUMAINFO => return memory_query::virtual_nodes(call),
        XENMEM_MACHPHYS_COMPAT_MFN_LIST => return Err(Errno::EOPNOTSUPP),
        // Only domains with physical addresses of their own have a map to change.
        XENMEM_ADD_TO_PHYSMAP | XENMEM_ADD_TO_PHYSMAP_BATCH | XENMEM_REMOVE_FROM_PHYSMAP => {
            named_domain(call)?;
            return Err(Errno::EACCES);
        }
        // The domain stands last in the argument.
        XENMEM_SET_POD_TARGET | XENMEM_GET_POD_TARGET => {
            domain_at(call, at.wrapping_add(32))?;
            return Err(Errno::EINVAL);
        }
        XENMEM_MEMORY_MAP => return memory_map::get(call),
        XENMEM_ACQUIRE_RESOURCE => {
            let (slot, request) = memory_query::check_resource(call)?;
            if request.type_ == XENMEM_RESOURCE_GRANT_TABLE {
                return crate::grant_table::acquire(call, slot, &request);
            }
            return call.unsupported(MEMORY_OP, op.into(), Errno::EOPNOTSUPP);
        }
        XENMEM_SET_MEMORY_MAP => return memory_map::set(call),
        // Xen without paging and sharing of memory has neither.
        XENMEM_PAGING_OP | XENMEM_SHARING_OP => return Err(Errno::ENOSYS),
        _ => return call.unsupported(MEMORY_OP, op.into(), Errno::ENOSYS),
    };
    Ok(Outcome::Value(value))
}

/// The domain that the argument begins with the number of.
pub(crate) fn named_domain<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
) -> Result<ids::DomainSlot, Errno> {
    domain_at(call, call.args[1])
}

fn domain_at<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    at: u64,
) -> Result<ids::DomainSlot, Errno> {
    let named: MemoryDomain = call.memory.read(Gva(at)).map_err(fault)?;
    call.domain_slot(named.domid)
}
