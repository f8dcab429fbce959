//! Members of `Domctl` about a domain's processor (`domctl.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Member of `XEN_DOMCTL_get_cpu_policy` and `XEN_DOMCTL_set_cpu_policy`. C name: `xen_domctl_cpu_policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomctlCpuPolicy {
    /// In: leaves there are, or is room for. Out: leaves written, or the most there are.
    pub nr_leaves: u32,
    /// The same of registers.
    pub nr_msrs: u32,
    /// In: linear address of [`CpuidLeaf`](crate::arch::CpuidLeaf) records.
    pub leaves: u64,
    /// In: linear address of [`MsrEntry`](crate::arch::MsrEntry) records.
    pub msrs: u64,
    /// Out, of a policy that is refused: the leaf that is wrong, or all ones.
    pub err_leaf: u32,
    /// Its subleaf.
    pub err_subleaf: u32,
    /// The register that is wrong, or all ones.
    pub err_msr: u32,
    /// Padding.
    pub _pad: u32,
}

const_assert_eq!(size_of::<DomctlCpuPolicy>(), 40);
