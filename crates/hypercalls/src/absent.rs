//! Families of which there is little or nothing yet: their arguments are checked in Xen's order, so that a caller who
//! is wrong learns the same errno; what Xen would carry out is refused, with one line in the log.

use crate::call::{Call, CallResult, fault};
use guest_memory::GuestMemory;
use ids::{DomId, Gva};
use toolstack_compat::v4_20::domctl::INTERFACE_VERSION;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::domctl::{Domctl, XEN_DOMCTL_INTERFACE_VERSION, XEN_DOMCTL_SHADOW_OP};
use xen_abi::hypercall as number;

/// Buffers of a `dm_op`, and bytes of what describes one.
const DM_BUFFERS: u32 = 2;

/// A hypercall that is not there, or whose family is not: the errno that callers of Xen know for it.
pub(crate) fn refused<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>, op: u64) -> CallResult {
    match op {
        // The performance counters are not virtualised (`vpmu=off`, Xen's default).
        number::XENPMU_OP => Err(Errno::EOPNOTSUPP),
        // No security module, no Argo and no transcendent memory: what Xen answers without them.
        number::XSM_OP | number::ARGO_OP | number::TMEM_OP => Err(Errno::ENOSYS),
        number::ARCH_1 => paging_continuation(call),
        number::XENOPROF_OP => profile(call),
        number::DM_OP => device_model(call),
        _ if number::name(op).is_some() => call.unsupported(op, call.args[0], Errno::ENOSYS),
        _ => call.unsupported(63, 0, Errno::ENOSYS),
    }
}

/// What a `domctl` on shadow page tables goes on by: no domain has any.
fn paging_continuation<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let op: Domctl = call.memory.read(Gva(call.args[0])).map_err(fault)?;
    let known = [XEN_DOMCTL_INTERFACE_VERSION, INTERFACE_VERSION].contains(&op.interface_version);
    if !known || op.cmd != XEN_DOMCTL_SHADOW_OP {
        return Err(Errno::EOPNOTSUPP);
    }
    call.state.domains.by_id(DomId(op.domain)).ok_or(Errno::ESRCH)?;
    Err(Errno::EINVAL)
}

/// `xenoprof_op`: nobody is the primary profiler, and no processor is known that could be profiled.
fn profile<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    const INIT: u32 = 0;
    const GET_BUFFER: u32 = 14;
    const LAST: u32 = 17;
    let command = call.args[0] as u32;
    match command {
        INIT => {
            call.memory.read::<[u64; 5]>(Gva(call.args[1])).map_err(fault)?;
            Err(Errno::ENODEV)
        }
        GET_BUFFER => {
            call.memory.read::<[u64; 4]>(Gva(call.args[1])).map_err(fault)?;
            call.unsupported(number::XENOPROF_OP, GET_BUFFER.into(), Errno::EOPNOTSUPP)
        }
        1..=LAST => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

/// `dm_op`: for device models of HVM domains, which there are none of.
fn device_model<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    let [domain, buffers, list, ..] = call.args;
    let (domain, buffers) = (domain as u16, buffers as u32);
    if buffers > DM_BUFFERS {
        return Err(Errno::E2BIG);
    }
    for buffer in 0..u64::from(buffers) {
        call.memory.read::<[u64; 2]>(Gva(list.wrapping_add(16 * buffer))).map_err(fault)?;
    }
    if buffers == 0 {
        return Err(Errno::ENODATA);
    }
    let found = call.state.domains.by_id(DomId(domain)).ok_or(Errno::ESRCH)?;
    if found == call.domain {
        return Err(Errno::EPERM);
    }
    call.privileged()?;
    Err(Errno::EINVAL)
}
