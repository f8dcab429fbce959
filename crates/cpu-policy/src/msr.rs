//! Model-specific registers of PV guests.
//!
//! Everything not listed faults. The answers are those of Xen 4.17; where they rest on state that is not
//! policy (a vCPU's stored value, the real register, the clock) they name it and the caller supplies it.

use crate::control::is_canonical;
use crate::cpuid::{Policy, Vendor};
use crate::features::Feature;
use crate::system::{ARCH_CAPABILITIES, PLATFORM_INFO};

const P5_MC_ADDR: u32 = 0x0;
const P5_MC_TYPE: u32 = 0x1;
const TSC: u32 = 0x10;
const PLATFORM_ID: u32 = 0x17;
const APIC_BASE: u32 = 0x1b;
const FEATURE_CONTROL: u32 = 0x3a;
const SPEC_CTRL: u32 = 0x48;
const PRED_CMD: u32 = 0x49;
const MICROCODE_LEVEL: u32 = 0x8b;
const PERF_COUNTER_0: u32 = 0xc1;
const PERF_COUNTER_7: u32 = 0xc8;
const MISC_FEATURES_ENABLES: u32 = 0x140;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const MCG_CTL: u32 = 0x17b;
const MPERF: u32 = 0xe7;
const APERF: u32 = 0xe8;
const THERM_CONTROL: u32 = 0x19a;
const ENERGY_PERF_BIAS: u32 = 0x1b0;
const PERF_SELECT_0: u32 = 0x186;
const PERF_SELECT_3: u32 = 0x189;
const PERF_STATUS: u32 = 0x198;
const PERF_CTL: u32 = 0x199;
const THERM_STATUS: u32 = 0x19c;
const MISC_ENABLE: u32 = 0x1a0;
const PAT: u32 = 0x277;
const MC0_CTL2: u32 = 0x280;
const MC31_CTL2: u32 = 0x29f;
const FIXED_COUNTER_0: u32 = 0x309;
const FIXED_COUNTER_2: u32 = 0x30b;
const PERF_CAPABILITIES: u32 = 0x345;
const FIXED_CONTROL: u32 = 0x38d;
const GLOBAL_OVERFLOW_CONTROL: u32 = 0x390;
const MC0_CTL: u32 = 0x400;
const MC31_MISC: u32 = 0x47f;
const HYPERCALL_PAGE: u32 = 0x4000_0000;
const EFER: u32 = 0xc000_0080;
const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;
const AMD_PERF_FIRST: u32 = 0xc001_0000;
const AMD_PERF_LAST: u32 = 0xc001_0007;
const SYSCFG: u32 = 0xc001_0010;
const HWCR: u32 = 0xc001_0015;
const IORR_FIRST: u32 = 0xc001_0016;
const TOP_MEM: u32 = 0xc001_001a;
const TOP_MEM2: u32 = 0xc001_001d;
const NB_CFG: u32 = 0xc001_001f;
const FID_VID_CTL: u32 = 0xc001_0041;
const FID_VID_STATUS: u32 = 0xc001_0042;
const P_STATE_LIMIT: u32 = 0xc001_0061;
const P_STATE_LAST: u32 = 0xc001_006b;
const TSEG_BASE: u32 = 0xc001_0112;
const TSEG_MASK: u32 = 0xc001_0113;
const AMD_PERF_MORE_FIRST: u32 = 0xc001_0200;
const AMD_PERF_MORE_LAST: u32 = 0xc001_020b;
const DE_CFG: u32 = 0xc001_1029;

/// The page attributes of Xen's PAT, which PV guests share: WB, WT, UC-, UC, WC, WP, UC, UC.
pub const PAT_VALUE: u64 = 0x0000_0501_0007_0406;
/// Machine-check banks of the virtual machine-check architecture.
const VIRTUAL_BANKS: u64 = 2;
/// MCG_CAP bits Intel guests have besides: corrected-error interrupts, threshold-based status, software error recovery.
const INTEL_MCG_CAP: u64 = 1 << 10 | 1 << 11 | 1 << 24;
const EFER_SVME: u64 = 1 << 12;
/// DE_CFG.LFENCE_SERIALISE.
const LFENCE_SERIALISING: u64 = 1 << 1;
/// MISC_FEATURES_ENABLES: CPUID faulting.
const ENABLE_CPUID_FAULTING: u64 = 1;
/// FEATURE_CONTROL: locked, with nothing enabled.
const LOCKED: u64 = 1;

