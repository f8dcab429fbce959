//! The decision.

use command_line::{Mitigations as Asked, PageTableIsolation};

use crate::host::{Host, capability};

/// One answer for Dom0, one for other domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ForDomains {
    /// For Dom0.
    pub dom0: bool,
    /// For other domains.
    pub domu: bool,
}

/// How indirect branches are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Thunk {
    /// As they are.
    #[default]
    Jump,
    /// Behind a fence.
    Fence,
    /// As returns that speculation does not leave.
    Retpoline,
}

/// How the branch history is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Sequence {
    /// Not.
    #[default]
    None,
    /// Five times five taken branches.
    Short,
    /// Twelve times seven.
    Long,
}

/// Values of SPEC_CTRL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SpecCtrl {
    /// In the hypervisor.
    pub hypervisor: u64,
    /// In guests.
    pub guest: u64,
}

impl SpecCtrl {
    /// Indirect branch restricted speculation.
    pub const IBRS: u64 = 1 << 0;
    /// Single thread indirect branch predictors.
    pub const STIBP: u64 = 1 << 1;
    /// Speculative store bypass disable.
    pub const SSBD: u64 = 1 << 2;
    /// Predictive store forwarding disable.
    pub const PSFD: u64 = 1 << 7;
    /// Branch history injection disable, for the supervisor.
    pub const BHI_DIS_S: u64 = 1 << 10;
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// PV guests run on page tables that do not show the hypervisor.
    pub xpti: ForDomains,
    /// The branch history is cleared at each entry from a PV guest.
    pub history_at_entry: Sequence,
    /// The return stack is filled at each entry.
    pub returns_at_entry: bool,
    /// A prediction barrier at each entry.
    pub barrier_at_entry: bool,
    /// There are prediction barriers (PRED_CMD.IBPB), for guests too.
    pub has_barrier: bool,
    /// A prediction barrier when a CPU goes to another vCPU.
    pub barrier_at_switch: bool,
    /// VERW clears buffers at each exit.
    pub verw_at_exit: bool,
    /// The divider is overwritten at each exit.
    pub divider_at_exit: bool,
    /// SPEC_CTRL is loaded at each entry and exit.
    pub spec_ctrl: Option<SpecCtrl>,
    /// IA32_ARCH_CAPABILITIES for guests: what the CPU says, and RSBA where it should say so.
    pub capabilities: u64,
    /// What the indirect branches of the hypervisor should be.
    pub thunk: Thunk,
    /// RDRAND and RDSEED lock the bus (MCU_OPT_CTRL.RNGDS_MITG_DIS is clear); `None`: the CPU has no such bit.
    pub random_lock: Option<bool>,
    /// AVX is taken away from guests.
    pub hide_avx: bool,
    /// Not carried out by hypervisors without HVM guests: the L1 data cache would be flushed at their entries.
    pub l1d_flush: bool,
    /// Extended state is switched eagerly. It always is; this says whether it has to be.
    pub eager_fpu: bool,
    /// First machine address that a PTE which is not present may not name; `None`: the CPU is not vulnerable to L1TF.
    pub l1tf_safe: Option<u64>,
    /// Domains that name such addresses get shadow page tables: asked for, but there are none.
    pub l1tf_shadowing: ForDomains,
}

/// IA32_ARCH_CAPABILITIES: returns may be predicted by the branch target buffer.
const RSBA: u64 = 1 << 2;

impl Plan {
    /// What is done on this CPU under these options.
    pub fn decide(host: &Host, asked: &Asked, isolation: PageTableIsolation) -> Self {
        let by_default = !asked.nothing;
        let thunk = decide_thunk(host, asked);
        let spec_ctrl = decide_spec_ctrl(host, asked, thunk);
        let bhi_dis_s = spec_ctrl.is_some_and(|values| values.hypervisor & SpecCtrl::BHI_DIS_S != 0);
        let leaks = host.has_md_clear() && host.leaks_buffers() || host.leaks_registers();
        let isolate = by_default && host.has_meltdown();
        Self {
            xpti: ForDomains {
                dom0: isolation.dom0.unwrap_or(isolate),
                domu: isolation.domu.unwrap_or(isolate),
            },
            history_at_entry: decide_history(host, asked, bhi_dis_s),
            returns_at_entry: asked.returns.pv.unwrap_or(!host.has_smep() || needs_filled_returns(host)),
            barrier_at_entry: host.has_ibpb() && asked.barrier_at_entry.pv.unwrap_or(needs_barrier(host)),
            has_barrier: host.has_ibpb(),
            barrier_at_switch: host.has_ibpb() && asked.barrier_at_switch.unwrap_or(true),
            verw_at_exit: asked.verw.pv.unwrap_or(leaks),
            divider_at_exit: asked.divider.unwrap_or(host.leaks_quotients()),
            spec_ctrl: spec_ctrl.filter(|_| asked.registers.pv.unwrap_or(true)),
            thunk,
            capabilities: host.capabilities | if host.has_returns_by_target() { RSBA } else { 0 },
            random_lock: host.has_srbds_control().then(|| asked.random_lock.unwrap_or(true)),
            hide_avx: host.leaks_gathers() && asked.gathers.unwrap_or(true),
            l1d_flush: host.has_l1d_flush() && asked.l1d_flush.unwrap_or(host.has_l1tf()),
            eager_fpu: asked.eager_fpu.unwrap_or(host.has_lazy_fp()),
            l1tf_safe: host.has_l1tf().then(|| safe_address(host)),
            l1tf_shadowing: ForDomains {
                dom0: asked.l1tf_shadowing.dom0.unwrap_or(false),
                domu: asked.l1tf_shadowing.domu.unwrap_or(by_default && host.has_l1tf()),
            },
        }
    }
}

