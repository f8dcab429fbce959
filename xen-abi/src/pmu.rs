//! Performance-counter virtualisation (`pmu.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Sub-operations of `xenpmu_op`.
    XENPMU_OPS: u32;
    /// Reads the mode.
    XENPMU_MODE_GET = 0, "XENPMU_mode_get";
    /// Sets it.
    XENPMU_MODE_SET = 1, "XENPMU_mode_set";
    /// Reads the features.
    XENPMU_FEATURE_GET = 2, "XENPMU_feature_get";
    /// Sets them.
    XENPMU_FEATURE_SET = 3, "XENPMU_feature_set";
    /// Starts for a vCPU.
    XENPMU_INIT = 4, "XENPMU_init";
    /// Stops for a vCPU.
    XENPMU_FINISH = 5, "XENPMU_finish";
    /// Loads the LVT entry.
    XENPMU_LVTPC_SET = 6, "XENPMU_lvtpc_set";
    /// Writes the counters back.
    XENPMU_FLUSH = 7, "XENPMU_flush";
}

constants! {
    /// Version of the interface.
    XENPMU_VERSION: u32;
    /// Major.
    XENPMU_VER_MAJ = 0, "XENPMU_VER_MAJ";
    /// Minor.
    XENPMU_VER_MIN = 1, "XENPMU_VER_MIN";
}

constants! {
    /// Modes.
    XENPMU_MODES: u64;
    /// Off.
    XENPMU_MODE_OFF = 0, "XENPMU_MODE_OFF";
    /// Guests profile themselves.
    XENPMU_MODE_SELF = 1, "XENPMU_MODE_SELF";
    /// The hardware domain profiles itself and the hypervisor.
    XENPMU_MODE_HV = 2, "XENPMU_MODE_HV";
    /// It profiles everything.
    XENPMU_MODE_ALL = 4, "XENPMU_MODE_ALL";
}

constants! {
    /// Features.
    XENPMU_FEATURES: u64;
    /// Branch trace store.
    XENPMU_FEATURE_INTEL_BTS = 1, "XENPMU_FEATURE_INTEL_BTS";
    /// Cycles, reference cycles and instructions only.
    XENPMU_FEATURE_IPC_ONLY = 2, "XENPMU_FEATURE_IPC_ONLY";
    /// Architectural events only.
    XENPMU_FEATURE_ARCH_ONLY = 4, "XENPMU_FEATURE_ARCH_ONLY";
}

/// Version in [`PmuParams`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PmuVersion {
    /// Major.
    pub maj: u32,
    /// Minor.
    pub min: u32,
}

const_assert_eq!(size_of::<PmuVersion>(), 8);

/// Argument of `xenpmu_op`. C name: `xen_pmu_params_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PmuParams {
    /// In and out: version.
    pub version: PmuVersion,
    /// Mode, features or frame, by operation.
    pub val: u64,
    /// vCPU.
    pub vcpu: u32,
    /// Padding.
    pub pad: u32,
}

const_assert_eq!(size_of::<PmuParams>(), 24);