/// What a read or write depends on besides the number.
#[derive(Clone, Copy, Debug)]
pub struct MsrContext<'a> {
    /// The domain's policy.
    pub policy: &'a Policy,
    /// The domain is the hardware domain.
    pub hardware_domain: bool,
    /// vCPU 0 shows itself as the boot processor.
    pub boot_vcpu: bool,
    /// The real EFER.
    pub efer: u64,
    /// The real MISC_ENABLE, if the processor has one.
    pub misc_enable: Option<u64>,
}

/// A register whose value the vCPU or the processor holds for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Base of FS.
    FsBase,
    /// Base of GS as it is now.
    GsBase,
    /// Base of GS that belongs to the other mode: the user's, seen from the guest kernel.
    UserGsBase,
    /// TSC_AUX (32 bits).
    TscAux,
    /// SPEC_CTRL of the vCPU.
    SpecCtrl,
    /// MISC_FEATURES_ENABLES of the vCPU.
    MiscFeaturesEnables,
}

/// Answer to RDMSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrRead {
    /// This value.
    Value(u64),
    /// The vCPU's value of that register.
    Context(Stored),
    /// The guest's time-stamp counter.
    TimeStampCounter,
    /// What the real register holds; #GP if the processor has none.
    Hardware,
    /// #GP, except that a guest without a #GP handler is told 0 when the real register exists.
    Fault,
}

/// Answer to WRMSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrWrite {
    /// Nothing happens.
    Ignore,
    /// The value becomes the vCPU's.
    Set(Stored, u64),
    /// An indirect branch prediction barrier.
    PredictionBarrier,
    /// The hypercall page is to be written to this guest frame (a machine frame for PV).
    HypercallPage(u64),
    /// #GP.
    Fault,
}

/// Whether the domain has an MSR SPEC_CTRL.
fn has_spec_ctrl(policy: &Policy) -> bool {
    policy.has(Feature::IBRSB)
}

fn spec_ctrl_mask(policy: &Policy) -> u64 {
    // STIBP is always accepted beside IBRS: it is ignored where there is no hyper-threading.
    const IBRS_STIBP: u64 = 0b11;
    let bit = |feature, mask| if policy.has(feature) { mask } else { 0 };
    IBRS_STIBP | bit(Feature::SSBD, 1 << 2) | bit(Feature::INTEL_PSFD, 1 << 7)
}

/// MISC_ENABLE with performance monitoring, MONITOR, branch tracing and task-priority messages hidden.
fn shown_misc_enable(real: u64) -> u64 {
    const ABSENT: u64 = 1 << 7 | 1 << 18;
    const UNAVAILABLE: u64 = 1 << 11 | 1 << 12 | 1 << 23;
    real & !ABSENT | UNAVAILABLE
}

/// The segment base that a register holds: kernels read these at every change of processes, and no policy matters.
#[inline(always)]
pub const fn segment_base(index: u32) -> Option<Stored> {
    match index {
        FS_BASE => Some(Stored::FsBase),
        GS_BASE => Some(Stored::GsBase),
        KERNEL_GS_BASE => Some(Stored::UserGsBase),
        _ => None,
    }
}

