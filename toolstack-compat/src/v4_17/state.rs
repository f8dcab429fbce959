//! Those of `domctl` about a domain's state (public/domctl.h, interface version 0x15).

use super::member::{member, put};
use crate::processor::Records;
use crate::state::{Bytes, Entries, Entry, MachineCheck, Register, Shadow, StateRequest, Words};
use core::mem::offset_of;
use xen_abi::Errno;
use xen_abi::domctl::{
    Domctl, DomctlExtVcpucontext, DomctlGetpageframeinfo3, DomctlShadowOp, DomctlVcpuMsr, DomctlVcpuMsrs,
    DomctlVcpuextstate, HvmVmceVcpu, XEN_DOMCTL_GET_EXT_VCPUCONTEXT, XEN_DOMCTL_GET_VCPU_MSRS,
    XEN_DOMCTL_GETPAGEFRAMEINFO3, XEN_DOMCTL_GETVCPUEXTSTATE, XEN_DOMCTL_SET_EXT_VCPUCONTEXT,
    XEN_DOMCTL_SET_VCPU_MSRS, XEN_DOMCTL_SETVCPUEXTSTATE, XEN_DOMCTL_SHADOW_ENABLE_LOG_DIRTY,
    XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL, XEN_DOMCTL_SHADOW_OP, XEN_DOMCTL_SHADOW_OP_CLEAN,
    XEN_DOMCTL_SHADOW_OP_ENABLE, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, XEN_DOMCTL_SHADOW_OP_OFF,
    XEN_DOMCTL_SHADOW_OP_PEEK,
};
use zerocopy::FromZeros;

/// Bytes of a record of a model-specific register.
pub const REGISTER_BYTES: u64 = size_of::<DomctlVcpuMsr>() as u64;
/// Of `xen_domctl_ext_vcpucontext`, as far as each part goes: entry points, MCG_CAP, all.
const ENTRIES_END: u32 = offset_of!(DomctlExtVcpucontext, vmce) as u32;
const CAPABILITIES_END: u32 = ENTRIES_END + 8;
const ALL: u32 = size_of::<DomctlExtVcpucontext>() as u32;

/// Decodes an argument, if it is one of these.
///
/// # Errors
/// `EINVAL`: impossible values.
pub(super) fn decode(op: &Domctl) -> Result<Option<StateRequest>, Errno> {
    Ok(Some(match op.cmd {
        XEN_DOMCTL_GETPAGEFRAMEINFO3 => {
            let m: DomctlGetpageframeinfo3 = member(&op.u)?;
            StateRequest::Frames { frames: Words { at: m.array, count: m.num } }
        }
        XEN_DOMCTL_SHADOW_OP => StateRequest::Shadow(shadow(&member(&op.u)?)),
        XEN_DOMCTL_GET_EXT_VCPUCONTEXT => {
            StateRequest::Entries { vcpu: member::<DomctlExtVcpucontext>(&op.u)?.vcpu }
        }
        XEN_DOMCTL_SET_EXT_VCPUCONTEXT => {
            let m: DomctlExtVcpucontext = member(&op.u)?;
            StateRequest::SetEntries { vcpu: m.vcpu, entries: entries(&m) }
        }
        XEN_DOMCTL_GETVCPUEXTSTATE => {
            let m: DomctlVcpuextstate = member(&op.u)?;
            let bytes = Bytes { at: m.buffer, count: m.size };
            StateRequest::Extended { vcpu: m.vcpu, known: m.xfeature_mask, bytes }
        }
        XEN_DOMCTL_SETVCPUEXTSTATE => {
            let m: DomctlVcpuextstate = member(&op.u)?;
            StateRequest::SetExtended { vcpu: m.vcpu, bytes: Bytes { at: m.buffer, count: m.size } }
        }
        XEN_DOMCTL_GET_VCPU_MSRS => {
            let m: DomctlVcpuMsrs = member(&op.u)?;
            StateRequest::Registers { vcpu: m.vcpu, list: Records { at: m.msrs, count: m.msr_count } }
        }
        XEN_DOMCTL_SET_VCPU_MSRS => {
            let m: DomctlVcpuMsrs = member(&op.u)?;
            StateRequest::SetRegisters { vcpu: m.vcpu, list: Records { at: m.msrs, count: m.msr_count } }
        }
        _ => return Ok(None),
    }))
}

