//! The options as plain data, with Xen's defaults.

use crate::console::{Consoles, LogLevel, LogLevels, Timestamps};
use crate::dom0_memory::Dom0Memory;
use crate::mitigations::Mitigations;
use crate::raw_value::RawValue;
use crate::serial::Serial;

/// `dom0_max_vcpus=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcpuRange {
    /// At least this many (1 if not given).
    pub min: u32,
    /// At most this many; `None` is without limit.
    pub max: Option<u32>,
}

impl VcpuRange {
    /// Dom0's vCPUs on a machine of `cpus` CPUs: as many, within the range, and at least one.
    pub fn count(&self, cpus: u32) -> u32 {
        cpus.max(self.min).min(self.max.unwrap_or(u32::MAX)).max(1)
    }
}

/// `reboot=`: how the machine is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebootMethod {
    /// `t`: a triple fault.
    TripleFault,
    /// `k`: the keyboard controller.
    Keyboard,
    /// `a`: the FADT's reset register.
    Acpi,
    /// `p`: port 0xcf9.
    Pci,
    /// `P`: port 0xcf9 with a power cycle.
    PciPower,
    /// `e`: the EFI call.
    Efi,
    /// `x`: the outer Xen's hypercall.
    Xen,
}

/// `reboot=` and `noreboot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reboot {
    /// The method; `None` picks one.
    pub method: Option<RebootMethod>,
    /// `warm`: the firmware is told to skip its tests.
    pub warm: bool,
    /// `no`, or `noreboot`: stay after a crash, so that its report can be read.
    pub never: bool,
}

/// `watchdog=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watchdog {
    /// Off.
    Off,
    /// On.
    On,
    /// On; unknown NMIs are still handled.
    Force,
}

/// `nmi=`: what becomes of an NMI that the machine raised for a reason of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineNmi {
    /// `ignore`
    Ignore,
    /// `dom0`, the default: Dom0 is told.
    Dom0,
    /// `fatal`, and whatever else is written: the machine is given up.
    Fatal,
}

/// `apic_verbosity=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApicVerbosity {
    /// Not given.
    Quiet,
    /// `verbose`
    Verbose,
    /// `debug`
    Debug,
}

/// `smep=` and `smap=`: who uses the feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestUse {
    /// Nobody.
    Off,
    /// The hypervisor and guests.
    On,
    /// HVM guests only.
    Hvm,
}

/// `xpti=`: page-table isolation of 64-bit PV guests. `None` goes by the CPU model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PageTableIsolation {
    /// For Dom0.
    pub dom0: Option<bool>,
    /// For other domains.
    pub domu: Option<bool>,
}

/// `gnttab=`, `gnttab_max_frames=`, `gnttab_max_maptrack_frames=`: what a domain's grant table may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantTables {
    /// Frames of entries.
    pub max_frames: u32,
    /// Frames' worth of mappings of others' grants.
    pub max_maptrack_frames: u32,
    /// The highest format of entries: `max-ver:1` or `max-ver:2`.
    pub max_version: u32,
    /// Whether domains may give frames to each other: `transfer=`.
    pub transfers: bool,
}

/// `dom0=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dom0Mode {
    /// PVH instead of PV.
    pub pvh: bool,
    /// `shadow`
    pub shadow: bool,
    /// `verbose`: say more while Dom0 is built.
    pub verbose: bool,
    /// `cpuid-faulting`
    pub cpuid_faulting: bool,
    /// `msr-relaxed`: unknown MSRs read as on the machine.
    pub msr_relaxed: bool,
}

/// `edd=`: what the BIOS is asked about its disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edd {
    /// `on`: everything.
    On,
    /// `skipmbr`: not what is on them.
    SkipMbr,
    /// `off`: nothing.
    Off,
}

/// `edid=`: whether the screen's BIOS is asked for the monitor's EDID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdidQuery {
    /// If it says that it can tell soon.
    IfAble,
    /// `no`: never.
    No,
    /// `force`: in any case.
    Force,
}

/// `efi=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Efi {
    /// `rs`: the firmware's runtime services are used.
    pub runtime_services: bool,
    /// `attr=uc`: its memory that says of no way to be mapped is mapped uncached, not left out.
    pub uncached: bool,
}

/// `ept=`. `None` goes by the CPU model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ept {
    /// `ad`: accessed and dirty bits.
    pub ad: Option<bool>,
    /// `pml`: page modification logging.
    pub pml: Option<bool>,
    /// `exec-sp`: executable superpages.
    pub exec_sp: Option<bool>,
}

/// `ucode=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MicrocodeSource {
    /// Boot module that holds the microcode; negative counts from the end. 0 is none.
    pub module: i32,
    /// `scan` all modules for it.
    pub scan: bool,
    /// `nmi`: load late microcode in the NMI handler.
    pub nmi: bool,
    /// `allow-same`: load the version that is loaded.
    pub allow_same: bool,
    /// `digest-check`
    pub digest_check: bool,
}

