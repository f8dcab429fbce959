//! `mca`: machine-check telemetry for Dom0. None is collected.

use crate::call::{Call, CallResult, Outcome, fault};
use guest_memory::GuestMemory;
use ids::Gva;
use vault::Apply;
use xen_abi::Errno;
use xen_abi::hypercall::ARCH_0;
use xen_abi::mca::{
    Mc, XEN_MC_ACK, XEN_MC_FETCH, XEN_MC_NODATA, XEN_MC_NONURGENT, XEN_MC_URGENT, XEN_MCA_INTERFACE_VERSION,
};

/// The hypercall: argument.
pub(crate) fn mca<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    call.privileged()?;
    let at = Gva(call.args[0]);
    let mut op: Mc = call.memory.read(at).map_err(fault)?;
    if op.interface_version != XEN_MCA_INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    if op.cmd != XEN_MC_FETCH {
        return call.unsupported(ARCH_0, op.cmd.into(), Errno::ENOSYS);
    }
    // The low half of the first word is `flags`, the second is `fetch_id`.
    let flags = op.u[0] as u32;
    match flags & !XEN_MC_ACK {
        XEN_MC_URGENT | XEN_MC_NONURGENT => {}
        _ => return Err(Errno::EINVAL),
    }
    if flags & XEN_MC_ACK == 0 {
        op.u[0] = op.u[0] & !0xffff_ffff | u64::from(XEN_MC_NODATA);
        op.u[1] = 0;
    } else {
        op.u[0] &= !0xffff_ffff;
    }
    call.memory.write(at, &op).map_err(fault)?;
    Ok(Outcome::Value(0))
}
