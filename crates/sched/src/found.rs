//! Who wants a CPU, in one pass.

use ids::VcpuSlot;

/// What was found among those who want a CPU.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Who is next; what it is thought to have paid, and has.
    pub(crate) best: Option<(VcpuSlot, u128, u128)>,
    /// The least that another one has paid.
    pub(crate) rival: Option<u128>,
    /// When somebody gets a budget who would run here.
    pub(crate) budget: Option<u64>,
}

impl Found {
    /// Takes another one who wants the CPU into account.
    pub(crate) fn offer(&mut self, vcpu: VcpuSlot, thought: u128, paid: u128) {
        let other = match self.best {
            Some((_, best, _)) if best <= thought => paid,
            Some((_, _, before)) => {
                self.best = Some((vcpu, thought, paid));
                before
            }
            None => return self.best = Some((vcpu, thought, paid)),
        };
        self.rival = Some(self.rival.map_or(other, |rival| rival.min(other)));
    }
}
