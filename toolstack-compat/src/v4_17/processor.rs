//! Requests of Xen 4.17 about processors (public/sysctl.h, public/domctl.h).

use super::member::{member, put};
use crate::processor::{PolicyFault, ProcessorRequest, Records, SystemPolicy};
use xen_abi::Errno;
use xen_abi::arch::{CpuidLeaf, MsrEntry};
use xen_abi::domctl::{Domctl, DomctlCpuPolicy};
use xen_abi::sysctl::{
    Sysctl, SysctlCpuFeatureset, SysctlCpuLevellingCaps, SysctlCpuPolicy, XEN_SYSCTL_CPU_FEATURESET_HOST,
    XEN_SYSCTL_CPU_FEATURESET_HVM, XEN_SYSCTL_CPU_FEATURESET_HVM_MAX, XEN_SYSCTL_CPU_FEATURESET_PV,
    XEN_SYSCTL_CPU_FEATURESET_PV_MAX, XEN_SYSCTL_CPU_FEATURESET_RAW, XEN_SYSCTL_CPU_LEVELCAP_FAULTING,
    XEN_SYSCTL_CPU_POLICY_HOST, XEN_SYSCTL_CPU_POLICY_HVM_DEFAULT, XEN_SYSCTL_CPU_POLICY_HVM_MAX,
    XEN_SYSCTL_CPU_POLICY_PV_DEFAULT, XEN_SYSCTL_CPU_POLICY_PV_MAX, XEN_SYSCTL_CPU_POLICY_RAW,
    XEN_SYSCTL_GET_CPU_FEATURESET, XEN_SYSCTL_GET_CPU_LEVELLING_CAPS, XEN_SYSCTL_GET_CPU_POLICY,
};

/// Decodes an argument of `sysctl`. `None`: it is about something else.
///
/// # Errors
/// `EINVAL`: impossible values.
pub fn decode(op: &Sysctl) -> Result<Option<ProcessorRequest>, Errno> {
    Ok(Some(match op.cmd {
        XEN_SYSCTL_GET_CPU_LEVELLING_CAPS => ProcessorRequest::Levelling,
        XEN_SYSCTL_GET_CPU_FEATURESET => {
            let m: SysctlCpuFeatureset = member(&op.u)?;
            let words = Records { at: m.features, count: m.nr_features };
            ProcessorRequest::Features { of: feature_set(m.index), words }
        }
        XEN_SYSCTL_GET_CPU_POLICY => {
            let m: SysctlCpuPolicy = member(&op.u)?;
            if m._rsvd != 0 {
                return Err(Errno::EINVAL);
            }
            ProcessorRequest::Policy {
                of: policy(m.index).ok_or(Errno::EINVAL)?,
                leaves: Records { at: m.leaves, count: m.nr_leaves },
                registers: Records { at: m.msrs, count: m.nr_msrs },
            }
        }
        _ => return Ok(None),
    }))
}

fn feature_set(index: u32) -> Option<SystemPolicy> {
    match index {
        XEN_SYSCTL_CPU_FEATURESET_RAW => Some(SystemPolicy::Raw),
        XEN_SYSCTL_CPU_FEATURESET_HOST => Some(SystemPolicy::Host),
        XEN_SYSCTL_CPU_FEATURESET_PV => Some(SystemPolicy::PvDefault),
        XEN_SYSCTL_CPU_FEATURESET_PV_MAX => Some(SystemPolicy::PvMax),
        XEN_SYSCTL_CPU_FEATURESET_HVM | XEN_SYSCTL_CPU_FEATURESET_HVM_MAX => Some(SystemPolicy::Hvm),
        _ => None,
    }
}

fn policy(index: u32) -> Option<SystemPolicy> {
    match index {
        XEN_SYSCTL_CPU_POLICY_RAW => Some(SystemPolicy::Raw),
        XEN_SYSCTL_CPU_POLICY_HOST => Some(SystemPolicy::Host),
        XEN_SYSCTL_CPU_POLICY_PV_MAX => Some(SystemPolicy::PvMax),
        XEN_SYSCTL_CPU_POLICY_PV_DEFAULT => Some(SystemPolicy::PvDefault),
        XEN_SYSCTL_CPU_POLICY_HVM_MAX | XEN_SYSCTL_CPU_POLICY_HVM_DEFAULT => Some(SystemPolicy::Hvm),
        _ => None,
    }
}

/// Puts the answer to [`ProcessorRequest::Levelling`] into the argument.
pub fn encode_levelling(op: &mut Sysctl, faulting: bool) {
    let caps = if faulting { XEN_SYSCTL_CPU_LEVELCAP_FAULTING } else { 0 };
    put(&mut op.u, &SysctlCpuLevellingCaps { caps });
}

/// Puts the number of words of [`ProcessorRequest::Features`] into the argument.
///
/// # Errors
/// `EINVAL`: the member does not fit the argument.
pub fn encode_features(op: &mut Sysctl, count: u32) -> Result<(), Errno> {
    let mut m: SysctlCpuFeatureset = member(&op.u)?;
    m.nr_features = count;
    put(&mut op.u, &m);
    Ok(())
}

/// Puts the numbers of leaves and registers of [`ProcessorRequest::Policy`] into the argument, as far as they are known.
///
/// # Errors
/// `EINVAL`: the member does not fit the argument.
pub fn encode_policy(op: &mut Sysctl, leaves: u32, registers: Option<u32>) -> Result<(), Errno> {
    let mut m: SysctlCpuPolicy = member(&op.u)?;
    (m.nr_leaves, m.nr_msrs) = (leaves, registers.unwrap_or(m.nr_msrs));
    put(&mut op.u, &m);
    Ok(())
}

/// Decodes the argument of a request for a domain's policy: its leaves and registers.
///
/// # Errors
/// `EINVAL`: the member does not fit the argument.
pub fn decode_domain(op: &Domctl) -> Result<[Records; 2], Errno> {
    let m: DomctlCpuPolicy = member(&op.u)?;
    Ok([Records { at: m.leaves, count: m.nr_leaves }, Records { at: m.msrs, count: m.nr_msrs }])
}

/// Puts the numbers of leaves and registers into the argument.
///
/// # Errors
/// `EINVAL`: the member does not fit the argument.
pub fn encode_domain(op: &mut Domctl, leaves: u32, registers: u32) -> Result<(), Errno> {
    let mut m: DomctlCpuPolicy = member(&op.u)?;
    (m.nr_leaves, m.nr_msrs) = (leaves, registers);
    put(&mut op.u, &m);
    Ok(())
}

/// Puts into the argument what is wrong with a policy.
///
/// # Errors
/// `EINVAL`: the member does not fit the argument.
pub fn encode_fault(op: &mut Domctl, fault: &PolicyFault) -> Result<(), Errno> {
    let mut m: DomctlCpuPolicy = member(&op.u)?;
    (m.err_leaf, m.err_subleaf, m.err_msr) = (fault.leaf, fault.subleaf, fault.register);
    put(&mut op.u, &m);
    Ok(())
}

/// A leaf: number, subleaf, and EAX to EDX.
pub fn leaf(leaf: u32, subleaf: u32, [a, b, c, d]: [u32; 4]) -> CpuidLeaf {
    CpuidLeaf { leaf, subleaf, a, b, c, d }
}

/// A register.
pub fn register(index: u32, value: u64) -> MsrEntry {
    MsrEntry { idx: index, flags: 0, val: value }
}