fn shadow(m: &DomctlShadowOp) -> Shadow {
    match m.op {
        XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY => Shadow::Note,
        XEN_DOMCTL_SHADOW_OP_ENABLE if m.mode & XEN_DOMCTL_SHADOW_ENABLE_LOG_DIRTY != 0 => Shadow::Note,
        XEN_DOMCTL_SHADOW_OP_OFF => Shadow::Off,
        XEN_DOMCTL_SHADOW_OP_CLEAN | XEN_DOMCTL_SHADOW_OP_PEEK => {
            Shadow::Show { unknown: m.mode & !XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL != 0 }
        }
        _ => Shadow::Other,
    }
}

fn entries(m: &DomctlExtVcpucontext) -> Option<Entries> {
    if m.size < ENTRIES_END {
        return None;
    }
    let entry = |address, mask| Entry { address, mask: mask != 0 };
    let banks = (m.size >= ALL).then_some([m.vmce.mci_ctl2_bank0, m.vmce.mci_ctl2_bank1]);
    Some(Entries {
        syscall32: entry(m.syscall32_callback_eip, m.syscall32_disables_events),
        sysenter: entry(m.sysenter_callback_eip, m.sysenter_disables_events),
        machine_check: (m.size >= CAPABILITIES_END)
            .then_some(MachineCheck { capabilities: m.vmce.caps, banks }),
    })
}

/// Puts the answer to [`StateRequest::Entries`] into the argument.
///
/// # Errors
/// `EINVAL`: the member does not fit the argument.
pub fn encode_entries(op: &mut Domctl, entries: &Entries) -> Result<(), Errno> {
    let asked: DomctlExtVcpucontext = member(&op.u)?;
    let mut m = DomctlExtVcpucontext::new_zeroed();
    (m.vcpu, m.size) = (asked.vcpu, ALL);
    (m.syscall32_callback_eip, m.syscall32_disables_events) =
        (entries.syscall32.address, entries.syscall32.mask.into());
    (m.sysenter_callback_eip, m.sysenter_disables_events) =
        (entries.sysenter.address, entries.sysenter.mask.into());
    if let Some(check) = entries.machine_check {
        let [first, second] = check.banks.unwrap_or_default();
        m.vmce = HvmVmceVcpu {
            caps: check.capabilities,
            mci_ctl2_bank0: first,
            mci_ctl2_bank1: second,
            mcg_ext_ctl: 0,
        };
    }
    put(&mut op.u, &m);
    Ok(())
}

/// Puts the answer to [`StateRequest::Extended`] into the argument: known components, bytes of the state.
///
/// # Errors
/// `EINVAL`: the member does not fit the argument.
pub fn encode_extended(op: &mut Domctl, components: u64, bytes: u64) -> Result<(), Errno> {
    let mut m: DomctlVcpuextstate = member(&op.u)?;
    (m.xfeature_mask, m.size) = (components, bytes);
    put(&mut op.u, &m);
    Ok(())
}

/// Puts a number of registers into the argument.
///
/// # Errors
/// `EINVAL`: the member does not fit the argument.
pub fn encode_registers(op: &mut Domctl, count: u32) -> Result<(), Errno> {
    let mut m: DomctlVcpuMsrs = member(&op.u)?;
    m.msr_count = count;
    put(&mut op.u, &m);
    Ok(())
}

/// A register as a record of this release's.
pub fn register(index: u32, value: u64) -> DomctlVcpuMsr {
    DomctlVcpuMsr { index, reserved: 0, value }
}

/// What a record of this release's says.
pub fn given_register(record: &DomctlVcpuMsr) -> Register {
    Register { index: record.index, value: record.value, unknown: record.reserved != 0 }
}
