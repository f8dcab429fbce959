//! Those of `domctl` by which a domain is made, changed and ended (public/domctl.h, interface version 0x15).

use super::member::{member, put};
use crate::change::{Change, Changed, NewDomain, TscInfo, Wants};
use xen_abi::Errno;
use xen_abi::domctl::{
    Domctl, DomctlAddressSize, DomctlCreatedomain, DomctlHypercallInit, DomctlMaxMem, DomctlMaxVcpus,
    DomctlSetdomainhandle, DomctlSubscribe, DomctlTscInfo, DomctlVcpucontext, XEN_DOMCTL_CDF_HAP,
    XEN_DOMCTL_CDF_HVM, XEN_DOMCTL_CDF_IOMMU, XEN_DOMCTL_CDF_MAX, XEN_DOMCTL_CDF_NESTED_VIRT,
    XEN_DOMCTL_CDF_VPMU, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_GET_ADDRESS_SIZE,
    XEN_DOMCTL_GETTSCINFO, XEN_DOMCTL_GETVCPUCONTEXT, XEN_DOMCTL_GRANT_VERSION_MASK,
    XEN_DOMCTL_HYPERCALL_INIT, XEN_DOMCTL_MAX_MEM, XEN_DOMCTL_MAX_VCPUS, XEN_DOMCTL_PAUSEDOMAIN,
    XEN_DOMCTL_RESUMEDOMAIN, XEN_DOMCTL_SET_ADDRESS_SIZE, XEN_DOMCTL_SETDOMAINHANDLE, XEN_DOMCTL_SETTSCINFO,
    XEN_DOMCTL_SETVCPUCONTEXT, XEN_DOMCTL_SUBSCRIBE, XEN_DOMCTL_UNPAUSEDOMAIN,
};
use zerocopy::FromZeros;

/// The only flag of an x86 domain (`XEN_X86_MSR_RELAXED`).
const MSR_RELAXED: u32 = 1;

/// Decodes an argument, if it is one of these.
///
/// # Errors
/// `EINVAL`: impossible values.
pub(super) fn decode(op: &Domctl) -> Result<Option<Change>, Errno> {
    Ok(Some(match op.cmd {
        XEN_DOMCTL_CREATEDOMAIN => Change::Create { id: op.domain, new: new_domain(&member(&op.u)?)? },
        XEN_DOMCTL_MAX_VCPUS => Change::Vcpus { count: member::<DomctlMaxVcpus>(&op.u)?.max },
        XEN_DOMCTL_MAX_MEM => Change::Memory { kib: member::<DomctlMaxMem>(&op.u)?.max_memkb },
        XEN_DOMCTL_PAUSEDOMAIN => Change::Pause,
        XEN_DOMCTL_UNPAUSEDOMAIN => Change::Unpause,
        XEN_DOMCTL_RESUMEDOMAIN => Change::Resume,
        XEN_DOMCTL_DESTROYDOMAIN => Change::Destroy,
        XEN_DOMCTL_SETVCPUCONTEXT => {
            let m: DomctlVcpucontext = member(&op.u)?;
            Change::SetContext { vcpu: m.vcpu, at: m.ctxt }
        }
        XEN_DOMCTL_GETVCPUCONTEXT => {
            let m: DomctlVcpucontext = member(&op.u)?;
            Change::Context { vcpu: m.vcpu, at: m.ctxt }
        }
        XEN_DOMCTL_SETDOMAINHANDLE => Change::Handle(member::<DomctlSetdomainhandle>(&op.u)?.handle),
        XEN_DOMCTL_HYPERCALL_INIT => {
            Change::HypercallPage { frame: member::<DomctlHypercallInit>(&op.u)?.gmfn }
        }
        XEN_DOMCTL_SET_ADDRESS_SIZE => Change::SetWidth { bits: member::<DomctlAddressSize>(&op.u)?.size },
        XEN_DOMCTL_GET_ADDRESS_SIZE => Change::Width,
        XEN_DOMCTL_SETTSCINFO => {
            let m: DomctlTscInfo = member(&op.u)?;
            Change::SetTsc(TscInfo {
                mode: m.tsc_mode,
                khz: m.gtsc_khz,
                incarnation: m.incarnation,
                elapsed: m.elapsed_nsec,
            })
        }
        XEN_DOMCTL_GETTSCINFO => Change::Tsc,
        XEN_DOMCTL_SUBSCRIBE => Change::Subscribe { port: member::<DomctlSubscribe>(&op.u)?.port },
        _ => return Ok(None),
    }))
}