/// `sched=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// `credit`
    Credit,
    /// `credit2`, the default.
    Credit2,
    /// `arinc653`
    Arinc653,
    /// `rtds`
    Rtds,
    /// `null`
    Null,
}

/// `vga=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vga {
    /// `keep`: the log stays on the screen when Dom0 has it.
    pub keep: bool,
    /// Rows of text that the BIOS is to make the screen show, 80 characters each; 0: it stays as the boot loader left it.
    pub rows: u8,
    /// A mode was asked for that cannot be set.
    pub other_mode: bool,
}

/// `xen-version=`, which is ours: the release whose tools are served where structures differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XenVersion {
    /// `4.17`, the default.
    V4_17,
    /// `4.20`
    V4_20,
}

/// Every option that is acted upon. Options that Xen knows and this hypervisor has no use for are accepted in silence
/// and not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields that bear the option's name are documented by Xen's manual")]
pub struct Options {
    pub apic_verbosity: ApicVerbosity,
    pub com1: Serial,
    pub com2: Serial,
    /// Bytes; `None` leaves the size to the hypervisor (Xen: 16 KiB, or more on machines with many CPUs).
    pub conring_size: Option<u64>,
    pub console: Consoles,
    pub console_timestamps: Timestamps,
    pub console_to_ring: bool,
    /// As written.
    pub cpuid: RawValue,
    pub dom0: Dom0Mode,
    pub dom0_max_vcpus: VcpuRange,
    pub dom0_mem: Dom0Memory,
    pub dom0_vcpus_pin: bool,
    pub edd: Edd,
    pub edid: EdidQuery,
    pub efi: Efi,
    pub ept: Ept,
    pub grant_tables: GrantTables,
    pub guest_loglvl: LogLevels,
    /// As written.
    pub iommu: RawValue,
    pub loglvl: LogLevels,
    /// `nmi=`
    pub machine_nmi: MachineNmi,
    pub maxcpus: Option<u32>,
    /// Highest address of RAM in use, in bytes.
    pub mem: Option<u64>,
    /// The BIOS is asked nothing.
    pub no_real_mode: bool,
    /// Start no CPU but the first.
    pub nosmp: bool,
    /// `pv=32`: 32-bit PV guests are allowed.
    pub pv_32: bool,
    pub reboot: Reboot,
    pub sched: Scheduler,
    pub smap: GuestUse,
    pub smep: GuestUse,
    /// `spec-ctrl=` and `pv-l1tf=`.
    pub mitigations: Mitigations,
    pub sync_console: bool,
    /// Pages of trace buffer for each CPU.
    pub tbuf_size: u32,
    pub ucode: MicrocodeSource,
    pub vga: Vga,
    pub watchdog: Watchdog,
    /// Seconds; 0 turns the watchdog off.
    pub watchdog_timeout: u32,
    /// `None` goes by the machine.
    pub x2apic: Option<bool>,
    pub xen_version: XenVersion,
    pub xpti: PageTableIsolation,
}

impl Default for Options {
    fn default() -> Self {
        let warning = LogLevel::Warning;
        Self {
            apic_verbosity: ApicVerbosity::Quiet,
            com1: Serial::COM1,
            com2: Serial::COM2,
            conring_size: None,
            console: Consoles::DEFAULT,
            console_timestamps: Timestamps::None,
            console_to_ring: false,
            cpuid: RawValue::EMPTY,
            dom0: Dom0Mode {
                pvh: false,
                shadow: false,
                verbose: false,
                cpuid_faulting: true,
                msr_relaxed: false,
            },
            dom0_max_vcpus: VcpuRange { min: 1, max: None },
            dom0_mem: Dom0Memory::default(),
            dom0_vcpus_pin: false,
            edd: Edd::On,
            edid: EdidQuery::IfAble,
            efi: Efi { runtime_services: true, uncached: false },
            ept: Ept::default(),
            grant_tables: GrantTables {
                max_frames: 64,
                max_maptrack_frames: 1024,
                max_version: 2,
                transfers: true,
            },
            guest_loglvl: LogLevels { always: LogLevel::None, rate_limited: warning },
            iommu: RawValue::EMPTY,
            loglvl: LogLevels { always: warning, rate_limited: warning },
            machine_nmi: MachineNmi::Dom0,
            maxcpus: None,
            mem: None,
            no_real_mode: false,
            nosmp: false,
            pv_32: true,
            reboot: Reboot { method: None, warm: false, never: false },
            sched: Scheduler::Credit2,
            smap: GuestUse::On,
            smep: GuestUse::On,
            mitigations: Mitigations::default(),
            sync_console: false,
            tbuf_size: 0,
            ucode: MicrocodeSource {
                module: 0,
                scan: false,
                nmi: true,
                allow_same: false,
                digest_check: true,
            },
            vga: Vga { keep: false, rows: 25, other_mode: false },
            watchdog: Watchdog::Off,
            watchdog_timeout: 5,
            x2apic: None,
            xen_version: XenVersion::V4_17,
            xpti: PageTableIsolation::default(),
        }
    }
}
