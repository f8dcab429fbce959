//! `XEN_DOMCTL_shadow_op`: there is no shadow paging, as in Debian's Xen, so that nobody notes what PV guests write to.

use super::pause::another;
use crate::call::{Call, CallResult, Outcome};
use guest_memory::GuestMemory;
use ids::DomainSlot;
use toolstack_compat::state::Shadow;
use vault::Apply;
use xen_abi::Errno;

/// What Xen answers without it.
pub(super) fn answer<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    domain: DomainSlot,
    what: Shadow,
) -> CallResult {
    let (record, _) = another(call, domain)?;
    if record.vcpus.get() == 0 {
        return Err(Errno::EINVAL);
    }
    match what {
        Shadow::Note => Err(Errno::EOPNOTSUPP),
        // There are no notes, so nothing is shown.
        Shadow::Show { unknown: false } => Ok(Outcome::Value(0)),
        Shadow::Off | Shadow::Show { unknown: true } | Shadow::Other => Err(Errno::EINVAL),
    }
}
