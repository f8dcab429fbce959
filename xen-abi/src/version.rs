//! Version queries (`version.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Sub-operations of `xen_version`.
    XENVER_CMDS: u32;
    /// Returns major << 16 | minor.
    XENVER_VERSION = 0, "XENVER_version";
    /// Writes the rest of the version, [`XEN_EXTRAVERSION_LEN`] bytes.
    XENVER_EXTRAVERSION = 1, "XENVER_extraversion";
    /// Writes [`CompileInfo`].
    XENVER_COMPILE_INFO = 2, "XENVER_compile_info";
    /// Writes the guest kinds, [`XEN_CAPABILITIES_INFO_LEN`] bytes.
    XENVER_CAPABILITIES = 3, "XENVER_capabilities";
    /// Writes the source revision, [`XEN_CHANGESET_INFO_LEN`] bytes.
    XENVER_CHANGESET = 4, "XENVER_changeset";
    /// Writes [`PlatformParameters`].
    XENVER_PLATFORM_PARAMETERS = 5, "XENVER_platform_parameters";
    /// Reads and writes [`FeatureInfo`].
    XENVER_GET_FEATURES = 6, "XENVER_get_features";
    /// Returns the page size.
    XENVER_PAGESIZE = 7, "XENVER_pagesize";
    /// Writes the domain's handle, 16 bytes.
    XENVER_GUEST_HANDLE = 8, "XENVER_guest_handle";
    /// Writes the command line, [`XEN_COMMANDLINE_LEN`] bytes.
    XENVER_COMMANDLINE = 9, "XENVER_commandline";
    /// Writes [`BuildId`] and the bytes of the build id.
    XENVER_BUILD_ID = 10, "XENVER_build_id";
}

constants! {
    /// Sizes of the strings written.
    VERSION_SIZES: usize;
    /// Bytes of `XENVER_extraversion`.
    XEN_EXTRAVERSION_LEN = 16, "XEN_EXTRAVERSION_LEN";
    /// Bytes of `XENVER_capabilities`.
    XEN_CAPABILITIES_INFO_LEN = 1024, "XEN_CAPABILITIES_INFO_LEN";
    /// Bytes of `XENVER_changeset`.
    XEN_CHANGESET_INFO_LEN = 64, "XEN_CHANGESET_INFO_LEN";
    /// Bytes of `XENVER_commandline`.
    XEN_COMMANDLINE_LEN = 1024, "sizeof(xen_commandline_t)";
    /// Bytes of `XENVER_guest_handle`.
    XEN_DOMAIN_HANDLE_LEN = 16, "sizeof(xen_domain_handle_t)";
}

/// Who compiled the hypervisor, with what and when; all zero-terminated. C name: `xen_compile_info_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CompileInfo {
    /// Compiler.
    pub compiler: [u8; 64],
    /// User.
    pub compile_by: [u8; 16],
    /// Domain of the machine.
    pub compile_domain: [u8; 32],
    /// Date.
    pub compile_date: [u8; 32],
}

const_assert_eq!(size_of::<CompileInfo>(), 144);

/// Argument of `XENVER_platform_parameters`. C name: `xen_platform_parameters_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PlatformParameters {
    /// First linear address of the hypervisor.
    pub virt_start: u64,
}

const_assert_eq!(size_of::<PlatformParameters>(), 8);

/// Argument of `XENVER_get_features`. C name: `xen_feature_info_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FeatureInfo {
    /// Which 32 features.
    pub submap_idx: u32,
    /// Out: bit per [`XENFEATS`](crate::features::XENFEATS).
    pub submap: u32,
}

const_assert_eq!(size_of::<FeatureInfo>(), 8);

/// Argument of `XENVER_build_id`; the buffer follows. C name: `xen_build_id_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BuildId {
    /// In: bytes of the buffer.
    pub len: u32,
}

const_assert_eq!(size_of::<BuildId>(), 4);
