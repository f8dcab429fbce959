//! Which other CPUs a flush concerns.

use crate::System;
use crate::platform::{Flush, Platform};
use core::sync::atomic::{Ordering, fence};
use ids::{CpuId, DomainSlot};
use vault::Effect;
use vault::flush::{DOMAIN, LOCAL};

impl<P: Platform> System<P> {
    /// Asks the other CPUs that are concerned to forget; whether there are any.
    ///
    /// What a guest asks to be forgotten of its own mappings concerns the CPUs that hold one of its vCPUs, running or
    /// not. A CPU says whom it holds, passes a fence, and loads that vCPU's page tables, which forgets all of any other
    /// address space ([`System::load`]). Here the page tables are changed, a fence is passed, and then it is seen whom the
    /// CPU holds. So one found to hold nobody of the domain is in one of two places:
    ///
    /// - It will hold one. Its fence comes after the one here: the tables it loads are the changed ones.
    /// - It held one. Between saying that it holds another and the load of that one's page tables it uses no address of
    ///   a guest's, and what it still knows then goes with the load. One that holds nobody has loaded the hypervisor's
    ///   own tables before it said so ([`Platform::let_go`]), and uses none before the next load either.
    ///
    /// A slot of a vCPU is its domain's for as long as that lives, and it lives while it asks. Recovery says whom each CPU
    /// holds before any goes on, and each flushes after that.
    #[inline(always)]
    pub(crate) fn ask_others(&self, effect: &Effect, what: Flush) -> bool {
        effect.x != LOCAL && self.schedule.cpus() > 1 && self.ask_concerned(effect, what)
    }

    #[inline(never)]
    fn ask_concerned(&self, effect: &Effect, what: Flush) -> bool {
        fence(Ordering::SeqCst);
        let (own, domain) = (self.platform.cpu(), DomainSlot(effect.b as u16));
        let is_concerned = |cpu: &CpuId| *cpu != own && (effect.x != DOMAIN || self.holds(*cpu, domain));
        let mut asked = false;
        for cpu in (0..self.schedule.cpus()).map(CpuId).filter(is_concerned) {
            self.platform.ask_flush(cpu, what);
            asked = true;
        }
        asked
    }

    /// Whether a CPU holds a vCPU of a domain.
    fn holds(&self, cpu: CpuId, domain: DomainSlot) -> bool {
        let is_its = |vcpu| self.state.domains.vcpu(vcpu).domain.get() == domain;
        self.schedule.loaded(cpu).is_some_and(is_its)
    }
}