/// Reads an MSR.
pub fn read(index: u32, context: &MsrContext<'_>) -> MsrRead {
    let policy = context.policy;
    let when = |condition: bool, answer| if condition { answer } else { MsrRead::Fault };
    match index {
        TSC => MsrRead::TimeStampCounter,
        FS_BASE | GS_BASE | KERNEL_GS_BASE => segment_base(index).map_or(MsrRead::Fault, MsrRead::Context),
        TSC_AUX => when(has_tsc_aux(policy), MsrRead::Context(Stored::TscAux)),
        EFER => MsrRead::Value(context.efer & !EFER_SVME),
        APIC_BASE => {
            let base = 0xfee0_0800 | u64::from(context.boot_vcpu) << 8;
            when(policy.has(Feature::APIC), MsrRead::Value(base))
        }
        MICROCODE_LEVEL => when(policy.vendor() != Vendor::Other, MsrRead::Hardware),
        PAT => MsrRead::Value(PAT_VALUE),
        HYPERCALL_PAGE => MsrRead::Value(0),
        SPEC_CTRL => when(has_spec_ctrl(policy), MsrRead::Context(Stored::SpecCtrl)),
        ARCH_CAPABILITIES => when(policy.has(Feature::ARCH_CAPS), MsrRead::Value(policy.arch_capabilities())),
        MISC_FEATURES_ENABLES => MsrRead::Context(Stored::MiscFeaturesEnables),
        PLATFORM_INFO => MsrRead::Value(policy.registers().platform_info),
        P5_MC_ADDR | P5_MC_TYPE | PERF_CAPABILITIES => MsrRead::Value(0),
        MISC_ENABLE => {
            context.misc_enable.map_or(MsrRead::Fault, |real| MsrRead::Value(shown_misc_enable(real)))
        }
        NB_CFG => when(policy.vendor() != Vendor::Other, MsrRead::Value(0)),
        _ => match policy.vendor() {
            _ if is_machine_check(index) => MsrRead::Value(machine_check(index, policy)),
            Vendor::Amd => read_amd(index, context.hardware_domain),
            Vendor::Intel => read_intel(index),
            Vendor::Other => MsrRead::Fault,
        },
    }
}

fn read_amd(index: u32, hardware_domain: bool) -> MsrRead {
    match index {
        // Where memory is, is nobody else's business.
        SYSCFG | IORR_FIRST..=TOP_MEM | TOP_MEM2 | TSEG_BASE | TSEG_MASK if !hardware_domain => {
            MsrRead::Fault
        }
        AMD_PERF_FIRST..=AMD_PERF_LAST
        | AMD_PERF_MORE_FIRST..=AMD_PERF_MORE_LAST
        | SYSCFG
        | HWCR..=TOP_MEM
        | TOP_MEM2
        | FID_VID_CTL
        | FID_VID_STATUS
        | P_STATE_LIMIT..=P_STATE_LAST
        | TSEG_BASE
        | TSEG_MASK => MsrRead::Value(0),
        DE_CFG => MsrRead::Value(LFENCE_SERIALISING),
        _ => MsrRead::Fault,
    }
}

fn read_intel(index: u32) -> MsrRead {
    match index {
        PLATFORM_ID => MsrRead::Hardware,
        FEATURE_CONTROL => MsrRead::Value(LOCKED),
        // No performance counters for guests: they stand still.
        PERF_COUNTER_0..=PERF_COUNTER_7
        | PERF_SELECT_0..=PERF_SELECT_3
        | FIXED_COUNTER_0..=FIXED_COUNTER_2
        | FIXED_CONTROL..=GLOBAL_OVERFLOW_CONTROL => MsrRead::Value(0),
        PERF_STATUS | PERF_CTL | THERM_STATUS => MsrRead::Value(0),
        _ => MsrRead::Fault,
    }
}

/// Writes an MSR.
pub fn write(index: u32, value: u64, context: &MsrContext<'_>) -> MsrWrite {
    let policy = context.policy;
    let when = |condition: bool, answer| if condition { answer } else { MsrWrite::Fault };
    let base = |stored| when(is_canonical(value), MsrWrite::Set(stored, value));
    match index {
        FS_BASE => base(Stored::FsBase),
        GS_BASE => base(Stored::GsBase),
        KERNEL_GS_BASE => base(Stored::UserGsBase),
        TSC_AUX => when(has_tsc_aux(policy) && value >> 32 == 0, MsrWrite::Set(Stored::TscAux, value)),
        EFER => when(value == context.efer & !EFER_SVME, MsrWrite::Ignore),
        MICROCODE_LEVEL => when(policy.vendor() == Vendor::Intel && value == 0, MsrWrite::Ignore),
        SPEC_CTRL => {
            let accepted = has_spec_ctrl(policy) && value & !spec_ctrl_mask(policy) == 0;
            when(accepted, MsrWrite::Set(Stored::SpecCtrl, value))
        }
        PRED_CMD => write_pred_cmd(value, policy),
        MISC_FEATURES_ENABLES => {
            let allowed = if policy.cpuid_faulting() { ENABLE_CPUID_FAULTING } else { 0 };
            when(value & !allowed == 0, MsrWrite::Set(Stored::MiscFeaturesEnables, value))
        }
        // The low bits number the page, and there is one.
        HYPERCALL_PAGE => when(value & 0xfff == 0, MsrWrite::HypercallPage(value >> 12)),
        // Whatever it was to be.
        MISC_ENABLE => when(context.misc_enable.is_some(), MsrWrite::Ignore),
        NB_CFG => MsrWrite::Ignore,
        MPERF | APERF => when(policy.vendor() != Vendor::Other, MsrWrite::Ignore),
        _ if is_machine_check(index) => when(value == 0 || is_machine_check_control(index), MsrWrite::Ignore),
        _ => when(is_dropped(index, policy.vendor()), MsrWrite::Ignore),
    }
}