/// Where nothing cached can lie: beyond what addresses can name, if the L1 cache looks up more bits than that; else the
/// top quarter, where no RAM is.
fn safe_address(host: &Host) -> u64 {
    let bits = host.address_bits.clamp(32, 52);
    let top = 1 << bits;
    if host.l1_address_bits().is_some_and(|looked_up| looked_up > bits) { top } else { top - (top >> 2) }
}

fn decide_thunk(host: &Host, asked: &Asked) -> Thunk {
    use command_line::Thunk as Word;
    match asked.thunk {
        Some(Word::Jump) => Thunk::Jump,
        Some(Word::Fence) => Thunk::Fence,
        Some(Word::Retpoline) => Thunk::Retpoline,
        None if host.is_retpoline_safe() => Thunk::Retpoline,
        // IBRS does what a retpoline is for; a retpoline that may fail is better than nothing.
        None if host.has_ibrs() && asked.ibrs != Some(false) => Thunk::Jump,
        None => Thunk::Retpoline,
    }
}

fn decide_spec_ctrl(host: &Host, asked: &Asked, thunk: Thunk) -> Option<SpecCtrl> {
    let automatic = host.is_capable(capability::IBRS_ALL) || host.has_ibrs_always();
    let ibrs = host.has_ibrs() && asked.ibrs.unwrap_or(automatic || thunk == Thunk::Jump);
    let stibp = host.has_stibp()
        && asked.stibp.unwrap_or(host.has_stibp_always() || host.threads && ibrs && host.is_intel());
    let ssbd = host.has_ssbd() && asked.ssbd.unwrap_or(false);
    let psfd = host.has_psfd() && asked.psfd.unwrap_or(false);
    let history = host.has_bhi_control() && asked.bhi_dis_s.unwrap_or(host.has_history_injection());
    let hypervisor = [
        (ibrs, SpecCtrl::IBRS),
        (stibp, SpecCtrl::STIBP),
        (ssbd, SpecCtrl::SSBD),
        (psfd, SpecCtrl::PSFD),
        (history, SpecCtrl::BHI_DIS_S),
    ]
    .into_iter()
    .filter(|(wanted, _)| *wanted)
    .fold(0, |all, (_, bit)| all | bit);
    // What is not a matter of the entry, guests have as well.
    let guest = hypervisor & (SpecCtrl::STIBP | SpecCtrl::SSBD | SpecCtrl::PSFD);
    (hypervisor != 0).then_some(SpecCtrl { hypervisor, guest })
}

fn decide_history(host: &Host, asked: &Asked, bhi_dis_s: bool) -> Sequence {
    use command_line::Sequence as Word;
    let wanted = asked.history_at_entry.pv.unwrap_or(host.has_history_injection() && !bhi_dis_s);
    match asked.sequence {
        _ if !wanted => Sequence::None,
        Some(Word::None) => Sequence::None,
        Some(Word::Long) => Sequence::Long,
        // Aborting a transaction clears the history of CPUs whose TSX works; the short sequence does wherever that does.
        Some(Word::Short | Word::Transaction) => Sequence::Short,
        None if host.has_long_history() => Sequence::Long,
        None => Sequence::Short,
    }
}

/// Confused branches are kept away by a barrier at each entry; so are steered returns.
fn needs_barrier(host: &Host) -> bool {
    host.confuses_branches() || host.has_steered_returns()
}

/// A barrier that leaves the return stack alone wants it filled besides.
fn needs_filled_returns(host: &Host) -> bool {
    host.has_ibpb() && needs_barrier(host) && !host.has_ibpb_ret()
}
