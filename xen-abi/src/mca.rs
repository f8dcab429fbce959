//! Machine-check operations (`arch-x86/xen-mca.h`).

use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::constants::constants;

constants! {
    /// Values of [`Mc::cmd`].
    XEN_MC_CMDS: u32;
    /// Fetches telemetry.
    XEN_MC_FETCH = 1, "XEN_MC_fetch";
    /// Notifies a domain.
    XEN_MC_NOTIFYDOMAIN = 2, "XEN_MC_notifydomain";
    /// Describes the physical CPUs: [`McPhyscpuinfo`].
    XEN_MC_PHYSCPUINFO = 3, "XEN_MC_physcpuinfo";
    /// Injects MSR values.
    XEN_MC_MSRINJECT = 4, "XEN_MC_msrinject";
    /// Injects a machine check.
    XEN_MC_MCEINJECT = 5, "XEN_MC_mceinject";
    /// Injects on a set of CPUs.
    XEN_MC_INJECT_V2 = 6, "XEN_MC_inject_v2";
}

constants! {
    /// Version, hypercall and flags.
    XEN_MC_VALUES: u32;
    /// Value of [`Mc::interface_version`].
    XEN_MCA_INTERFACE_VERSION = 0x01ec_c003, "XEN_MCA_INTERFACE_VERSION";
    /// Number of the hypercall.
    MCA_HYPERCALL = 48, "__HYPERVISOR_mca";
    /// Fetch flag: non-urgent telemetry.
    XEN_MC_NONURGENT = 1, "XEN_MC_NONURGENT";
    /// Fetch flag: urgent telemetry.
    XEN_MC_URGENT = 2, "XEN_MC_URGENT";
    /// Fetch flag: acknowledge.
    XEN_MC_ACK = 4, "XEN_MC_ACK";
    /// Fetch result: done.
    XEN_MC_OK = 0, "XEN_MC_OK";
    /// Fetch result: failed.
    XEN_MC_FETCHFAILED = 1, "XEN_MC_FETCHFAILED";
    /// Fetch result: nothing there.
    XEN_MC_NODATA = 2, "XEN_MC_NODATA";
    /// Fetch result: no match.
    XEN_MC_NOMATCH = 4, "XEN_MC_NOMATCH";
    /// Notification: cannot be handled.
    XEN_MC_CANNOTHANDLE = 8, "XEN_MC_CANNOTHANDLE";
    /// Notification: not delivered.
    XEN_MC_NOTDELIVERED = 16, "XEN_MC_NOTDELIVERED";
    /// Capability words of a CPU.
    MC_NCAPS = 7, "MC_NCAPS";
}

/// Argument of `XEN_MC_fetch`. C name: `xen_mc_fetch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct McFetch {
    /// In: urgency; out: result.
    pub flags: u32,
    /// Padding.
    pub _pad: u32,
    /// Telemetry identifier.
    pub fetch_id: u64,
    /// Address of the buffer; 0: none.
    pub data: u64,
}

const_assert_eq!(size_of::<McFetch>(), 24);

/// Argument of `XEN_MC_physcpuinfo`. C name: `xen_mc_physcpuinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct McPhyscpuinfo {
    /// Room in the buffer; out: CPUs there are.
    pub ncpus: u32,
    /// Padding.
    pub _pad: u32,
    /// Address of the [`McinfoLogicalCpu`] list; 0: none.
    pub info: u64,
}

const_assert_eq!(size_of::<McPhyscpuinfo>(), 16);

/// An MSR and its value. C name: `xen_mcinfo_msr_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct McinfoMsr {
    /// MSR number.
    pub reg: u64,
    /// Value.
    pub value: u64,
}

const_assert_eq!(size_of::<McinfoMsr>(), 16);

/// One physical CPU. C name: `xen_mc_logical_cpu_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct McinfoLogicalCpu {
    /// CPU number.
    pub mc_cpunr: u32,
    /// Package.
    pub mc_chipid: u32,
    /// Core.
    pub mc_coreid: u16,
    /// Thread.
    pub mc_threadid: u16,
    /// APIC id.
    pub mc_apicid: u32,
    /// Cluster.
    pub mc_clusterid: u32,
    /// Cores.
    pub mc_ncores: u32,
    /// Active cores.
    pub mc_ncores_active: u32,
    /// Threads.
    pub mc_nthreads: u32,
    /// Largest CPUID leaf.
    pub mc_cpuid_level: i32,
    /// Family.
    pub mc_family: u32,
    /// Vendor.
    pub mc_vendor: u32,
    /// Model.
    pub mc_model: u32,
    /// Stepping.
    pub mc_step: u32,
    /// Vendor as text.
    pub mc_vendorid: [u8; 16],
    /// Brand as text.
    pub mc_brandid: [u8; 64],
    /// Capability words.
    pub mc_cpu_caps: [u32; 7],
    /// Cache size.
    pub mc_cache_size: u32,
    /// Cache alignment.
    pub mc_cache_alignment: u32,
    /// Valid entries of `mc_msrvalues`.
    pub mc_nmsrvals: i32,
    /// Padding.
    pub _pad0: [u8; 4],
    /// MSR values.
    pub mc_msrvalues: [McinfoMsr; 8],
}

const_assert_eq!(size_of::<McinfoLogicalCpu>(), 304);

/// Argument of the machine-check hypercall. C name: `xen_mc_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Mc {
    /// One of [`XEN_MC_CMDS`].
    pub cmd: u32,
    /// [`XEN_MCA_INTERFACE_VERSION`].
    pub interface_version: u32,
    /// [`McFetch`], [`McPhyscpuinfo`] or others, by command.
    pub u: [u64; 18],
}

const_assert_eq!(size_of::<Mc>(), 152);
