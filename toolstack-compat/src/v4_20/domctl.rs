//! `domctl` of Xen 4.20 (public/domctl.h, interface version 0x17). A new domain's member has one word more, and each new
//! domain is told its colours of caches; the rest is as in [4.17](crate::v4_17::domctl).

use crate::control::DomainRequest;
use crate::v4_17;
use xen_abi::Errno;
use xen_abi::domctl::{
    ArchDomainconfig, Domctl, DomctlCreatedomain, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_INTERFACE_VERSION,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `XEN_DOMCTL_INTERFACE_VERSION` of this release.
pub const INTERFACE_VERSION: u32 = 0x17;

/// `XEN_DOMCTL_set_llc_colors`: which part of the last cache a domain's memory may take.
pub const SET_LLC_COLORS: u32 = 89;

/// `xen_domctl_set_llc_colors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetLlcColors {
    /// How many colours are given.
    pub count: u32,
    /// Zero.
    pub pad: u32,
    /// Guest address of them, 32 bits each.
    pub colors: u64,
}

const _: () = assert!(size_of::<SetLlcColors>() == 16);

/// `xen_domctl_createdomain` of this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Createdomain {
    /// Its label.
    pub ssidref: u32,
    /// Its handle.
    pub handle: [u8; 16],
    /// `XEN_DOMCTL_CDF_*`.
    pub flags: u32,
    /// `XEN_DOMCTL_IOMMU_*`.
    pub iommu_opts: u32,
    /// vCPUs it may have.
    pub max_vcpus: u32,
    /// Its highest event channel port.
    pub max_evtchn_port: u32,
    /// Frames of its grant table at most; negative: the default.
    pub max_grant_frames: i32,
    /// Frames for its mappings of others' grants at most; negative: the default.
    pub max_maptrack_frames: i32,
    /// `XEN_DOMCTL_GRANT_*`.
    pub grant_opts: u32,
    /// `XEN_DOMCTL_ALTP2M_*`: a second physical address space, for HVM domains.
    pub altp2m_opts: u32,
    /// Bytes of each vCPU's trace buffer.
    pub vmtrace_size: u32,
    /// Its CPU pool.
    pub cpupool_id: u32,
    /// `xen_arch_domainconfig`: devices emulated for it, and flags.
    pub arch: [u32; 2],
}

const _: () = assert!(size_of::<Createdomain>() == 68);

/// Decodes an argument of this release's.
///
/// # Errors
/// `EACCES`: of another interface version; `EINVAL`: impossible values; `EOPNOTSUPP`: of a cache's colours. No processor of
/// this architecture has them, and the stock toolstack takes that for an answer, but no other refusal.
pub fn decode(op: &Domctl) -> Result<DomainRequest, Errno> {
    if op.interface_version != INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    if op.cmd == SET_LLC_COLORS {
        let (colors, _) = SetLlcColors::read_from_prefix(op.u.as_bytes()).map_err(|_| Errno::EINVAL)?;
        return Err(if colors.pad == 0 { Errno::EOPNOTSUPP } else { Errno::EINVAL });
    }
    let mut older = Domctl { interface_version: XEN_DOMCTL_INTERFACE_VERSION, ..*op };
    if op.cmd == XEN_DOMCTL_CREATEDOMAIN {
        let (new, _) = Createdomain::read_from_prefix(op.u.as_bytes()).map_err(|_| Errno::EINVAL)?;
        // Only domains with hardware virtualisation have a second address space.
        if new.altp2m_opts != 0 {
            return Err(Errno::EINVAL);
        }
        older.u = [0; 16];
        older.u.as_mut_bytes()[..size_of::<DomctlCreatedomain>()].copy_from_slice(in_4_17(&new).as_bytes());
    }
    v4_17::domctl::decode(&older)
}

fn in_4_17(new: &Createdomain) -> DomctlCreatedomain {
    DomctlCreatedomain {
        ssidref: new.ssidref,
        handle: new.handle,
        flags: new.flags,
        iommu_opts: new.iommu_opts,
        max_vcpus: new.max_vcpus,
        max_evtchn_port: new.max_evtchn_port,
        max_grant_frames: new.max_grant_frames,
        max_maptrack_frames: new.max_maptrack_frames,
        grant_opts: new.grant_opts,
        vmtrace_size: new.vmtrace_size,
        cpupool_id: new.cpupool_id,
        arch: ArchDomainconfig { emulation_flags: new.arch[0], misc_flags: new.arch[1] },
    }
}

