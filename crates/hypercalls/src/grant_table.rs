//! `grant_table_op`.
//!
//! Operations on lists carry out one element or a few in a transaction, which counts them and tells each its status; the
//! hypercall's result says nothing of them.

mod copy;
mod elements;
mod format;
mod group;
mod map;
mod places;
mod resource;
mod size;
mod transfer;
mod unmap;

use crate::call::{Call, CallResult};
use guest_memory::GuestMemory;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::arch::{HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START};
use xen_abi::grant_table::{
    GNTTABOP_CACHE_FLUSH, GNTTABOP_COPY, GNTTABOP_GET_STATUS_FRAMES, GNTTABOP_GET_VERSION,
    GNTTABOP_MAP_GRANT_REF, GNTTABOP_QUERY_SIZE, GNTTABOP_SET_VERSION, GNTTABOP_SETUP_TABLE,
    GNTTABOP_SWAP_GRANT_REF, GNTTABOP_TRANSFER, GNTTABOP_UNMAP_AND_REPLACE, GNTTABOP_UNMAP_GRANT_REF,
};
use xen_abi::hypercall::GRANT_TABLE_OP;

pub(crate) use resource::acquire;

/// Above these bits of the operation stands where `GNTTABOP_cache_flush` goes on.
const OPERATION: u64 = 0xfff;

/// The hypercall: operation, list, count.
pub(crate) fn grant_table_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [op, at, count, ..] = call.args;
    let (op, count) = (u64::from(op as u32), count as u32);
    if i32::try_from(count).is_err() {
        return Err(Errno::EINVAL);
    }
    if op & !OPERATION != 0 && op & OPERATION != GNTTABOP_CACHE_FLUSH.into() {
        return Err(Errno::EINVAL);
    }
    let count = u64::from(count);
    match (op & OPERATION) as u32 {
        GNTTABOP_MAP_GRANT_REF => map::map(call, at, count),
        GNTTABOP_UNMAP_GRANT_REF => unmap::unmap(call, at, count, false),
        GNTTABOP_UNMAP_AND_REPLACE => unmap::unmap(call, at, count, true),
        GNTTABOP_COPY => copy::copy(call, at, count),
        GNTTABOP_SETUP_TABLE if count == 1 => size::setup_table(call, at),
        GNTTABOP_QUERY_SIZE if count == 1 => size::query_size(call, at),
        GNTTABOP_GET_STATUS_FRAMES if count == 1 => size::status_frames(call, at),
        GNTTABOP_SETUP_TABLE | GNTTABOP_QUERY_SIZE | GNTTABOP_GET_STATUS_FRAMES => Err(Errno::EINVAL),
        GNTTABOP_SET_VERSION => format::set_version(call, at),
        GNTTABOP_GET_VERSION => format::get_version(call, at),
        GNTTABOP_SWAP_GRANT_REF => format::swap(call, at, count),
        GNTTABOP_CACHE_FLUSH => format::cache_flush(call, at, count),
        GNTTABOP_TRANSFER if is_in_hypervisor(at, count * transfer::BYTES) => Err(Errno::EFAULT),
        GNTTABOP_TRANSFER if !call.state.grants.transfers => Err(Errno::EOPNOTSUPP),
        GNTTABOP_TRANSFER => transfer::transfer(call, at, count),
        _ => call.unsupported(GRANT_TABLE_OP, op, Errno::ENOSYS),
    }
}

/// Whether a list lies in the hypervisor's part of the address space.
fn is_in_hypervisor(at: u64, bytes: u64) -> bool {
    at.saturating_add(bytes) > HYPERVISOR_VIRT_START && at < HYPERVISOR_VIRT_END
}
