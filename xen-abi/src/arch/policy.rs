//! Entries of serialised CPUID and MSR policies (`arch-x86/xen.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Marks within CPUID policies.
    CPUID_POLICY_MARKS: u32;
    /// Value of [`CpuidLeaf::subleaf`] for a leaf without subleaves.
    XEN_CPUID_NO_SUBLEAF = 0xffff_ffff, "XEN_CPUID_NO_SUBLEAF";
}

/// One leaf of a serialised CPUID policy. C name: `xen_cpuid_leaf_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CpuidLeaf {
    /// EAX input.
    pub leaf: u32,
    /// ECX input, or [`XEN_CPUID_NO_SUBLEAF`].
    pub subleaf: u32,
    /// EAX.
    pub a: u32,
    /// EBX.
    pub b: u32,
    /// ECX.
    pub c: u32,
    /// EDX.
    pub d: u32,
}

const_assert_eq!(size_of::<CpuidLeaf>(), 24);

/// One register of a serialised MSR policy. C name: `xen_msr_entry_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MsrEntry {
    /// MSR number.
    pub idx: u32,
    /// Reserved, zero.
    pub flags: u32,
    /// Value.
    pub val: u64,
}

const_assert_eq!(size_of::<MsrEntry>(), 16);
