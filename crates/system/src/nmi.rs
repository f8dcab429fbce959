//! NMIs that the machine raised: Dom0 is told.

use core::mem::offset_of;

use crate::System;
use crate::applier::Applier;
use crate::platform::Platform;
use domains::Life;
use ids::{DomainSlot, Mfn};
use vault::{Effect, Journal, kind};
use xen_abi::xen::{ArchSharedInfo, SharedInfo};

/// Dom0's slot.
const DOM0: DomainSlot = DomainSlot(0);
/// Where a domain's shared_info has the reasons; they are in the first byte.
const REASONS: u64 = (offset_of!(SharedInfo, arch) + offset_of!(ArchSharedInfo, nmi_reason)) as u64;

impl<P: Platform> System<P> {
    /// Shows Dom0 the reasons of the machine's NMIs and sends its first vCPU one. One that waits already is the same.
    /// `last`: this ends the entry.
    ///
    /// Stopped before the reasons are told, it is done again: such an NMI may come twice, never not at all.
    pub(crate) fn tell_nmi(&'static self, journal: &mut Journal<Applier<P>>, last: bool) {
        let reasons = self.platform.nmi_reasons();
        let domain = self.state.domains.domain(DOM0);
        journal.change(|tx| {
            if last {
                tx.last();
            }
            tx.lock(self.state.domain_locks.of(DOM0));
            let info = domain.shared_info.get();
            if reasons == 0 || domain.life() != Life::Alive || info == Mfn(0) {
                return;
            }
            let vcpu = domain.first_vcpu.get();
            let at = info.maddr().0 + REASONS;
            let all = self.platform.load8(ids::Maddr(at)) | reasons;
            tx.set(&self.state.domains.vcpu(vcpu).nmi_pending, true);
            tx.publish(Effect { kind: kind::GUEST_STORE, x: 1, a: at, b: all.into() });
            tx.publish(Effect { kind: kind::KICK, x: vcpu.0, a: 0, b: 0 });
        });
        self.platform.nmi_told(reasons);
    }
}