/// Whether writes do nothing: to performance counters and to what sets the processor's pace, which is the hypervisor's.
fn is_dropped(index: u32, vendor: Vendor) -> bool {
    match vendor {
        Vendor::Amd => matches!(
            index,
            AMD_PERF_FIRST..=AMD_PERF_LAST
                | AMD_PERF_MORE_FIRST..=AMD_PERF_MORE_LAST
                | DE_CFG
                | HWCR
                | FID_VID_CTL
                | FID_VID_STATUS
                | P_STATE_LIMIT..=P_STATE_LAST
        ),
        Vendor::Intel => matches!(
            index,
            PERF_COUNTER_0..=PERF_COUNTER_7
                | PERF_SELECT_0..=PERF_SELECT_3
                | FIXED_COUNTER_0..=FIXED_COUNTER_2
                | FIXED_CONTROL..=GLOBAL_OVERFLOW_CONTROL
                | PERF_CTL
                | THERM_CONTROL
                | ENERGY_PERF_BIAS
        ),
        Vendor::Other => false,
    }
}

fn write_pred_cmd(value: u64, policy: &Policy) -> MsrWrite {
    const IBPB: u64 = 1;
    const SBPB: u64 = 1 << 7;
    let offered = policy.has(Feature::IBPB) || has_spec_ctrl(policy);
    let known = IBPB | if policy.has(Feature::SBPB) { SBPB } else { 0 };
    match value {
        _ if !offered || value & !known != 0 => MsrWrite::Fault,
        0 => MsrWrite::Ignore,
        // The full barrier covers the selective one.
        _ => MsrWrite::PredictionBarrier,
    }
}

fn has_tsc_aux(policy: &Policy) -> bool {
    policy.has(Feature::RDTSCP) || policy.has(Feature::RDPID)
}

fn is_machine_check(index: u32) -> bool {
    matches!(index, MCG_CAP..=MCG_CTL | MC0_CTL2..=MC31_CTL2 | MC0_CTL..=MC31_MISC)
}

/// Control registers take any value and keep none; the others only take 0, which clears them.
fn is_machine_check_control(index: u32) -> bool {
    match index {
        MCG_CTL | MC0_CTL2..=MC31_CTL2 => true,
        MC0_CTL..=MC31_MISC => index.is_multiple_of(4),
        _ => false,
    }
}

/// The machine-check bank of a register.
fn bank(index: u32) -> u64 {
    u64::from((index - MC0_CTL) / 4)
}

/// MCG_CAP of a vCPU.
pub fn machine_check_capabilities(policy: &Policy) -> u64 {
    if policy.vendor() == Vendor::Intel { VIRTUAL_BANKS | INTEL_MCG_CAP } else { VIRTUAL_BANKS }
}

/// A machine-check register without a pending error.
fn machine_check(index: u32, policy: &Policy) -> u64 {
    match index {
        MCG_CAP => machine_check_capabilities(policy),
        MCG_STATUS | MCG_CTL => 0,
        MC0_CTL..=MC31_MISC if index.is_multiple_of(4) && bank(index) < VIRTUAL_BANKS => u64::MAX,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