fn new_domain(m: &DomctlCreatedomain) -> Result<NewDomain, Errno> {
    let unknown = m.flags & !(XEN_DOMCTL_CDF_MAX | (XEN_DOMCTL_CDF_MAX - 1)) != 0
        || m.grant_opts & !XEN_DOMCTL_GRANT_VERSION_MASK != 0
        || m.arch.misc_flags & !MSR_RELAXED != 0;
    if unknown {
        return Err(Errno::EINVAL);
    }
    let wants = |flag| m.flags & flag != 0;
    Ok(NewDomain {
        handle: m.handle,
        wants: Wants {
            hvm: wants(XEN_DOMCTL_CDF_HVM),
            hap: wants(XEN_DOMCTL_CDF_HAP),
            iommu: wants(XEN_DOMCTL_CDF_IOMMU) || m.iommu_opts != 0,
            nested: wants(XEN_DOMCTL_CDF_NESTED_VIRT),
            counters: wants(XEN_DOMCTL_CDF_VPMU),
        },
        vcpus: m.max_vcpus,
        highest_port: m.max_evtchn_port,
        grant_frames: u32::try_from(m.max_grant_frames).ok(),
        maptrack_frames: u32::try_from(m.max_maptrack_frames).ok(),
        grant_version: m.grant_opts & XEN_DOMCTL_GRANT_VERSION_MASK,
        trace_bytes: m.vmtrace_size,
        pool: m.cpupool_id,
        emulated: m.arch.emulation_flags,
    })
}

/// Puts an answer into the argument that asked.
pub(super) fn encode(op: &mut Domctl, answer: &Changed) {
    match *answer {
        Changed::Done => {}
        Changed::Created(id) => op.domain = id,
        Changed::Width(size) => put(&mut op.u, &DomctlAddressSize { size }),
        Changed::Tsc(info) => {
            let mut m = DomctlTscInfo::new_zeroed();
            (m.tsc_mode, m.gtsc_khz, m.incarnation) = (info.mode, info.khz, info.incarnation);
            m.elapsed_nsec = info.elapsed;
            put(&mut op.u, &m);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::decode;
    use crate::change::Change;
    use xen_abi::Errno;
    use xen_abi::domctl::{Domctl, DomctlCreatedomain, XEN_DOMCTL_CREATEDOMAIN};
    use zerocopy::FromZeros;

    fn create(m: DomctlCreatedomain) -> Result<Option<Change>, Errno> {
        let mut op = Domctl::new_zeroed();
        (op.cmd, op.domain) = (XEN_DOMCTL_CREATEDOMAIN, 0xffff);
        super::put(&mut op.u, &m);
        decode(&op)
    }

    #[test]
    fn what_a_new_domain_wants_is_decoded_and_unknown_wants_are_refused() {
        let mut m = DomctlCreatedomain::new_zeroed();
        (m.max_vcpus, m.max_grant_frames, m.max_maptrack_frames, m.grant_opts) = (2, -1, 1024, 2);
        let Ok(Some(Change::Create { id: 0xffff, new })) = create(m) else { panic!("{:?}", create(m)) };
        assert_eq!(
            (new.vcpus, new.grant_frames, new.maptrack_frames, new.grant_version),
            (2, None, Some(1024), 2)
        );
        assert!(!new.wants.hvm && !new.wants.iommu);
        for wrong in [
            DomctlCreatedomain { flags: 1 << 8, ..m },
            DomctlCreatedomain { grant_opts: 0x10, ..m },
            DomctlCreatedomain {
                arch: xen_abi::domctl::ArchDomainconfig { emulation_flags: 0, misc_flags: 2 },
                ..m
            },
        ] {
            assert_eq!(create(wrong), Err(Errno::EINVAL));
        }
        let iommu = create(DomctlCreatedomain { iommu_opts: 1, ..m });
        assert!(matches!(iommu, Ok(Some(Change::Create { new, .. })) if new.wants.iommu));
    }
}