#[cfg(test)]
mod tests {
    use super::{Createdomain, INTERFACE_VERSION, SET_LLC_COLORS};
    use crate::change::Change;
    use crate::control::DomainRequest;
    use crate::domctl::decode;
    use core::mem::offset_of;
    use xen_abi::Errno;
    use xen_abi::domctl::{Domctl, DomctlCreatedomain, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_GETDOMAININFO};
    use zerocopy::{FromZeros, IntoBytes};

    /// As the C compiler has it with the headers of Debian 13's libxen-dev (4.20.4).
    #[test]
    fn the_member_is_laid_out_as_the_headers_say() {
        let ours = [
            offset_of!(Createdomain, ssidref),
            offset_of!(Createdomain, handle),
            offset_of!(Createdomain, flags),
            offset_of!(Createdomain, iommu_opts),
            offset_of!(Createdomain, max_vcpus),
            offset_of!(Createdomain, max_evtchn_port),
            offset_of!(Createdomain, max_grant_frames),
            offset_of!(Createdomain, max_maptrack_frames),
            offset_of!(Createdomain, grant_opts),
            offset_of!(Createdomain, altp2m_opts),
            offset_of!(Createdomain, vmtrace_size),
            offset_of!(Createdomain, cpupool_id),
            offset_of!(Createdomain, arch),
        ];
        assert_eq!(ours, [0, 4, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60]);
    }

    fn create(version: u32, member: &[u8]) -> Result<DomainRequest, Errno> {
        let mut op = Domctl::new_zeroed();
        (op.cmd, op.interface_version, op.domain) = (XEN_DOMCTL_CREATEDOMAIN, version, 7);
        op.u.as_mut_bytes()[..member.len()].copy_from_slice(member);
        decode(&op)
    }

    #[test]
    fn a_new_domain_is_the_same_in_both_releases() {
        let mut old = DomctlCreatedomain::new_zeroed();
        (old.max_vcpus, old.max_evtchn_port, old.max_grant_frames, old.max_maptrack_frames) =
            (3, 1023, -1, 9);
        (old.handle, old.grant_opts, old.cpupool_id, old.arch.misc_flags) = ([5; 16], 2, 4, 1);
        let mut new = Createdomain::new_zeroed();
        (new.max_vcpus, new.max_evtchn_port, new.max_grant_frames, new.max_maptrack_frames) =
            (3, 1023, -1, 9);
        (new.handle, new.grant_opts, new.cpupool_id, new.arch) = ([5; 16], 2, 4, [0, 1]);
        let decoded = create(INTERFACE_VERSION, new.as_bytes());
        assert_eq!(decoded, create(0x15, old.as_bytes()));
        assert!(matches!(decoded, Ok(DomainRequest::Change(Change::Create { id: 7, new })) if new.pool == 4));
        new.altp2m_opts = 1;
        assert_eq!(create(INTERFACE_VERSION, new.as_bytes()), Err(Errno::EINVAL));
    }

    /// What the stock toolstack sends for a guest without colours, and with a wrong pad.
    #[test]
    fn colours_of_caches_are_refused_in_a_way_that_the_toolstack_takes() {
        let mut op = Domctl::new_zeroed();
        (op.cmd, op.interface_version, op.domain) = (SET_LLC_COLORS, INTERFACE_VERSION, 1);
        assert_eq!(decode(&op), Err(Errno::EOPNOTSUPP));
        op.u[0] = 1 << 32;
        assert_eq!(decode(&op), Err(Errno::EINVAL));
        (op.interface_version, op.u[0]) = (0x15, 0);
        assert_eq!(decode(&op), Ok(DomainRequest::Other { command: SET_LLC_COLORS }));
    }

    #[test]
    fn each_call_says_its_release() {
        let mut op = Domctl::new_zeroed();
        op.cmd = XEN_DOMCTL_GETDOMAININFO;
        for version in 0x10..0x20 {
            op.interface_version = version;
            let known = matches!(version, 0x15 | 0x17);
            assert_eq!(decode(&op), if known { Ok(DomainRequest::Info) } else { Err(Errno::EACCES) });
        }
    }
}
